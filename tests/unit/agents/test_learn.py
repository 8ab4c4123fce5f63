"""The learning role end to end on a log in memory: what it learns does not depend on how often it was killed."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Hashable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from river.linear_model import LogisticRegression

from agents import learn_examples
from agents.join_labels import read_tally
from agents.learn import LearningRole
from agents.read_progress import fold, read_progress
from agents.route_labels import fold as router_fold
from agents.runner import Runner
from agents.transport import Assigned
from definitions.encoder import Encoder
from definitions.values import Value
from online_models.learners import Cut
from online_models.learners.river import RiverLearner
from online_models.snapshots import unseal
from streams import topics
from streams.errors import StoreUnavailable
from streams.messages import Example, encode
from streams.pointers import learner_pointer
from streams.records import RecordBatch, headers_of
from streams.store import Pointer, Question
from tests.builders import river_learner
from tests.learning import HOUR_MS, START_MS, World, row_of, small_model

MINUTE_MS = 60_000
MODEL = small_model()
POINTER = learner_pointer(MODEL.key, "online")
EXAMPLES = topics.examples("demo", MODEL)


async def play(world: World, flights: int = 60) -> None:
    """Log predictions, and labels for most of them, some before and some sent for flights that nobody asked about."""
    for number in range(flights):
        at_ms = START_MS + number * HOUR_MS // 2
        if number % 7:
            await world.predict(number, f"F{number}", at_ms)
        if number >= 10 and number % 5:
            await world.arrive(f"F{number - 10}", at_ms, delay_min=float(number * 13 % 40))


def find_pointer(world: World) -> Pointer | None:
    """Return the pointer to the newest snapshot, if there is one."""
    return world.store.read(Question(pointers=[POINTER])).pointers[0]


def pointer_of(world: World) -> Pointer:
    """Return the pointer to the newest snapshot."""
    found = find_pointer(world)
    assert found is not None
    return found


def state_of(world: World) -> tuple[bytes, int]:
    """Return what the newest snapshot holds: the estimator's bytes, and how much it has learned."""
    pointer = pointer_of(world)
    snapshot = unseal(world.context.artefacts.get(pointer.digest), pointer.digest)
    return snapshot.state, snapshot.learned


async def copy_topic(source: World, target: World, topic: str) -> None:
    """Give the other world the same records in the same partitions."""
    for partition in await source.log.partitions(topic):
        for record in source.log.kept(partition).records:
            await target.log.producer().produce(topic, record.value(), key=record.key(), partition=partition.index)


async def example(world: World, number: int, vector: list[Value], label: Value = True) -> None:  # noqa: FBT002  # a label is what it is about
    """Append an example to the topic, as the join does."""
    made = Example(
        model=MODEL.key, label_key=f"F{number}", at_ms=START_MS, vector=vector, label=label,
        scores={}, champion="online", outcomes="t/0", next=number + 1, index=0,
    )  # fmt: skip
    await world.log.producer().produce(EXAMPLES, encode(made), key=made.label_key.encode())


async def test_every_matched_prediction_is_learned_once(tmp_path: Path) -> None:
    world = await World(tmp_path, MODEL).create_topics()
    await play(world)

    await world.drain(LearningRole(world.app, world.context))

    matched = read_tally(world.store, MODEL.key).matched
    assert matched == len(await world.examples()) == len(await world.records(EXAMPLES)) > 20
    assert row_of(world.store, fold(MODEL.key, "online"))["applied"] == matched
    assert state_of(world)[1] == matched
    assert read_progress(world.store, MODEL.key, "online").n == matched
    assert pointer_of(world).position == len(await world.records(EXAMPLES))


@pytest.mark.parametrize("kills", [*((turns,) for turns in range(1, 72, 9)), (17, 17, 17), (40, 8, 60)])
async def test_a_killed_role_learns_what_an_uninterrupted_one_does(tmp_path: Path, kills: tuple[int, ...]) -> None:
    """Killed at any await: every flight is learned with the same label, none twice."""
    smooth = await World(tmp_path, MODEL).create_topics()
    await play(smooth)
    await smooth.drain(LearningRole(smooth.app, smooth.context))
    world = await World(tmp_path, MODEL).create_topics()
    await play(world)

    for turns in kills:
        await world.drain_but_kill(LearningRole(world.app, world.context), when=partial(operator.le, turns))
    await world.drain(LearningRole(world.app, world.context))

    def learned(examples: dict[tuple[str, int, int], Example]) -> list[tuple[str, object]]:
        return sorted((each.label_key, each.label) for each in examples.values())

    assert learned(await smooth.examples()) == learned(await world.examples())
    assert state_of(smooth)[1] == state_of(world)[1]
    assert row_of(world.store, router_fold(MODEL.key)) == row_of(smooth.store, router_fold(MODEL.key))


@pytest.mark.parametrize("kills", [(2,), (5, 5), (9, 1, 3, 3), (20, 11)])
async def test_the_learner_is_a_function_of_the_examples_log(tmp_path: Path, kills: tuple[int, ...]) -> None:
    """Equal logs give equal estimators, byte for byte, and equal progress, whatever was killed in between."""
    smooth = await World(tmp_path, MODEL).create_topics()
    await play(smooth)
    await smooth.drain(LearningRole(smooth.app, smooth.context))
    world = await World(tmp_path, MODEL).create_topics()
    await copy_topic(smooth, world, EXAMPLES)

    for turns in kills:
        await world.drain_but_kill(LearningRole(world.app, world.context), when=partial(operator.le, turns))
    await world.drain(LearningRole(world.app, world.context))

    assert state_of(world) == state_of(smooth)
    assert read_progress(world.store, MODEL.key, "online") == read_progress(smooth.store, MODEL.key, "online")
    name = fold(MODEL.key, "online")
    assert row_of(world.store, name) == row_of(smooth.store, name)


@pytest.mark.parametrize("writes", range(1, 12, 2))
@pytest.mark.parametrize("is_written", [True, False])
async def test_a_store_that_fails_at_any_write_costs_nothing(tmp_path: Path, writes: int, *, is_written: bool) -> None:
    smooth = await World(tmp_path, MODEL).create_topics()
    await play(smooth)
    await smooth.drain(LearningRole(smooth.app, smooth.context))
    world = await World(tmp_path, MODEL).create_topics()
    await play(world)
    world.store.writes_left, world.store.last_is_written = writes, is_written

    await world.drain(LearningRole(world.app, world.context))

    assert read_tally(world.store, MODEL.key).matched == read_tally(smooth.store, MODEL.key).matched
    assert state_of(world)[1] == state_of(smooth)[1]
    assert read_progress(world.store, MODEL.key, "online").n == state_of(world)[1]


async def test_examples_sent_again_are_skipped_by_their_position(tmp_path: Path) -> None:
    world = await World(tmp_path, MODEL).create_topics()
    for number in (0, 1, 2, 1, 2, 3):
        await example(world, number, [1.0])

    await world.drain(LearningRole(world.app, world.context))

    row = row_of(world.store, fold(MODEL.key, "online"))
    assert (row["applied"], row["duplicate"]) == (4, 2)
    assert state_of(world)[1] == 4


async def test_an_example_that_cannot_be_learned_leaves_the_model_as_it_was(tmp_path: Path) -> None:
    """A number that is not finite, a label of another kind, and bytes that are no example."""
    smooth, world = await World(tmp_path, MODEL).create_topics(), await World(tmp_path, MODEL).create_topics()
    for each in (smooth, world):
        await example(each, 0, [1.0])
    await example(world, 1, [1e39])
    await example(world, 2, [1.0], label="yes")
    await example(world, 3, [1.0, 2.0])
    await world.log.producer().produce(EXAMPLES, b"\xff")
    for each in (smooth, world):
        await example(each, 4, [2.0])

    for each in (smooth, world):
        await each.drain(LearningRole(each.app, each.context))

    assert row_of(world.store, fold(MODEL.key, "online"))["dead"] == 4
    assert state_of(world) == state_of(smooth)
    letters = await world.records(topics.dead_examples("demo", MODEL))
    examples = await world.records(EXAMPLES)
    assert [each.value() for each in letters] == [each.value() for each in examples[1:5]]
    told = [{name: value.decode() for name, value in headers_of(each)} for each in letters]
    assert [each["dlq.reason"] for each in told] == ["vector", "label", "vector", "unreadable"]
    assert [each["dlq.offset"] for each in told] == ["1", "2", "3", "4"]
    assert {(each["dlq.stage"], each["dlq.topic"], each["dlq.learner"]) for each in told} == {
        ("learn", EXAMPLES, "online")
    }
    assert "expected true or false as label, got 'yes'" in told[1]["dlq.message"]


@pytest.mark.parametrize("kills", [(1,), (4, 4), (7, 2, 2), (11, 3)])
async def test_every_dead_example_is_a_letter_whatever_is_killed(tmp_path: Path, kills: tuple[int, ...]) -> None:
    """Sent again after a kill, perhaps, but never missing where the row contains it."""
    world = await World(tmp_path, MODEL).create_topics()
    for number in range(30):
        await example(world, number, [1.0], label="yes" if number % 3 == 0 else True)

    for turns in kills:
        await world.drain_but_kill(LearningRole(world.app, world.context), when=partial(operator.le, turns))
        letters = await world.records(topics.dead_examples("demo", MODEL))
        contained = row_of(world.store, fold(MODEL.key, "online"))["read"]
        sent = {int(dict(headers_of(each))["dlq.offset"]) for each in letters}
        assert sent >= set(range(0, contained, 3))
    await world.drain(LearningRole(world.app, world.context))

    letters = await world.records(topics.dead_examples("demo", MODEL))
    assert {int(dict(headers_of(each))["dlq.offset"]) for each in letters} == set(range(0, 30, 3))
    assert row_of(world.store, fold(MODEL.key, "online"))["dead"] == 10


class HalfLearner(LogisticRegression):
    """An estimator that fails in the middle of learning one distance, with its state already changed."""

    def learn_one(self, x: dict[Hashable, Any], y: bool | str | int, w: float = 1.0) -> None:  # noqa: FBT001  # River's
        """Learn, and only then find that it may not."""
        super().learn_one(x, y, w)
        if x["distance"] == 13.0:
            raise ZeroDivisionError("this distance")


async def test_a_learner_that_fails_half_way_is_put_back(tmp_path: Path) -> None:
    model = small_model(learners=[river_learner(factory=HalfLearner)])
    smooth, world = await World(tmp_path, model).create_topics(), await World(tmp_path, model).create_topics()
    for number, distance in enumerate([1.0, 2.0, 13.0, 3.0, 13.0, 4.0]):
        await example(world, number, [distance])
        if distance != 13.0:
            await example(smooth, number, [distance])

    for each in (smooth, world):
        await each.drain(LearningRole(each.app, each.context))

    assert row_of(world.store, fold(MODEL.key, "online"))["dead"] == 2
    assert state_of(world) == state_of(smooth)


async def test_another_generation_replaces_the_learner_before_its_next_example(tmp_path: Path) -> None:
    """A warm start that contains nothing of the log learns all of it again; the pointer never goes back."""
    world = await World(tmp_path, MODEL).create_topics()
    for number in range(3):
        await example(world, number, [float(number)])
    await world.drain(LearningRole(world.app, world.context))
    before = pointer_of(world)
    warm = RiverLearner(MODEL.learners["online"], Encoder(MODEL.inputs))
    for _ in range(10):
        warm.learn_one([5.0], label=False)
    digest = world.context.artefacts.put(warm.snapshot(Cut(before.generation + 1, 3)))
    world.store.advance_pointer(POINTER, Pointer(before.generation + 1, 3, digest))

    await example(world, 3, [9.0])
    await world.drain(LearningRole(world.app, world.context))

    expected, _ = RiverLearner.restore(
        MODEL.learners["online"], Encoder(MODEL.inputs), data=world.context.artefacts.get(digest), digest=digest
    )
    expected.learn_one([9.0], label=True)
    after = pointer_of(world)
    assert (after.generation, after.position) == (before.generation + 1, 4) > (before.generation, before.position)
    assert state_of(world) == (unseal(expected.snapshot(Cut(0, 0)), expected.digest).state, 11)
    assert row_of(world.store, fold(MODEL.key, "online"))["applied"] == 4


async def test_what_a_warm_start_contains_is_not_learned_again(tmp_path: Path) -> None:
    """It was cut behind the examples there were, without saying which ones they are."""
    world = await World(tmp_path, MODEL).create_topics()
    for number in range(3):
        await example(world, number, [1.0])
    warm = RiverLearner(MODEL.learners["online"], Encoder(MODEL.inputs))
    digest = world.context.artefacts.put(warm.snapshot(Cut(1, 3)))
    world.store.advance_pointer(POINTER, Pointer(1, 3, digest))
    await example(world, 3, [2.0])

    await world.drain(LearningRole(world.app, world.context))

    row = row_of(world.store, fold(MODEL.key, "online"))
    assert (row["applied"], row["duplicate"], state_of(world)[1]) == (1, 3, 1)


async def test_what_is_learned_while_a_learner_rests_is_published_when_the_rest_is_over(tmp_path: Path) -> None:
    """Nobody says that the end is reached: the learner itself waits for it."""
    world = await World(tmp_path, MODEL).create_topics()
    role, [partition] = LearningRole(world.app, world.context), await world.log.partitions(EXAMPLES)
    await role.open(Assigned(partition, 1, 0, 0, None))
    for number in range(2):
        await example(world, number, [1.0])
        await role.apply(RecordBatch(partition, 1, number, number + 1, world.log.kept(partition).records[number:]))
        assert pointer_of(world).position == 1, "the second one falls into the rest"

    world.clock.advance(MINUTE_MS)

    async with asyncio.timeout(60):
        while pointer_of(world).position < 2:  # noqa: ASYNC110  # the state of a store
            await asyncio.sleep(0.001)
    await role.close(partition)
    assert state_of(world)[1] == 2


async def test_what_fails_while_a_learner_rests_is_raised_to_whoever_calls_next(tmp_path: Path) -> None:
    world = await World(tmp_path, MODEL).create_topics()
    role, [partition] = LearningRole(world.app, world.context), await world.log.partitions(EXAMPLES)
    await role.open(Assigned(partition, 1, 0, 0, None))
    for number in range(2):
        await example(world, number, [1.0])
        await role.apply(RecordBatch(partition, 1, number, number + 1, world.log.kept(partition).records[number:]))
    world.store.writes_left = 1

    world.clock.advance(MINUTE_MS)

    async with asyncio.timeout(60):
        while world.store.writes_left > 0:  # noqa: ASYNC110  # the state of a store
            await asyncio.sleep(0.001)
    with pytest.raises(StoreUnavailable):
        await role.reached_end(partition, 2, world.clock())
    await role.close(partition)
    assert pointer_of(world).position == 1


async def test_another_generation_is_taken_up_while_the_role_is_running(tmp_path: Path) -> None:
    world = await World(tmp_path, MODEL).create_topics()
    role = LearningRole(world.app, world.context)
    member = world.log.member(role.subscription())
    runner = Runner(member, role, world.context.metrics)
    await member.start(runner)
    await example(world, 0, [1.0])
    while (batch := await member.poll(0)) is not None:
        await runner.take(batch)
    warm = RiverLearner(MODEL.learners["online"], Encoder(MODEL.inputs))
    digest = world.context.artefacts.put(warm.snapshot(Cut(7, 0, {})))
    world.store.advance_pointer(POINTER, Pointer(7, 0, digest))

    await example(world, 1, [2.0])
    while (batch := await member.poll(0)) is not None:
        await runner.take(batch)
    await member.stop(1.0)

    assert (pointer_of(world).generation, pointer_of(world).position) == (7, 2)
    assert state_of(world)[1] == 2


async def test_a_snapshot_that_cannot_be_verified_is_not_replaced_by_an_empty_learner(tmp_path: Path) -> None:
    world = await World(tmp_path, MODEL).create_topics()
    world.store.advance_pointer(POINTER, Pointer(3, 0, "0" * 64))
    await example(world, 0, [1.0])

    await world.drain(LearningRole(world.app, world.context))

    assert pointer_of(world) == Pointer(3, 0, "0" * 64)
    assert row_of(world.store, fold(MODEL.key, "online"))["read"] == 0


async def test_snapshots_are_cut_on_the_way_and_name_what_they_contain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not only at the end: a crash in a long backlog does not start from nothing."""
    monkeypatch.setattr(learn_examples, "SNAPSHOT_EVERY", 1_000)
    world = await World(tmp_path, MODEL).create_topics()
    for number in range(1_500):
        await example(world, number, [1.0])

    await world.drain_but_kill(LearningRole(world.app, world.context), when=lambda _: find_pointer(world) is not None)

    pointer = pointer_of(world)
    snapshot = unseal(world.context.artefacts.get(pointer.digest), pointer.digest)
    assert pointer.position == snapshot.examples_next == snapshot.learned == 1_000
    assert snapshot.positions == {"t/0": (1_000, 0)}


@pytest.mark.parametrize("writes", range(142, 147))
@pytest.mark.parametrize("is_written", [True, False])
async def test_a_failure_around_a_snapshot_neither_loses_nor_repeats_progress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: int, *, is_written: bool
) -> None:
    """The snapshot after 1,000 examples is cut in the middle of a batch: row and pointer are two writes."""
    monkeypatch.setattr(learn_examples, "SNAPSHOT_EVERY", 1_000)
    world = await World(tmp_path, MODEL).create_topics()
    for number in range(1_100):
        await example(world, number, [1.0])
    world.store.writes_left, world.store.last_is_written = writes, is_written

    await world.drain(LearningRole(world.app, world.context))

    row = row_of(world.store, fold(MODEL.key, "online"))
    assert (row["applied"], row["duplicate"]) == (1_100, 0)
    assert read_progress(world.store, MODEL.key, "online").n == state_of(world)[1] == 1_100


async def test_two_models_with_one_label_event_each_get_their_labels(tmp_path: Path) -> None:
    other = small_model(name="later")
    world = World(tmp_path, MODEL)
    world.app = replace(world.app, models=(MODEL, other))
    await world.create_topics()
    await world.predict(1, "F1", START_MS)
    await world.arrive("F1", START_MS + HOUR_MS, 30.0)

    await world.drain(LearningRole(world.app, world.context))

    assert read_tally(world.store, MODEL.key).matched == 1
    assert row_of(world.store, router_fold(other.key))["applied"] == 1
