"""What people command a learner is obeyed by the role that runs, and nothing is lost or learned twice for it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from agents.learn import LearningRole
from agents.read_progress import fold
from agents.runner import Runner
from agents.steer_learning import Steering, SteeringRefused
from agents.transport import Member
from definitions.encoder import Encoder
from definitions.values import Value
from online_models.learners.river import RiverLearner
from online_models.snapshots import Snapshot, unseal
from streams import topics
from streams.messages import Example, encode
from streams.pointers import learner_pointer
from streams.store import Question
from tests.builders import river_learner
from tests.learning import START_MS, World, row_of, small_model
from tests.releases import linear

MODEL = small_model()
EXAMPLES = topics.examples("demo", MODEL)
ONE_SECOND_MS = 1_000


async def learn(world: World, numbers: range, *, distance: float | None = None) -> None:
    """Append examples to the topic, as the join does."""
    for number in numbers:
        vector: list[Value] = [float(number) if distance is None else distance]
        example = Example(
            model=MODEL.key, label_key=f"F{number}", at_ms=START_MS, vector=vector, label=number % 3 == 0,
            scores={}, champion="online", outcomes="t/0", next=number + 1, index=0,
        )  # fmt: skip
        await world.log.producer().produce(EXAMPLES, encode(example), key=example.label_key.encode())


def taught(*numbers: int) -> str:
    """Return the canonical digest of a learner of these examples alone."""
    learner = RiverLearner(MODEL.learners["online"], Encoder(MODEL.inputs))
    for number in numbers:
        learner.learn_one([float(number)], number % 3 == 0)
    return learner.canonical()


@dataclass
class Running:
    """A learning role in this process, driven by hand."""

    world: World
    member: Member
    runner: Runner

    async def work(self) -> None:
        """Let it work until nothing is left, and a second pass: it looks for commands where nothing comes."""
        for _ in range(3):
            self.world.clock.advance(ONE_SECOND_MS)
            while (batch := await self.member.poll(0)) is not None:
                await self.runner.take(batch)

    def gauge(self, name: str) -> float | None:
        """Return what the metric shows of the learner."""
        labels = {"namespace": "demo", "model": MODEL.key, "learner": "online"}
        return self.world.context.metrics.registry.get_sample_value(f"headrace_{name}", labels)


@asynccontextmanager
async def running(world: World) -> AsyncIterator[Running]:
    """Run the learning role for as long as the block lasts."""
    role = LearningRole(world.app, world.context)
    member = world.log.member(role.subscription())
    runner = Runner(member, role, world.context.metrics)
    await member.start(runner)
    yield Running(world, member, runner)
    await member.stop(1.0)


@pytest.fixture
async def world(tmp_path: Path) -> World:
    return await World(tmp_path, MODEL).create_topics()


def steering(world: World) -> Steering:
    return Steering(world.context, MODEL, MODEL.learners["online"])


def in_force(world: World) -> Snapshot:
    """Return the newest snapshot."""
    [pointer] = world.store.read(Question(pointers=[learner_pointer(MODEL.key, "online")])).pointers
    assert pointer is not None
    snapshot = unseal(world.context.artefacts.get(pointer.digest), pointer.digest)
    assert (snapshot.generation, snapshot.examples_next) == (pointer.generation, pointer.position)
    return snapshot


async def test_a_paused_learner_takes_nothing_and_learns_all_of_it_when_it_is_resumed(world: World) -> None:
    async with running(world) as role:
        await learn(world, range(5))
        await role.work()

        assert steering(world).pause(is_paused=True)
        await role.work()
        await learn(world, range(5, 12))
        await role.work()

        assert in_force(world).canonical == taught(*range(5))
        assert (role.gauge("learner_lag_records"), role.gauge("learner_paused")) == (7.0, 1.0)
        assert row_of(world.store, fold(MODEL.key, "online"))["read"] == 5

        assert steering(world).pause(is_paused=False)
        await role.work()

        assert in_force(world).canonical == taught(*range(12))
        assert (role.gauge("learner_lag_records"), role.gauge("learner_paused")) == (0.0, 0.0)
        assert row_of(world.store, fold(MODEL.key, "online"))["applied"] == 12


async def test_a_pause_outlives_the_process_and_holds_no_other_learner_up(tmp_path: Path) -> None:
    model = small_model(learners=[river_learner(factory=linear), river_learner("second", factory=linear)])
    world = await World(tmp_path, model).create_topics()
    Steering(world.context, model, model.learners["online"]).pause(is_paused=True)
    await learn(world, range(4))

    await world.drain(LearningRole(world.app, world.context))

    assert row_of(world.store, fold(model.key, "online"))["read"] == 0
    assert row_of(world.store, fold(model.key, "second"))["applied"] == 4
    Steering(world.context, model, model.learners["online"]).pause(is_paused=False)
    await learn(world, range(4, 6))
    await world.drain(LearningRole(world.app, world.context))
    assert [row_of(world.store, fold(model.key, each))["applied"] for each in ("online", "second")] == [6, 6]


async def test_a_command_that_is_no_news_changes_nothing(world: World) -> None:
    assert not steering(world).pause(is_paused=False)
    assert steering(world).pause(is_paused=True)
    assert not steering(world).pause(is_paused=True)
    assert (await steering(world).standing()).is_paused


@pytest.mark.parametrize(("relearn", "learned"), [(False, (4, 5)), (True, (0, 1, 2, 3, 4, 5))])
async def test_a_learner_that_is_reset_begins_anew(world: World, *, relearn: bool, learned: tuple[int, ...]) -> None:
    async with running(world) as role:
        await learn(world, range(4))
        await role.work()

        await steering(world).reset(relearn=relearn)
        await role.work()
        if not relearn:
            assert in_force(world).canonical == taught()
        await learn(world, range(4, 6))
        await role.work()

    assert in_force(world).canonical == taught(*learned)
    assert in_force(world).generation == 1


async def test_what_was_left_out_by_a_reset_is_not_learned_from_a_copy(world: World) -> None:
    """The join sends examples again after a crash; those before the reset stay left out."""
    await learn(world, range(4))
    await steering(world).reset(relearn=False)
    await learn(world, range(2, 6))

    await world.drain(LearningRole(world.app, world.context))

    assert in_force(world).canonical == taught(4, 5)


@pytest.mark.parametrize(("relearn", "learned"), [(False, (0, 1, 2, 9)), (True, (0, 1, 2, 3, 4, 5, 9))])
async def test_a_rollback_restores_exactly(world: World, *, relearn: bool, learned: tuple[int, ...]) -> None:
    async with running(world) as role:
        await learn(world, range(3))
        await role.work()
        good = in_force(world)
        await learn(world, range(3, 6))
        await role.work()
        assert in_force(world).canonical == taught(*range(6))

        kept, pointer = await steering(world).roll_back(None, relearn=relearn)

        assert kept.learned == 3
        back = in_force(world)
        assert (back.canonical, back.state, back.generation) == (good.canonical, good.state, pointer.generation)
        await role.work()
        await learn(world, range(9, 10))
        await role.work()

    assert in_force(world).canonical == taught(*learned)


async def test_a_rollback_names_a_snapshot_by_the_beginning_of_its_digest(world: World) -> None:
    for number in range(4):
        await learn(world, range(number, number + 1))
        await world.drain(LearningRole(world.app, world.context))
    first = steering(world).history()[0]

    kept, _ = await steering(world).roll_back(first.digest[:8], relearn=False)

    assert (kept, in_force(world).canonical) == (first, taught(0))


@pytest.mark.parametrize("digest", [None, "0000", ""])
async def test_a_rollback_to_what_is_not_there_or_not_one_is_refused(world: World, digest: str | None) -> None:
    if digest == "":
        for number in range(2):
            await learn(world, range(number, number + 1))
            await world.drain(LearningRole(world.app, world.context))

    with pytest.raises(SteeringRefused, match=r"expected .*snapshot.*; see `headrace models snapshots`"):
        await steering(world).roll_back(digest, relearn=False)


async def test_a_snapshot_that_is_broken_is_not_gone_back_to(world: World, tmp_path: Path) -> None:
    for number in range(2):
        await learn(world, range(number, number + 1))
        await world.drain(LearningRole(world.app, world.context))
    before, newest = steering(world).history()
    file = tmp_path / before.digest[:2] / before.digest
    file.write_bytes(file.read_bytes()[:-1])

    with pytest.raises(Exception, match="expected its own digest"):
        await steering(world).roll_back(None, relearn=False)

    assert (await steering(world).standing()).pointer is not None
    assert in_force(world).learned == newest.learned == 2


async def test_a_learner_whose_snapshot_is_broken_learns_again_after_a_reset(world: World, tmp_path: Path) -> None:
    await learn(world, range(2))
    await world.drain(LearningRole(world.app, world.context))
    [newest] = steering(world).history()
    (tmp_path / newest.digest[:2] / newest.digest).write_bytes(b"")
    await learn(world, range(2, 4))
    async with running(world) as role:
        await role.work()
        assert row_of(world.store, fold(MODEL.key, "online"))["read"] == 2

        await steering(world).reset(relearn=True)
        await role.work()

    assert in_force(world).canonical == taught(*range(4))


async def test_the_history_is_bounded_and_what_leaves_it_leaves_the_artefacts(world: World, tmp_path: Path) -> None:
    for number in range(40):
        await learn(world, range(number, number + 1))
        await world.drain(LearningRole(world.app, world.context))

    history = steering(world).history()

    assert [each.number for each in history][-16:] == list(range(25, 41))
    assert len(history) < 30
    assert {each.digest for each in history} == {name for _, _, names in os.walk(tmp_path) for name in names}
    assert all(each.is_own for each in history)
