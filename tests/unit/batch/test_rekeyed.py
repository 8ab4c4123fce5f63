"""Work on the past of a rekeyed view: backfill, parity and replay read its copies; a switch waits for the copiers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec.structs import replace as replace_row

from agents.copy_events import CopyRole
from agents.featurize import FeaturesRole
from batch.audit_log import audit_log
from batch.backfill_view import Backfill
from batch.findings import Audit
from batch.look_back import Hindsight
from definitions.declared import ViewDefinition
from headrace.history import InProcessHistory
from streams.copies import copier_fold
from streams.derived import CopyHeaders
from streams.errors import StoreUnavailable
from streams.intake import Intake
from streams.records import Partition, RecordBatch
from streams.replay import PointInTime
from streams.store import Link, RowKey, fresh_mark
from streams.switching import standings, topics_of
from tests.records import GivenRecord, batch_of
from tests.rekeyed import APP, COPY, EVENT, NOW_MS, PLAIN, REKEYED, USERS, World, visit
from tests.served import Serving, prove

TWIN = replace(REKEYED, name="twin")
VISITS = 24


@pytest.fixture
async def world(tmp_path: Path) -> World:
    """Return a world of which all is copied and read, some of it copied twice."""
    world = await World(tmp_path).create()
    for number in range(VISITS):
        at_ms = NOW_MS - number * 5_000
        await world.publish(visit(number, USERS[number % 4] if number % 7 else None, at_ms), partition=number % 2)
    await world.run(FeaturesRole)
    [source, *_] = await world.partitions(EVENT.topic)
    role = CopyRole(APP, world.context)
    await role.open(await world.given(source))
    world.store.dies = "before"
    with pytest.raises(StoreUnavailable):
        await role.apply(world.batch(source, 0, 9))
    world.store.dies = None
    await world.settle()
    return world


async def history_of(world: World) -> InProcessHistory:
    """Return the past of the world's log."""
    return await InProcessHistory.of(world.log, (EVENT.topic, COPY.topic))


async def audited(world: World) -> Audit:
    """Return what an audit finds."""
    return audit_log(world.app, await history_of(world), world.store)


async def test_a_view_that_shares_a_copy_waits_for_a_backfill_and_reads_the_copies(world: World) -> None:
    app = replace(APP, views=(*APP.views, TWIN))
    await world.run(FeaturesRole, app=app)
    assert await world.rows(TWIN.key, COPY.topic) == []

    backfill = Backfill(TWIN, await history_of(world), world.store)
    backfill.run(close=0)
    await world.run(FeaturesRole, app=app)

    assert backfill.records == len(await world.records(COPY.topic)) > VISITS
    assert {user: world.values(TWIN, user) for user in USERS} == {user: world.values(PLAIN, user) for user in USERS}
    rows = [await world.rows(view.key, COPY.topic) for view in (TWIN, REKEYED)]
    assert [each.copied for each in rows[0]] == [each.copied for each in rows[1]]
    assert [each.duplicate for each in rows[0]] == [each.duplicate for each in rows[1]]


async def test_parity_is_proven_on_the_copies_and_what_was_sent_twice_is_no_duplicate(world: World) -> None:
    history = await history_of(world)
    serving = Serving([REKEYED], history)
    probes = []
    for partition in await world.partitions(COPY.topic):
        for count in (3, 4, None):
            serving.apply(REKEYED.sources[0], partition.index, count)
            probes += [serving.serve({"user": user}, NOW_MS) for user in USERS]
    assert probes[-1].vector[:2] != probes[0].vector[:2]

    found = prove(serving.model, history, serving.store, probes)

    assert (found.probes, found.faults) == (len(probes), 0)
    labels = {str(label): count for label, count in found.labels.items() if count}
    assert set(labels) <= {"late"}, "the copies that were sent twice are no producer's duplicates"
    assert serving.serve({"user": "bob"}, NOW_MS).vector[:2] == list(world.values(REKEYED, "bob").values())[:2]


def test_hindsight_takes_a_copy_sent_twice_once_however_old_its_event() -> None:
    """Ids are known for an hour; which copies are contained, for ever."""
    source, partition = Partition(EVENT.topic, 0, "source"), Partition(COPY.topic, 0, "copy")
    old, new = (visit(0, "ann", NOW_MS), 1), (visit(1, "ann", NOW_MS + 3 * 3_600_000), 2)
    records = [
        GivenRecord(offset, value, headers=CopyHeaders(source)(after, 0, (0, 0)))
        for offset, (value, after) in enumerate([old, new, old])
    ]
    hindsight = Hindsight(REKEYED.sources[0], 0)

    hindsight.apply(Intake(COPY).read(batch_of(partition, records)))

    assert hindsight.once.row.applied == 2


async def test_a_replay_of_the_copies_serves_what_is_served_live(world: World) -> None:
    replay = PointInTime([REKEYED])
    for partition in await world.partitions(COPY.topic):
        batch: RecordBatch = world.batch(partition, 0, world.log.kept(partition).end)
        replay.apply(batch)

    for user in USERS:
        past, live = replay.serve({"user": user}, NOW_MS), world.serve(REKEYED, user)
        assert (past.values, past.absent) == (live.values, live.absent)
        assert set(past.positions[REKEYED.key].items()) <= set(live.positions[REKEYED.key].items())


def ready(world: World, view: ViewDefinition, partitions: dict[str, Sequence[Partition]]) -> bool:
    """Return whether a version may be switched to."""
    return all(each.is_ready for each in standings(world.store, view, partitions))


async def test_a_switch_to_a_rekeyed_version_waits_for_the_copiers(world: World) -> None:
    partitions = {topic: await world.partitions(topic) for topic in topics_of(REKEYED)}
    assert sorted(partitions) == [COPY.topic, EVENT.topic]
    assert ready(world, REKEYED, partitions)

    await world.publish(visit(VISITS, "ann"))
    await world.run(FeaturesRole)
    assert not ready(world, REKEYED, partitions), "taken in, but not copied"
    assert ready(world, PLAIN, partitions)

    await world.settle()
    assert ready(world, REKEYED, partitions)


async def test_an_audit_is_clean_and_finds_a_copy_that_is_missing(world: World) -> None:
    clean = await audited(world)
    assert (clean.problems, clean.lost, clean.counted_twice) == ([], 0, 0)
    assert sum(each.row.applied for each in clean.copies) == VISITS - VISITS // 7 - 1

    source = (await world.partitions(EVENT.topic))[1]
    await world.publish(visit(VISITS, "ann"), partition=1)
    await world.run(FeaturesRole)
    key = RowKey(copier_fold(COPY.topic), source)
    [stored] = world.store.read_rows([key])
    assert stored is not None
    row = replace_row(stored.row, next=stored.row.next + 1, applied=stored.row.applied + 1)
    world.store.write([Link(key, stored.mark, fresh_mark(), row=row)])

    found = await audited(world)

    assert found.lost == 1
    [problem] = found.problems
    assert problem == (
        f"copy.{COPY.topic} visits[1]: expected {row.applied} records copied to {COPY.topic}, got {row.applied - 1}"
    )


async def test_an_audit_finds_a_copiers_tally_that_the_source_does_not_bear_out(world: World) -> None:
    [source, *_] = await world.partitions(EVENT.topic)
    key = RowKey(copier_fold(COPY.topic), source)
    [stored] = world.store.read_rows([key])
    assert stored is not None
    row = replace_row(stored.row, no_entity=stored.row.no_entity + 1)
    world.store.write([Link(key, stored.mark, fresh_mark(), row=row)])

    found = await audited(world)

    assert found.counted_twice == 1
    assert "no_entity: expected" in found.problems[0]
