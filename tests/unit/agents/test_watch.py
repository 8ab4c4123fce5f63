"""The monitoring role on a log in memory: an incident opens once and resolves once, whatever was killed."""

from __future__ import annotations

import operator
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec
import pytest

from agents.raise_alerts import FOLD, read_verdicts, verdict_on
from agents.watch import MonitoringRole
from online_models.health import Verdict
from streams import topics
from streams.artefacts import ArtefactStore
from streams.counts import fold, read_minutes, read_served
from streams.messages import Alert, Progress, Tick, encode
from tests.learning import HOUR_MS, NOW_MS, START_MS, World, row_of, small_model
from tests.releases import release

MODEL = small_model(tz="America/New_York")
DAY_MS = 24 * HOUR_MS
MIDNIGHT_MS = START_MS + 5 * HOUR_MS
"""2013-02-01 00:00 in New York."""
A_DAY = 220
Draw = Callable[[random.Random], float]


def ordinary(chance: random.Random) -> float:
    """Return a score as in training: the releases of these tests have evenly spread scores in their baseline."""
    return chance.random()


def stormy(_: random.Random) -> float:
    """Return a score that is always the same."""
    return 0.97


async def make(directory: Path) -> tuple[World, str]:
    """Return a world with a release in its artefact store."""
    world = await World(directory, MODEL).create_topics()
    return world, release(MODEL, ArtefactStore(directory))


async def score_day(world: World, digest: str, day: int, draw: Draw = ordinary, n: int = A_DAY) -> None:
    """Log a day's predictions, evenly over the day."""
    chance = random.Random(day)
    for number in range(n):
        at_ms = MIDNIGHT_MS + day * DAY_MS + number * DAY_MS // n
        scores = {"online": draw(chance)}
        await world.predict(day * 10_000 + number, f"F{number}", at_ms, release=digest, scores=scores)


async def end(world: World, day: int, hour: int = 2) -> None:
    """Tell every outcomes partition that event time has come so far."""
    progress = Progress(source="t/0", partitions=1, newest_ms=MIDNIGHT_MS + day * DAY_MS + hour * HOUR_MS)
    for partition in range(2):
        await world.log.producer().produce(topics.outcomes("demo", MODEL), encode(progress), partition=partition)


async def alerts_of(world: World) -> list[Alert]:
    """Return the alerts sent, copies left out."""
    sent = [msgspec.json.decode(each.value() or b"", type=Alert) for each in await world.records("demo.alerts")]
    return list(dict.fromkeys(sent))


async def storm(world: World, digest: str, days: tuple[Draw, ...] = (stormy, ordinary)) -> None:
    """Log days of good and bad weather, told to their end."""
    for day, draw in enumerate(days):
        await score_day(world, digest, day, draw)
    await end(world, len(days))


async def test_an_incident_opens_once_and_resolves_once(tmp_path: Path) -> None:
    world, digest = await make(tmp_path)
    await storm(world, digest, (ordinary, stormy, stormy, ordinary, stormy, ordinary, ordinary))

    await world.drain(MonitoringRole(world.app, world.context))

    alerts = await alerts_of(world)
    assert [(each.state, each.day, each.since) for each in alerts] == [
        ("firing", "2013-02-02", "2013-02-02"),
        ("resolved", "2013-02-04", "2013-02-02"),
        ("firing", "2013-02-05", "2013-02-05"),
        ("resolved", "2013-02-06", "2013-02-05"),
    ]
    assert len({each.incident for each in alerts}) == 2
    assert all(each.n == A_DAY and each.model == MODEL.key and each.release == digest for each in alerts)
    records = await world.records("demo.alerts")
    assert {record.key() for record in records} == {each.fingerprint.encode() for each in alerts}
    assert "2013-02-02" in alerts[0].message


@pytest.mark.parametrize("kills", [*((turns,) for turns in range(1, 71, 12)), (30, 30, 30), (50, 20, 60, 1)])
async def test_a_killed_role_judges_what_an_uninterrupted_one_does(tmp_path: Path, kills: tuple[int, ...]) -> None:
    """Killed at any await, then opened anew: equal alerts, equal counts, equal verdicts."""
    smooth, digest = await make(tmp_path / "smooth")
    world, _ = await make(tmp_path / "killed")
    for each in (smooth, world):
        await storm(each, digest)
    await smooth.drain(MonitoringRole(smooth.app, smooth.context))

    for turns in kills:
        await world.drain_but_kill(MonitoringRole(world.app, world.context), when=partial(operator.le, turns))
    await world.drain(MonitoringRole(world.app, world.context))

    assert await alerts_of(world) == await alerts_of(smooth)
    assert read_served(world.store, MODEL.key) == read_served(smooth.store, MODEL.key)
    assert read_minutes(world.store, MODEL.key, now_ms=NOW_MS) == read_minutes(smooth.store, MODEL.key, now_ms=NOW_MS)
    assert read_verdicts(world.store) == read_verdicts(smooth.store)
    assert row_of(world.store, fold(MODEL.key)) == row_of(smooth.store, fold(MODEL.key))
    assert row_of(world.store, FOLD)["applied"] == row_of(smooth.store, FOLD)["applied"]


@pytest.mark.parametrize("writes", range(1, 70, 12))
@pytest.mark.parametrize("is_written", [True, False])
async def test_a_store_that_fails_at_any_write_costs_nothing(tmp_path: Path, writes: int, *, is_written: bool) -> None:
    """The record is read again, and what it was told before is told again, equally."""
    smooth, digest = await make(tmp_path / "smooth")
    world, _ = await make(tmp_path / "failing")
    for each in (smooth, world):
        await storm(each, digest)
    await smooth.drain(MonitoringRole(smooth.app, smooth.context))
    world.store.writes_left, world.store.last_is_written = writes, is_written

    await world.drain(MonitoringRole(world.app, world.context))

    assert await alerts_of(world) == await alerts_of(smooth)
    assert row_of(world.store, fold(MODEL.key)) == row_of(smooth.store, fold(MODEL.key))


async def test_a_day_is_judged_when_every_partition_has_told_it(tmp_path: Path) -> None:
    """Silence of one partition is not health."""
    world, digest = await make(tmp_path)
    await score_day(world, digest, 0, stormy)
    progress = Progress(source="t/0", partitions=1, newest_ms=MIDNIGHT_MS + 2 * DAY_MS)
    await world.log.producer().produce(topics.outcomes("demo", MODEL), encode(progress), partition=0)
    await world.drain(MonitoringRole(world.app, world.context))
    before = await alerts_of(world)

    await end(world, 2)
    await world.drain(MonitoringRole(world.app, world.context))

    assert before == []
    assert [(each.state, each.n) for each in await alerts_of(world)] == [("firing", A_DAY)]


async def test_a_day_is_not_over_before_its_grace(tmp_path: Path) -> None:
    world, digest = await make(tmp_path)
    await score_day(world, digest, 0, stormy)
    await end(world, 1, hour=0)
    await world.drain(MonitoringRole(world.app, world.context))
    before = await alerts_of(world)

    await end(world, 1, hour=1)
    await world.drain(MonitoringRole(world.app, world.context))

    assert (before, len(await alerts_of(world))) == ([], 1)


async def test_few_predictions_are_insufficient_data_and_neither_open_nor_resolve(tmp_path: Path) -> None:
    world, digest = await make(tmp_path)
    await score_day(world, digest, 0, stormy, n=199)
    await end(world, 1)
    await world.drain(MonitoringRole(world.app, world.context))
    verdicts = read_verdicts(world.store)

    assert await alerts_of(world) == []
    assert verdict_on(verdicts[MODEL.key], "2013-02-02") is Verdict.INSUFFICIENT
    assert verdict_on(verdicts[MODEL.key], "2013-02-09") is Verdict.STALE
    assert verdict_on(None, "2013-02-02") is Verdict.INSUFFICIENT


async def test_verdicts_show_every_signal_and_when_the_last_tick_came(tmp_path: Path) -> None:
    world, digest = await make(tmp_path)
    await score_day(world, digest, 0)
    await end(world, 1)
    await world.drain(MonitoringRole(world.app, world.context))

    found = read_verdicts(world.store)[MODEL.key]

    assert (found.health.verdict, found.health.day, found.told_ms) == (Verdict.OK, "2013-02-01", NOW_MS)
    assert set(found.shifts) == {"score:online", "feature:distance"}
    assert found.shifts["score:online"].n == A_DAY
    assert found.shifts["score:online"].psi < 1.0


async def test_what_was_served_is_counted_by_input_and_minute(tmp_path: Path) -> None:
    world, digest = await make(tmp_path)
    for number, vector in enumerate([[3.0], [5.0], [None], [10.0]]):
        await world.predict(number, f"F{number}", START_MS, release=digest, vector=vector)

    await world.drain(MonitoringRole(world.app, world.context))

    served = read_served(world.store, MODEL.key)["distance"]
    assert (served.n, served.missing, served.mean, served.least, served.greatest) == (4, 1, 6.0, 3.0, 10.0)
    minutes = read_minutes(world.store, MODEL.key, now_ms=NOW_MS + 60_000)
    assert (minutes[-1], sum(minutes)) == (4, 4)


async def test_predictions_without_a_baseline_are_counted_apart(tmp_path: Path) -> None:
    """No release, one that is not there, and a vector that is not the model's; bytes that are no outcome are dead."""
    world, digest = await make(tmp_path)
    await world.predict(1, "F1", START_MS)
    await world.predict(2, "F2", START_MS, release="0" * 64)
    await world.predict(3, "F3", START_MS, release=digest, vector=[])
    await world.predict(4, "F4", START_MS, release=digest)
    await world.log.producer().produce(topics.outcomes("demo", MODEL), b"{", partition=0)

    await world.drain(MonitoringRole(world.app, world.context))

    row = row_of(world.store, fold(MODEL.key))
    assert (row["no_entity"], row["applied"], row["dead"]) == (3, 1, 1)


async def test_a_prediction_of_a_day_that_was_told_is_late_and_not_tested_again(tmp_path: Path) -> None:
    world, digest = await make(tmp_path)
    await end(world, 3)
    await score_day(world, digest, 1, stormy, n=300)
    await end(world, 4)

    await world.drain(MonitoringRole(world.app, world.context))

    assert row_of(world.store, fold(MODEL.key))["too_late"] == 300
    assert await alerts_of(world) == []


async def test_a_prediction_from_the_future_does_not_end_days(tmp_path: Path) -> None:
    """One wrong clock among the callers must not make every later prediction late."""
    world, digest = await make(tmp_path)
    await world.predict(1, "F1", NOW_MS + 400 * DAY_MS, release=digest)
    await score_day(world, digest, 0)
    await end(world, 1)

    await world.drain(MonitoringRole(world.app, world.context))

    assert row_of(world.store, fold(MODEL.key))["too_late"] == 0
    assert read_verdicts(world.store)[MODEL.key].health.n == A_DAY


def tick(digest: str, outcomes: str, day: int = 1, n: int | None = 300) -> Tick:
    """Return a day's counts of one partition, all in the last bin; without ``n`` the tick that says it is told."""
    return Tick(
        model=MODEL.key,
        release="" if n is None else digest,
        day=f"2013-02-{day:02}",
        outcomes=outcomes,
        partitions=2,
        next=1,
        counts={} if n is None else {"score:online": [0] * 9 + [n]},
    )


async def tell(world: World, *ticks: Tick | bytes) -> None:
    """Append ticks to their topic, and let the role work."""
    for each in ticks:
        value = each if isinstance(each, bytes) else encode(each)
        await world.log.producer().produce(topics.ticks("demo"), value)
    await world.drain(MonitoringRole(world.app, world.context))


async def test_a_tick_sent_again_counts_once(tmp_path: Path) -> None:
    """Before its day is judged, and after."""
    world, digest = await make(tmp_path)
    first, second = tick(digest, "t/0"), tick(digest, "t/1")
    told = (tick(digest, "t/0", n=None), tick(digest, "t/1", n=None))

    await tell(world, first, first, second, *told, second, first, *told)

    assert read_verdicts(world.store)[MODEL.key].health.n == 600
    assert (row_of(world.store, FOLD)["applied"], row_of(world.store, FOLD)["duplicate"]) == (4, 5)
    assert [each.state for each in await alerts_of(world)] == ["firing"]


async def test_nothing_is_judged_while_a_partition_was_never_heard(tmp_path: Path) -> None:
    """A partition that has not started yet may hold half of the day."""
    world, digest = await make(tmp_path)

    await tell(world, tick(digest, "t/0"), tick(digest, "t/0", n=None))

    assert read_verdicts(world.store) == {}
    assert await alerts_of(world) == []


async def test_days_that_become_complete_together_are_judged_in_order(tmp_path: Path) -> None:
    world, digest = await make(tmp_path)
    spread = msgspec.structs.replace(tick(digest, "t/0", day=2), counts={"score:online": [30] * 10})

    await tell(world, spread, tick(digest, "t/0", day=1), tick(digest, "t/0", 2, None), tick(digest, "t/1", 2, None))

    assert [(each.state, each.day) for each in await alerts_of(world)] == [
        ("firing", "2013-02-01"),
        ("resolved", "2013-02-02"),
    ]


async def test_partitions_of_a_topic_made_anew_replace_the_old_ones(tmp_path: Path) -> None:
    """Else the old ones, silent for ever, would hold every later day back."""
    world, digest = await make(tmp_path)
    await tell(world, tick(digest, "old/0", 1, None), tick(digest, "old/1", 1, None))

    await tell(world, tick(digest, "new/0", 3), tick(digest, "new/0", 3, None), tick(digest, "new/1", 3, None))

    assert read_verdicts(world.store)[MODEL.key].health.day == "2013-02-03"


async def test_a_tick_that_is_no_tick_is_dead_and_the_next_one_goes_on(tmp_path: Path) -> None:
    """Counts that do not fit the baseline's bins are not compared with them."""
    world, digest = await make(tmp_path)
    odd = msgspec.structs.replace(tick(digest, "t/0"), counts={"score:online": [1, 2], "feature:gone": [1]})

    await tell(world, b"", b"[]", odd, tick(digest, "t/0", n=None), tick(digest, "t/1", n=None))

    assert row_of(world.store, FOLD)["dead"] == 2
    assert read_verdicts(world.store)[MODEL.key].health.n == 0
