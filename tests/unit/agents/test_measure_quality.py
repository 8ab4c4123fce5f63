"""How well learners do, counted by the monitoring role from a log in memory: exact, whatever was killed or cut."""

from __future__ import annotations

import operator
import random
from functools import partial
from pathlib import Path

import msgspec
import pytest
from river.linear_model import LogisticRegression
from river.optim import SGD
from river.preprocessing import StandardScaler

import headrace as hr
from agents.learn import LearningRole
from agents.measure_quality import EXPORT_EVERY_MS
from agents.read_quality import fold, read_quality
from agents.read_search import read_searches
from agents.transport import Assigned
from agents.watch import MonitoringRole
from definitions.declared import ModelDefinition
from definitions.values import ValueType
from online_models.progress import rank_auc
from online_models.quality.measures import Measures
from online_models.quality.report import FINAL, PROVISIONAL, Quality
from streams import topics
from streams.messages import Example, encode
from tests.builders import request_input
from tests.learning import HOUR_MS, NOW_MS, START_MS, World, row_of, small_model

DAY_MS = 24 * HOUR_MS
MODEL = small_model(
    inputs=[request_input("distance"), request_input("carrier", ValueType.CATEGORY)], segments={"carrier": ("UA",)}
)
CARRIERS = ("UA", "AA", None)
Pair = tuple[float, bool]


async def live(world: World, days: int, a_day: int = 40, seed: int = 3) -> dict[str, list[Pair]]:
    """Let days of predictions and labels happen, one in ten without a label; return the pairs by carrier."""
    chance = random.Random(seed)
    pairs: dict[str, list[Pair]] = {}
    for number in range(days * a_day):
        at_ms = START_MS + number * DAY_MS // a_day
        score, carrier = round(chance.random(), 3), CARRIERS[number % 3]
        scores = {"online": score, "offline": 1 - score}
        vector = [float(number), carrier]
        await world.predict(number, f"F{number}", at_ms, scores=scores, vector=vector, release="a" * 64)
        if number % 10:
            is_late = chance.random() < score
            await world.arrive(f"F{number}", at_ms + chance.randrange(5 * HOUR_MS), 60.0 if is_late else 0.0)
            pairs.setdefault(str(carrier), []).append((score, is_late))
    return pairs


async def end(world: World, day: int) -> None:
    """Let event time come to a day in every label partition."""
    for number in range(24):
        await world.arrive(f"X{number}", START_MS + day * DAY_MS, 0.0)


async def work(world: World) -> None:
    """Let the labels be joined, then everything be counted."""
    await world.drain(LearningRole(world.app, world.context))
    await world.drain(MonitoringRole(world.app, world.context))


async def quality_of(world: World, model: ModelDefinition = MODEL) -> Quality:
    found = await read_quality(world.store, world.log, "demo", model)
    assert found is not None
    assert found.behind == 0
    return found.quality


def everything(pairs: dict[str, list[Pair]]) -> list[Pair]:
    return [pair for each in pairs.values() for pair in each]


async def make(directory: Path, model: ModelDefinition = MODEL) -> World:
    return await _at_day_20(World(directory, model))


async def _at_day_20(world: World) -> World:
    """Let the broker's clock be far ahead of what happens: nothing is from the future."""
    world.clock.advance(20 * DAY_MS)
    return await world.create_topics()


def measures_of(quality: Quality, name: str = "") -> Measures:
    told = quality.told("online", quality.numbers, name)
    assert told is not None
    return told.measures


async def test_measures_are_those_of_the_pairs_by_day_with_coverage(tmp_path: Path) -> None:
    world = await make(tmp_path)
    pairs = await live(world, days=4)
    await end(world, 8)
    await work(world)

    quality = await quality_of(world)
    told = quality.told("online", quality.numbers)

    assert told is not None
    said = everything(pairs)
    assert (told.predicted, told.matured, told.mark, told.coverage) == (160, 144, FINAL, 0.9)
    assert told.measures.auc == pytest.approx(rank_auc(*zip(*said, strict=True)), abs=5e-3)
    assert told.measures.positives_ratio == sum(label for _, label in said) / len(said)
    worse = quality.told("offline", quality.numbers)
    assert worse is not None
    assert worse.measures.brier is not None
    assert told.measures.brier is not None
    assert worse.measures.brier > told.measures.brier


async def test_slices_are_measured_apart(tmp_path: Path) -> None:
    world = await make(tmp_path)
    pairs = await live(world, days=2)
    await end(world, 8)
    await work(world)
    quality = await quality_of(world)

    counts = {name: measures_of(quality, name).n for name in quality.slices}

    assert counts == {
        "": 72,
        "carrier=UA": len(pairs["UA"]),
        "carrier=(other)": len(pairs["AA"]),
        "carrier=(missing)": len(pairs["None"]),
        f"release={'a' * 12}": 72,
    }


async def test_days_are_final_when_their_horizon_has_passed(tmp_path: Path) -> None:
    """Event time is at day 3: the last prediction of day 1 waits a day more, for labels that come out of order."""
    world = await make(tmp_path)
    await live(world, days=4)
    await work(world)

    quality = await quality_of(world)
    first = START_MS // DAY_MS

    assert quality.numbers == [first, first + 1, first + 2, first + 3]
    assert quality.final() == [first, first + 1]
    newest = quality.told("online", quality.newest())
    assert newest is not None
    assert newest.mark == PROVISIONAL
    assert newest.corrected is not None


@pytest.mark.parametrize("kills", [*((turns,) for turns in range(1, 80, 13)), (25, 25, 25), (50, 20, 60, 1)])
async def test_a_killed_role_counts_what_an_uninterrupted_one_does(tmp_path: Path, kills: tuple[int, ...]) -> None:
    smooth, world = await make(tmp_path / "smooth"), await make(tmp_path / "killed")
    for each in (smooth, world):
        await live(each, days=3)
        await each.drain(LearningRole(each.app, each.context))
    await smooth.drain(MonitoringRole(smooth.app, smooth.context))

    for turns in kills:
        await world.drain_but_kill(MonitoringRole(world.app, world.context), when=partial(operator.le, turns))
    await world.drain(MonitoringRole(world.app, world.context))

    assert row_of(world.store, fold(MODEL.key)) == row_of(smooth.store, fold(MODEL.key))
    found, wanted = await quality_of(world), await quality_of(smooth)
    for name in wanted.slices:
        assert found.told("online", wanted.numbers, name) == wanted.told("online", wanted.numbers, name)


@pytest.mark.parametrize("writes", range(1, 60, 12))
@pytest.mark.parametrize("is_written", [True, False])
async def test_a_store_that_fails_at_any_write_costs_nothing(tmp_path: Path, writes: int, *, is_written: bool) -> None:
    smooth, world = await make(tmp_path / "smooth"), await make(tmp_path / "failing")
    for each in (smooth, world):
        await live(each, days=3)
        await each.drain(LearningRole(each.app, each.context))
    await smooth.drain(MonitoringRole(smooth.app, smooth.context))
    world.store.writes_left, world.store.last_is_written = writes, is_written

    await world.drain(MonitoringRole(world.app, world.context))

    assert measures_of(await quality_of(world)) == measures_of(await quality_of(smooth))


async def test_batches_may_be_cut_anywhere_and_outcomes_partitioned_anyhow(tmp_path: Path) -> None:
    """One partition in large batches, four in small ones."""
    coarse = await _at_day_20(World(tmp_path / "coarse", MODEL, partitions=1))
    fine = await _at_day_20(World(tmp_path / "fine", MODEL, partitions=4))
    coarse.log._max_batch, fine.log._max_batch = 500, 1
    for each in (coarse, fine):
        await live(each, days=3)
        await end(each, 9)
        await work(each)

    one, other = await quality_of(coarse), await quality_of(fine)

    assert one.slices == other.slices
    for name in one.slices:
        assert one.told("online", one.numbers, name) == other.told("online", other.numbers, name)


async def test_copies_of_examples_and_unreadable_records_are_counted_apart(tmp_path: Path) -> None:
    world = await make(tmp_path)
    await live(world, days=1)
    await world.drain(LearningRole(world.app, world.context))
    topic = topics.examples("demo", MODEL)
    copies = [record.value() for record in await world.records(topic)][:5]
    for value in (*copies, b"{", b""):
        await world.log.producer().produce(topic, value)
    await world.drain(MonitoringRole(world.app, world.context))

    row = row_of(world.store, fold(MODEL.key))

    assert (row["duplicate"], row["dead"]) == (5, 2)
    assert measures_of(await quality_of(world)).n == 36


async def test_what_cannot_be_measured_is_counted_and_moves_nothing(tmp_path: Path) -> None:
    """A wrong clock, a prediction without key, one without scores, an example whose label is a text."""
    world = await make(tmp_path)
    await world.predict(1, "F1", NOW_MS + 500 * DAY_MS)
    await world.predict(2, None, START_MS)
    await world.predict(3, "F3", START_MS, scores={})
    await world.predict(4, "F4", START_MS)
    odd = msgspec.json.encode({**_example(), "label": "late"})
    await world.log.producer().produce(topics.examples("demo", MODEL), odd)
    await world.drain(MonitoringRole(world.app, world.context))

    row = row_of(world.store, fold(MODEL.key))
    quality = await quality_of(world)

    assert (row["too_late"], row["no_entity"]) == (1, 3)
    assert quality.numbers == [START_MS // DAY_MS]


def _example() -> dict[str, object]:
    return {
        "model": MODEL.key, "label_key": "F9", "at_ms": START_MS, "vector": [1.0, "UA"], "label": True,
        "scores": {"online": 0.5}, "champion": "online", "outcomes": "o/0", "next": 1, "index": 0,
    }  # fmt: skip


async def test_examples_of_an_older_headrace_are_read(tmp_path: Path) -> None:
    world = await make(tmp_path)
    await world.log.producer().produce(topics.examples("demo", MODEL), msgspec.json.encode(_example()))
    await world.drain(MonitoringRole(world.app, world.context))

    assert measures_of(await quality_of(world)).n == 1


async def test_while_examples_are_not_counted_nothing_is_final(tmp_path: Path) -> None:
    world = await make(tmp_path)
    await live(world, days=2)
    await end(world, 9)
    await world.drain(LearningRole(world.app, world.context))

    found = await read_quality(world.store, world.log, "demo", MODEL)

    assert found is not None
    assert found.behind == 72
    assert found.quality.final() == []


async def test_measures_are_on_the_metrics_port(tmp_path: Path) -> None:
    world = await make(tmp_path)
    await live(world, days=3)
    await end(world, 9)
    await world.drain(LearningRole(world.app, world.context))
    await _told_the_end(world)

    def sample(name: str, **labels: str) -> float | None:
        given = {"namespace": "demo", "model": MODEL.key, "learner": "online", **labels}
        return world.context.metrics.registry.get_sample_value(f"headrace_{name}", given)

    quality = await quality_of(world)
    told = quality.told("online", quality.final())
    assert told is not None
    assert sample("prequential_measure", slice="all", measure="log_loss", mark="final") == told.measures.log_loss
    assert sample("prequential_measure", slice="all", measure="auc", mark="faded") is not None
    assert sample("label_coverage_ratio", slice="carrier=UA", mark="final") is not None
    assert sample("label_coverage_ratio", slice=f"release={'a' * 12}", mark="final") is None


async def _told_the_end(world: World) -> None:
    """Let the role count everything, and be told that there is no more."""
    role = MonitoringRole(world.app, world.context)
    await world.drain(role)
    [partition] = await world.log.partitions(topics.examples("demo", MODEL))
    [(first, last)] = await world.log.bounds([partition])
    await role.open(Assigned(partition, assignment=1, first=first, end=last, committed=None))
    await role.reached_end(partition, last, NOW_MS + 20 * DAY_MS + EXPORT_EVERY_MS)


async def test_numbers_have_errors_and_no_correction(tmp_path: Path) -> None:
    world = await make(tmp_path)
    body = msgspec.convert({**_example(), "label": 3.0, "scores": {"online": 1.0}}, Example)
    await world.log.producer().produce(topics.examples("demo", MODEL), encode(body))
    await world.drain(MonitoringRole(world.app, world.context))

    found = measures_of(await quality_of(world))

    assert (found.rmse, found.mae, found.bias, found.log_loss) == (2.0, 2.0, -2.0, None)


async def test_a_search_is_a_learner_whose_standing_can_be_read(tmp_path: Path) -> None:
    search = hr.search(searched_regression, {"lr": (0.1, 0.01, 0.001)}, examples=30).definition("tuned")
    model = small_model(inputs=MODEL.inputs, learners=[search])
    world = await make(tmp_path, model)
    before = read_searches(world.store, world.context.artefacts, model)
    await live(world, days=2)
    await world.drain(LearningRole(world.app, world.context))

    standing = read_searches(world.store, world.context.artefacts, model)["tuned"]

    assert before == {}
    assert (standing.settings, standing.is_over, standing.learned) == (3, True, 72)
    assert read_searches(world.store, world.context.artefacts, small_model()) == {}


def searched_regression(lr: float) -> object:
    """Return a fresh classifier."""
    return StandardScaler() | LogisticRegression(optimizer=SGD(lr))


async def test_a_revised_example_moves_its_pair_and_counts_no_other(tmp_path: Path) -> None:
    world = await make(tmp_path)
    first = _example()
    again = {**first, "label": False, "next": 2, "is_revision": True}
    for body in (first, again, again):
        await world.log.producer().produce(topics.examples("demo", MODEL), msgspec.json.encode(body))
    await world.drain(MonitoringRole(world.app, world.context))

    found = measures_of(await quality_of(world))

    assert (found.n, found.positives_ratio) == (1, 0.0)


@pytest.mark.parametrize(
    ("replaces", "rmse"), [({"replaces": 3.0}, 8.0), ({}, 2.0)], ids=["told", "of an older headrace"]
)
async def test_a_revised_number_takes_the_place_of_the_one_it_replaces(
    replaces: dict[str, float], rmse: float, tmp_path: Path
) -> None:
    world = await make(tmp_path)
    first = {**_example(), "label": 3.0, "scores": {"online": 1.0}}
    for body in (first, {**first, "label": 9.0, "next": 2, "is_revision": True, **replaces}):
        await world.log.producer().produce(topics.examples("demo", MODEL), msgspec.json.encode(body))
    await world.drain(MonitoringRole(world.app, world.context))

    found = measures_of(await quality_of(world))

    assert (found.n, found.rmse) == (1, rmse)
