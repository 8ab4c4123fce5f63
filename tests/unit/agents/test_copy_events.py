"""What is copied, under which key and with which headers; and that no record is applied twice or lost."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest

from agents import copy_events
from agents.copy_events import CopyRole
from agents.featurize import FeaturesRole
from agents.handle_dead_letters import DeadLetterDesk
from agents.repair_topic import examine, repair
from agents.transport import LogUnavailable, PartitionPaused
from batch.audit_log import audit_log
from definitions.declared import AppDefinition
from definitions.errors import HeadraceError
from headrace.history import InProcessHistory
from streams import topics
from streams.dead_letters import REPLAY_HEADER
from streams.derived import COPIED_HEADER, POSITION_HEADER
from streams.errors import StoreUnavailable
from streams.intake import FOLD
from streams.partitioning import partition_of
from streams.repairs import ACCEPT_LOSS, RESTART
from streams.sources import replace_source
from streams.store import Question
from tests.rekeyed import APP, COPY, EVENT, NOW_MS, PLAIN, REKEYED, USERS, World, visit

HOUR_MS = 3_600_000


@pytest.fixture
async def world(tmp_path: Path) -> World:
    return await World(tmp_path).create()


async def test_living_records_that_name_an_entity_are_copied_byte_for_byte_under_its_key(world: World) -> None:
    values = [visit(0, "ann"), b"{oops", visit(1, None), visit(2, "bob"), visit(3, "ann")]
    await world.publish(*values, partition=1, headers=[("trace", b"t")])

    await world.settle()

    source = (await world.partitions(EVENT.topic))[1]
    copies = sorted(await world.records(COPY.topic), key=lambda each: dict(each.headers() or ())[POSITION_HEADER])
    assert [(each.key(), each.value()) for each in copies] == [
        (b"ann", values[0]),
        (b"bob", values[3]),
        (b"ann", values[4]),
    ]
    headers = [each.headers() or [] for each in copies]
    assert [each[0] for each in headers] == [("trace", b"t")] * 3
    assert [json.loads(dict(each)[POSITION_HEADER]) for each in headers] == [["visits", 1, n, 0] for n in (1, 4, 5)]
    assert [json.loads(dict(each)[COPIED_HEADER])[0] for each in headers] == [source.topic_id] * 3
    for partition in await world.partitions(COPY.topic):
        for each in world.log.kept(partition).records:
            assert partition_of(each.key() or b"", 3) == partition.index
    rows = await world.copier_rows()
    assert [(each.read, each.applied, each.no_entity, each.dead) for each in rows] == [(0,) * 4, (5, 3, 1, 1), (0,) * 4]
    assert COPY.topic == "ns.visits.by.user"


async def test_a_rekeyed_view_serves_what_the_plain_one_serves_from_one_cell(world: World) -> None:
    for number in range(60):
        await world.publish(visit(number, USERS[number % 4], NOW_MS - number * 7_000), partition=number % 3)

    await world.settle()

    for user in USERS:
        assert world.values(REKEYED, user) == world.values(PLAIN, user)
        assert world.values(REKEYED, user)["ids_7d"] == sum(1 << n for n in range(60) if USERS[n % 4] == user)
    found = world.store.read(Question(cells=[(PLAIN.key, "ann"), (REKEYED.key, "ann")]))
    assert [len(each) for each in found.cells] == [3, 1]
    assert sum(each.applied for each in await world.rows(REKEYED.key, COPY.topic)) == 60


async def test_copies_sent_again_after_a_crash_are_duplicates(world: World) -> None:
    await world.publish(*(visit(number, USERS[number % 4]) for number in range(12)))
    await world.run(FeaturesRole)
    [source, *_] = await world.partitions(EVENT.topic)
    role = CopyRole(world.app, world.context)
    assert await role.open(await world.given(source)) == 0
    world.store.dies = "before"
    with pytest.raises(StoreUnavailable):
        await role.apply(world.batch(source, 0, 12))
    world.store.dies = None

    await world.settle()

    assert len(await world.records(COPY.topic)) == 24
    rows = await world.rows(REKEYED.key, COPY.topic)
    assert (sum(each.applied for each in rows), sum(each.duplicate for each in rows)) == (12, 12)
    assert sum(each.read for each in rows) == 24
    assert {user: world.values(REKEYED, user) for user in USERS} == {user: world.values(PLAIN, user) for user in USERS}


async def test_a_copy_that_was_refused_is_not_lost_behind_its_followers(world: World) -> None:
    await world.publish(*(visit(number, "ann") for number in range(6)))
    await world.run(FeaturesRole)
    [source, *_] = await world.partitions(EVENT.topic)
    role = CopyRole(world.app, world.context)
    await role.open(await world.given(source))
    world.log.sender.refuse(frozenset({2}))
    with pytest.raises(LogUnavailable):
        await role.apply(world.batch(source, 0, 6))
    world.log.sender.refuse(frozenset())

    await world.settle()

    assert world.values(REKEYED, "ann")["ids_7d"] == 0b111111
    [row] = [each for each in await world.rows(REKEYED.key, COPY.topic) if each.read]
    assert (row.applied, row.duplicate) == (6, 5)
    assert row.copied == {source.topic_id: [6]}


async def test_nothing_is_copied_that_the_intake_has_not_taken_in(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    waits: list[float] = []
    await world.publish(*(visit(number, "ann") for number in range(4)))
    [source, *_] = await world.partitions(EVENT.topic)
    features = FeaturesRole(world.app, world.context)
    await features.open(await world.given(source))
    await features.apply(world.batch(source, 0, 3))

    async def pause(seconds: float) -> None:
        waits.append(seconds)

    role = CopyRole(world.app, world.context, pause=pause)
    await role.open(await world.given(source))
    with caplog.at_level(logging.ERROR), pytest.raises(PartitionPaused, match="expected the features role to take"):
        await role.apply(world.batch(source, 0, 4))

    assert len(await world.records(COPY.topic)) == (await world.copier_rows())[0].next == 3
    assert sum(waits) >= copy_events.PATIENCE_S

    async def goes_on(_: float) -> None:
        await features.apply(world.batch(source, 3, 4))

    role = CopyRole(world.app, world.context, pause=goes_on)
    assert await role.open(await world.given(source)) == 3
    await role.apply(world.batch(source, 3, 4))
    assert (await world.copier_rows())[0].next == 4


async def test_long_batches_are_copied_in_steps(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copy_events, "STEP_RECORDS", 3)
    await world.publish(*(visit(number, USERS[number % 4]) for number in range(20)))

    await world.settle()

    assert {user: world.values(REKEYED, user) for user in USERS} == {user: world.values(PLAIN, user) for user in USERS}
    assert [each.next for each in await world.copier_rows()] == [20, 0, 0]


async def test_an_event_is_judged_by_when_its_source_was_appended(world: World) -> None:
    """It was from the future there, or was not; when it was copied says nothing about that."""
    await world.publish(visit(0, "ann", NOW_MS + 4 * 60_000), visit(1, "ann", NOW_MS + 6 * 60_000))
    await world.run(FeaturesRole)
    world.clock.advance(HOUR_MS)
    await world.settle()

    assert world.values(REKEYED, "ann", NOW_MS + 5 * 60_000)["ids_7d"] == 1
    assert [each.dead for each in await world.rows(FOLD, COPY.topic)] == [0, 0, 0]
    assert [each.dead for each in await world.copier_rows()] == [1, 0, 0]


async def test_what_nobody_copied_is_a_dead_letter_of_the_copy(world: World) -> None:
    await world.log.producer().produce(COPY.topic, visit(0, "ann"), key=b"ann", partition=0)
    await world.publish(visit(1, "ann"))

    await world.settle()

    [letter] = await world.records(topics.dead_letters("ns", COPY.topic))
    assert (letter.value(), dict(letter.headers() or ())["dlq.reason"]) == (visit(0, "ann"), b"no_copy")
    assert world.values(REKEYED, "ann")["ids_7d"] == 2


def narrow(app: AppDefinition, max_bytes: int) -> AppDefinition:
    """Return the app as an older process has it, which takes copies up to so many bytes only."""
    source = REKEYED.sources[0]
    small = replace(REKEYED, sources=(replace(source, event=replace(source.event, max_bytes=max_bytes)),))
    return replace(app, views=(PLAIN, small))


def desk(world: World) -> DeadLetterDesk:
    return DeadLetterDesk(world.log, COPY.topic, topics.dead_letters("ns", COPY.topic), world.context.artefacts)


async def test_a_dead_copy_is_put_back_once_where_it_was_and_counts_once(world: World) -> None:
    """Its copier dies before its row is written, so it is sent again, and dead again; what follows it is taken."""
    wide, headers = visit(1, "ann") + b" " * 60, [("trace", b"t"), (REPLAY_HEADER, b"{oops")]
    await world.publish(visit(0, "ann"), wide, visit(2, "ann"), headers=headers)
    await world.run(FeaturesRole)
    [source, *_] = await world.partitions(EVENT.topic)
    role = CopyRole(world.app, world.context)
    await role.open(await world.given(source))
    world.store.dies = "before"
    with pytest.raises(StoreUnavailable):
        await role.apply(world.batch(source, 0, 3))
    world.store.dies = None
    older = narrow(APP, len(wide) - 1)
    await world.run(CopyRole)
    await world.run(FeaturesRole, app=older)

    assert len(await world.records(topics.dead_letters("ns", COPY.topic))) == 2
    [case] = await desk(world).cases()
    assert (case.letter.value, case.letter.reason, case.letter.attempts) == (wide, "too_large", 1)
    assert world.values(REKEYED, "ann")["ids_7d"] == 0b101
    assert sum(each.dead for each in await world.rows(REKEYED.key, COPY.topic)) == 2
    history = await InProcessHistory.of(world.log, (EVENT.topic, COPY.topic))
    audit = audit_log(older, history, world.store)
    assert (audit.problems, audit.lost, audit.counted_twice) == ([], 0, 0)

    [again] = await desk(world).replay([case], lambda _, original: original)
    assert again.state == "replayed"
    await world.run(FeaturesRole, app=older)
    first, second = await desk(world).cases()
    assert (first.state, second.state, second.letter.attempts) == ("replayed", "open", 2)
    assert (second.letter.origin, second.letter.first_seen_ms) == (first.letter.id, first.letter.first_seen_ms)

    await desk(world).replay([second], lambda _, original: original)
    assert await desk(world).replay(await desk(world).cases(), lambda _, original: original) == []
    await world.settle()
    assert world.values(REKEYED, "ann")["ids_7d"] == 0b111
    assert [case.state for case in await desk(world).cases()] == ["replayed", "replayed"]


async def test_what_came_too_late_for_a_rekeyed_view_goes_to_the_late_topic_of_the_source(world: World) -> None:
    await world.publish(visit(0, "ann"), visit(1, "ann", NOW_MS - 9 * 24 * HOUR_MS))

    await world.settle()

    late = await world.records(topics.late_records("ns", EVENT.topic))
    assert sorted(dict(each.headers() or ())["late.view"].decode() for each in late) == sorted([PLAIN.key, REKEYED.key])


async def test_features_as_of_is_a_time_of_the_source(world: World) -> None:
    """As of a time when a record was at the source and not yet in the view, nothing may be claimed."""
    await world.publish(visit(0, "ann"))
    await world.run(FeaturesRole)
    assert world.serve(REKEYED, "ann").as_of_ms is None
    world.clock.advance(HOUR_MS)
    await world.run(FeaturesRole)
    assert world.serve(PLAIN, "ann").as_of_ms == NOW_MS + HOUR_MS
    assert world.serve(REKEYED, "ann").as_of_ms is None, "no copier has said anything"

    await world.run(CopyRole)
    copied_ms = NOW_MS + HOUR_MS
    world.clock.advance(60_000)
    assert world.serve(REKEYED, "ann").as_of_ms is None, "copied, but not read"
    await world.run(FeaturesRole)

    assert world.values(REKEYED, "ann")["ids_7d"] == 1
    assert world.serve(REKEYED, "ann").as_of_ms == copied_ms


async def test_features_as_of_waits_for_every_copier(world: World) -> None:
    """One partition of the source whose copier is not there may hold anything."""
    await world.publish(visit(0, "ann"))
    await world.run(FeaturesRole)
    copier = CopyRole(world.app, world.context)
    first, *others = await world.partitions(EVENT.topic)
    await copier.open(await world.given(first))
    await copier.apply(world.batch(first, 0, 1))
    await world.run(FeaturesRole)
    assert world.values(REKEYED, "ann")["ids_7d"] == 1
    assert world.serve(REKEYED, "ann").as_of_ms is None

    for each in others:
        await copier.open(await world.given(each))
        await copier.reached_end(each, 0, NOW_MS)
    await world.run(FeaturesRole)
    assert world.serve(REKEYED, "ann").as_of_ms == NOW_MS


async def test_a_busy_reader_is_as_far_as_the_copiers_were_when_it_looked(world: World) -> None:
    [source, *_] = await world.partitions(EVENT.topic)
    copy = (await world.partitions(COPY.topic))[partition_of(b"ann", 3)]
    features, copier = FeaturesRole(world.app, world.context), CopyRole(world.app, world.context)
    for partition in (source, copy):
        await features.open(await world.given(partition))
    for each in await world.partitions(EVENT.topic):
        await copier.open(await world.given(each))

    async def publish_and_copy(first: int, end: int) -> None:
        await world.publish(*(visit(number, "ann") for number in range(first, end)))
        await features.apply(world.batch(source, first, end))
        await copier.apply(world.batch(source, first, end))
        for other in (await world.partitions(EVENT.topic))[1:]:
            await copier.reached_end(other, 0, world.clock())

    async def through(first: int, end: int) -> int | None:
        await features.apply(world.batch(copy, first, end))
        return (await world.rows(REKEYED.key, COPY.topic))[0].applied_through_ms

    await publish_and_copy(0, 1)
    assert await through(0, 1) == NOW_MS
    world.clock.advance(1_000)
    await publish_and_copy(1, 4)
    assert [await through(1, 2), await through(2, 3), await through(3, 4)] == [NOW_MS, NOW_MS, NOW_MS + 1_000]


async def test_a_rekeyed_view_declared_later_is_copied_from_the_first_record_without_a_backfill(world: World) -> None:
    before = AppDefinition("visits", (EVENT,), (PLAIN,), ())
    await world.publish(*(visit(number, "ann") for number in range(5)))
    await world.run(FeaturesRole, app=before)
    await world.publish(visit(5, "ann"))

    await world.settle()

    assert world.values(REKEYED, "ann") == world.values(PLAIN, "ann")
    assert world.values(REKEYED, "ann")["ids_7d"] == 0b111111


async def test_views_by_the_same_entity_share_a_copy() -> None:
    twin = replace(REKEYED, name="twin")
    app = replace(APP, views=(*APP.views, twin))
    assert [each.topic for each in app.copies] == [COPY.topic]
    names = [each.name for each in topics.declared(app, "ns")]
    assert names.count(COPY.topic) == 1
    assert topics.dead_letters("ns", COPY.topic) in names


async def test_records_that_are_gone_before_they_were_copied_stop_the_partition(world: World) -> None:
    await world.publish(*(visit(number, "ann") for number in range(4)))
    await world.settle()
    await world.publish(*(visit(number, "ann") for number in range(4, 8)))
    [source, *_] = await world.partitions(EVENT.topic)
    world.log.forget(source, 6)

    with pytest.raises(PartitionPaused, match="headrace repair visits --accept-loss"):
        await CopyRole(world.app, world.context).open(await world.given(source))


async def test_a_copy_topic_that_is_missing_or_has_other_partitions_stops_the_partition(world: World) -> None:
    [source, *_] = await world.partitions(EVENT.topic)
    role = CopyRole(world.app, world.context)
    await role.open(await world.given(source))
    world.log.delete_topic(COPY.topic)
    with pytest.raises(PartitionPaused, match=r"expected a topic, got none; run `headrace run`"):
        await role.open(await world.given(source))

    [config] = [each for each in topics.declared(APP, "ns") if each.name == COPY.topic]
    await world.log.create_topics([replace(config, partitions=5)])
    with pytest.raises(PartitionPaused, match=r"run `headrace repair ns\.visits\.by\.user`"):
        await role.open(await world.given(source))


async def test_a_copy_topic_made_anew_is_filled_again_by_one_repair(world: World) -> None:
    await world.publish(*(visit(number, USERS[number % 4]) for number in range(8)))
    await world.settle()
    world.log.delete_topic(COPY.topic)
    await world.log.create_topics([replace(each, partitions=3) for each in topics.declared(APP, "ns")])

    found = await examine(APP, COPY, world.log, world.store)
    assert {each.reason for each in found.faults} == {"recreated"}
    assert await repair(found, RESTART, world.log, world.store) == 0
    await world.settle()

    assert len(await world.records(COPY.topic)) == 8
    assert {user: world.values(REKEYED, user) for user in USERS} == {user: world.values(PLAIN, user) for user in USERS}
    assert (await examine(APP, COPY, world.log, world.store)).faults == []


async def test_a_copy_topic_with_more_partitions_is_not_made_do_with(world: World) -> None:
    await world.publish(visit(0, "ann"))
    await world.settle()
    [first, *_] = await world.partitions(COPY.topic)
    replace_source(world.store, COPY.topic, first.topic_id, 2)

    found = await examine(APP, COPY, world.log, world.store)

    assert {each.reason for each in found.faults} == {"partitions"}
    for way in (ACCEPT_LOSS, RESTART):
        with pytest.raises(HeadraceError, match="delete the topic, have `headrace run` create it anew"):
            await repair(found, way, world.log, world.store)


async def test_a_loss_that_is_accepted_at_the_source_lets_the_copier_go_on(world: World) -> None:
    await world.publish(*(visit(number, "ann") for number in range(3)))
    await world.settle()
    await world.publish(*(visit(number, "ann") for number in range(3, 8)))
    [source, *_] = await world.partitions(EVENT.topic)
    world.log.forget(source, 5)

    found = await examine(APP, EVENT, world.log, world.store)
    assert await repair(found, ACCEPT_LOSS, world.log, world.store) == 2
    await world.settle()

    assert world.values(REKEYED, "ann")["ids_7d"] == world.values(PLAIN, "ann")["ids_7d"] == 0b11100111
    assert [(each.applied, each.lost) for each in await world.copier_rows()] == [(6, 2), (0, 0), (0, 0)]
