"""The features role on the log in memory: rows, dead letters, late records, and what it does when rows are missing."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace as replace_struct

from agents import featurize
from agents.context import RoleContext
from agents.featurize import FeaturesRole
from agents.metrics import Metrics
from agents.runner import Runner
from agents.transport import Assigned, PartitionPaused
from agents.transport.clock import ManualClock
from agents.transport.in_process import InProcessLog
from batch.backfill_view import Backfill
from definitions.declared import AppDefinition
from headrace.history import InProcessHistory
from streams import topics
from streams.artefacts import ArtefactStore
from streams.intake import FOLD
from streams.reading import FeatureReader, Served
from streams.records import Partition, Record
from streams.store import Link, Row, RowKey
from streams.store.memory import MemoryStore
from tests.builders import event_definition, view_definition

NOW_MS = 1_700_000_000_000
EVENT = event_definition(max_bytes=1_000)
VIEW = view_definition(on=EVENT)
BY_TAIL = view_definition(on=EVENT, by=["tail"], name="tails")
APP = AppDefinition("flights", (EVENT,), (VIEW, BY_TAIL), ())
TOPIC = EVENT.topic


def departed(minutes: float = 0, **changes: Any) -> bytes:
    """Return a departure, ``minutes`` after the beginning."""
    event = {
        "flight_id": "UA1", "origin": "JFK", "dest": "LAX", "carrier": "UA", "tail": "N1", "delay_min": 8.0,
        "seats": 100, "departed_at": NOW_MS + int(minutes * 60_000),
    }  # fmt: skip
    return json.dumps(event | changes).encode()


class World:
    """A log, a store, and a role between them, one step at a time."""

    def __init__(self, path: Path) -> None:
        self.clock = ManualClock(NOW_MS)
        self.log = InProcessLog(self.clock)
        self.store = MemoryStore()
        self.metrics = Metrics("ns")
        self.context = RoleContext("ns", self.log, self.store, ArtefactStore(path), self.metrics)
        self.partition = Partition("", 0, "")

    async def begin(self) -> None:
        """Create the topics, with one partition each."""
        configs = [replace(config, partitions=1) for config in topics.declared(APP, "ns")]
        await self.log.create_topics(configs)
        [self.partition] = await self.log.partitions(TOPIC)

    async def publish(self, *values: bytes | None) -> None:
        """Append records to the event topic."""
        for value in values:
            await self.log.producer().produce(TOPIC, value, key=b"UA1", headers=[("trace", b"t")])

    async def run(self, app: AppDefinition = APP, *, crash: bool = False) -> None:
        """Run a role until it has nothing left to do."""
        role = FeaturesRole(app, self.context)
        member = self.log.member(role.subscription())
        runner = Runner(member, role, self.metrics)
        await member.start(runner)
        while (batch := await member.poll(0)) is not None:
            await runner.take(batch)
        if crash:
            await member.crash()
        else:
            await member.stop(1.0)

    def row(self, fold: str) -> Row:
        """Return a row that is there."""
        [stored] = self.store.read_rows([RowKey(fold, self.partition)])
        assert stored is not None
        return stored.row

    def serve(self, origin: str, asked_ms: int) -> Served:
        """Return what the first view knows."""
        reader = FeatureReader([VIEW])
        question = reader.question([{"origin": origin}])
        return reader.serve(question, self.store.read(question), 0, asked_ms)

    async def records(self, topic: str) -> Sequence[Record]:
        """Return everything in a topic."""
        [partition] = await self.log.partitions(topic)
        tail = await self.log.tail([(partition, 0)])
        found = [record for _, record in await tail.poll(0)]
        await tail.stop()
        return found


@pytest.fixture
async def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    await world.begin()
    return world


async def test_every_record_is_in_one_tally_of_every_row(world: World) -> None:
    world.clock.advance(60 * 60_000)
    await world.publish(departed(), departed(30), departed(5, tail=None), departed(-2_000), b"{oops", None)

    await world.run()

    assert world.row(FOLD).read == world.row(VIEW.key).read == world.row(BY_TAIL.key).read == 6
    assert (world.row(FOLD).applied, world.row(FOLD).dead) == (4, 2)
    by_origin, by_tail = world.row(VIEW.key), world.row(BY_TAIL.key)
    assert (by_origin.applied, by_origin.late, by_origin.too_late, by_origin.dead) == (3, 1, 1, 2)
    assert (by_tail.applied, by_tail.no_entity, by_tail.too_late, by_tail.dead) == (2, 1, 1, 2)
    served = world.serve("JFK", NOW_MS + 30 * 60_000)
    assert served.values["origin_traffic.flights_1h"] == 3
    assert served.positions == {VIEW.key: {world.partition.field: 6}}


async def test_the_rows_are_exported_as_metrics(world: World) -> None:
    await world.publish(departed(), b"{oops")
    await world.run()

    labels = {"namespace": "ns", "fold": VIEW.key, "topic": TOPIC, "partition": "0"}
    value = world.metrics.registry.get_sample_value
    assert value("headrace_row_next_offset", labels) == 2
    assert value("headrace_row_records", labels | {"tally": "dead"}) == 1
    assert value("headrace_row_records", labels | {"tally": "applied"}) == 1


async def test_a_dead_letter_has_the_bytes_the_key_and_where_it_was(world: World) -> None:
    await world.publish(departed(), departed(delay_min="8"))
    await world.run()

    [letter] = await world.records(topics.dead_letters("ns", TOPIC))
    headers = dict(letter.headers() or ())
    assert (letter.value(), letter.key()) == (departed(delay_min="8"), b"UA1")
    assert headers["trace"] == b"t"
    assert (headers["dlq.topic"], headers["dlq.partition"], headers["dlq.offset"]) == (TOPIC.encode(), b"0", b"1")
    assert (headers["dlq.reason"], headers["dlq.path"]) == (b"wrong_type", b"$.delay_min")
    assert (headers["dlq.timestamp"], headers["dlq.app"]) == (str(NOW_MS).encode(), b"flights")
    assert b"Expected `float`, got `str`" in headers["dlq.message"]


async def test_a_dead_letter_too_large_for_its_topic_is_kept_by_digest(world: World) -> None:
    await world.publish(b"x" * (1024 * 1024 + 1))
    await world.run()

    [letter] = await world.records(topics.dead_letters("ns", TOPIC))
    headers = dict(letter.headers() or ())
    assert letter.value() is None
    assert headers["dlq.reason"] == b"too_large"
    assert len(world.context.artefacts.get(headers["dlq.digest"].decode())) == 1024 * 1024 + 1


async def test_a_dead_letter_whose_key_and_headers_are_too_large_keeps_them_by_digest(world: World) -> None:
    await world.log.producer().produce(TOPIC, b"{oops", key=b"k" * 65_536, headers=[("trace", b"t")], partition=0)
    await world.run()

    [letter] = await world.records(topics.dead_letters("ns", TOPIC))
    headers = dict(letter.headers() or ())
    assert (letter.value(), letter.key()) == (b"{oops", None)
    assert world.context.artefacts.get(headers["dlq.key_digest"].decode()) == b"k" * 65_536
    assert json.loads(world.context.artefacts.get(headers["dlq.headers_digest"].decode())) == [["trace", "dA=="]]


async def test_an_event_from_the_future_is_dead_and_moves_nothing(world: World) -> None:
    await world.publish(departed(6), departed(4))
    await world.run()

    row = world.row(VIEW.key)
    assert (row.dead, row.applied, row.newest_ms) == (1, 1, NOW_MS + 4 * 60_000)
    [letter] = await world.records(topics.dead_letters("ns", TOPIC))
    assert dict(letter.headers() or ())["dlq.reason"] == b"future_time"


async def test_a_record_too_late_for_a_view_goes_to_the_late_topic_with_the_views_name(world: World) -> None:
    await world.publish(departed(), departed(-3_000))
    await world.run()

    copies = await world.records(topics.late_records("ns", TOPIC))
    assert [copy.value() for copy in copies] == [departed(-3_000)] * 2
    views = [dict(copy.headers() or ())["late.view"].decode() for copy in copies]
    assert views == [VIEW.key, BY_TAIL.key]
    assert {dict(copy.headers() or ())["late.offset"] for copy in copies} == {b"1"}


async def test_what_is_read_again_after_a_crash_changes_nothing(world: World) -> None:
    await world.publish(departed(), b"{oops", departed(2))
    await world.run(crash=True)
    before = world.serve("JFK", NOW_MS + 120_000), world.row(VIEW.key), world.row(FOLD)

    await world.run()

    assert (world.serve("JFK", NOW_MS + 120_000), world.row(VIEW.key), world.row(FOLD)) == before
    assert len(await world.records(topics.dead_letters("ns", TOPIC))) == 1


async def test_a_view_that_is_behind_catches_up_and_the_others_count_nothing_twice(world: World) -> None:
    await world.publish(departed(), b"{oops", departed(2))
    await world.run(replace(APP, views=(VIEW,)))
    key = RowKey(BY_TAIL.key, world.partition)
    world.store.create_row(key, Row(next=0, first=0))  # as a backfill would

    await world.publish(departed(3))
    await world.run()

    assert world.row(BY_TAIL.key).applied == world.row(VIEW.key).applied == 3
    assert world.row(FOLD).dead == 1
    assert len(await world.records(topics.dead_letters("ns", TOPIC))) == 1


async def test_a_view_declared_later_waits_and_the_others_go_on(world: World, caplog: pytest.LogCaptureFixture) -> None:
    await world.publish(departed())
    await world.run(replace(APP, views=(VIEW,)))
    await world.publish(departed(1))

    with caplog.at_level(logging.WARNING):
        await world.run()

    assert world.store.read_rows([RowKey(BY_TAIL.key, world.partition)]) == [None]
    assert world.row(VIEW.key).applied == 2
    assert "headrace features backfill tails --version 1" in caplog.text


async def test_a_waiting_view_that_is_started_reads_the_log_from_its_row_on(world: World) -> None:
    await world.publish(departed(), b"{oops", departed(2))
    await world.run(replace(APP, views=(VIEW,)))
    role = FeaturesRole(APP, world.context)
    member = world.log.member(role.subscription())
    runner = Runner(member, role, world.metrics)
    await member.start(runner)
    world.store.create_row(RowKey(BY_TAIL.key, world.partition), Row(next=0, first=0))

    world.clock.advance(2_000)
    for _ in range(5):  # the first look at the end finds the row, the next ones read what it lacks
        while (batch := await member.poll(0)) is not None:
            await runner.take(batch)
        world.clock.advance(2_000)
    await member.stop(1.0)

    assert world.row(BY_TAIL.key).applied == world.row(VIEW.key).applied == 2
    assert world.row(FOLD).dead == 1
    assert len(await world.records(topics.dead_letters("ns", TOPIC))) == 1


async def test_a_waiting_view_that_is_far_behind_is_taken_up_only_when_a_backfill_has_brought_it_near(
    world: World,
) -> None:
    await world.publish(*(departed(number / 10) for number in range(20)))
    await world.run(replace(APP, views=(VIEW,)))
    key = RowKey(BY_TAIL.key, world.partition)
    world.store.create_row(key, Row(next=0, first=0))
    role = FeaturesRole(APP, world.context, near=3)
    member = world.log.member(role.subscription())
    runner = Runner(member, role, world.metrics)
    await member.start(runner)

    async def turn() -> None:
        for _ in range(4):
            world.clock.advance(2_000)
            while (batch := await member.poll(0)) is not None:
                await runner.take(batch)

    await turn()
    alone = world.row(BY_TAIL.key).next
    history = await InProcessHistory.of(world.log, [TOPIC])
    Backfill(BY_TAIL, history, world.store).run(close=2)
    near = world.row(BY_TAIL.key).next
    await world.publish(departed(3), departed(4))
    await turn()
    await member.stop(1.0)

    assert (alone, near) == (0, 20)
    assert world.row(BY_TAIL.key).applied == world.row(VIEW.key).applied == 22
    assert world.row(BY_TAIL.key).applied_through_ms == world.row(FOLD).applied_through_ms
    rewinds = world.metrics.registry.get_sample_value("headrace_rewinds_total", {"namespace": "ns", "role": "features"})
    assert rewinds == 1


async def test_a_worker_that_never_reaches_the_end_takes_a_near_view_up_too(world: World) -> None:
    await world.publish(departed())
    await world.run(replace(APP, views=(VIEW,)))
    role = FeaturesRole(APP, world.context)
    member = world.log.member(role.subscription())
    runner = Runner(member, role, world.metrics)
    await member.start(runner)
    world.store.create_row(RowKey(BY_TAIL.key, world.partition), Row(next=0, first=0))

    for number in range(3):
        world.clock.advance(600)
        await world.publish(departed(number))
        batch = None
        while batch is None:
            batch = await member.poll(0)
        await runner.take(batch)
    while (batch := await member.poll(0)) is not None:
        await runner.take(batch)
    await member.stop(1.0)

    assert world.row(BY_TAIL.key).applied == world.row(VIEW.key).applied == 4


async def test_an_emptied_store_is_refused_and_not_taken_for_a_new_beginning(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    await world.publish(departed())
    await world.run()
    emptied = World.__new__(World)
    emptied.__dict__.update(world.__dict__)
    emptied.store = MemoryStore()
    emptied.context = replace(world.context, store=emptied.store)

    with caplog.at_level(logging.ERROR):
        await emptied.run()

    assert emptied.store.read_rows([RowKey(FOLD, world.partition)]) == [None]
    assert f"run `headrace repair {TOPIC} --restart`" in caplog.text


async def test_the_end_of_a_partition_raises_what_the_rows_are_applied_through(world: World) -> None:
    await world.publish(departed())
    world.clock.advance(9_000)

    await world.run()

    assert world.row(VIEW.key).applied_through_ms == NOW_MS + 9_000
    assert world.serve("JFK", NOW_MS).as_of_ms == NOW_MS + 9_000


async def test_cells_that_no_question_needs_are_removed_at_the_end_of_the_partition(world: World) -> None:
    world.clock.advance(3 * 24 * 3_600_000)
    await world.publish(departed(), departed(1, origin="LGA"), departed(2 * 24 * 60, origin="EWR", tail="N2"))

    member = world.log.member(FeaturesRole(APP, world.context).subscription())
    runner = Runner(member, FeaturesRole(APP, world.context), world.metrics)
    await member.start(runner)
    for _ in APP.views:  # they take turns
        world.clock.advance(2_000)
        while (batch := await member.poll(0)) is not None:
            await runner.take(batch)
    await member.stop(1.0)

    assert (world.store.entities(VIEW.key), world.store.entities(BY_TAIL.key)) == (["EWR"], ["N2"])
    assert world.serve("JFK", NOW_MS + 2 * 24 * 3_600_000).absent == ("origin_traffic",)
    removed = world.metrics.registry.get_sample_value(
        "headrace_cells_removed_total", {"namespace": "ns", "fold": VIEW.key}
    )
    assert removed == 2


async def test_a_sweep_is_due_on_the_way_to_the_end_too(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(featurize, "RECORDS_A_SWEEP", 2)
    world.clock.advance(100 * 24 * 3_600_000)
    role = FeaturesRole(APP, world.context)
    member = world.log.member(role.subscription())
    await member.start(Runner(member, role, world.metrics))
    most = 0
    for day in range(60):
        await world.publish(departed(day * 24 * 60, origin=f"O{day}"))
        batch = await member.poll(0)
        assert batch is not None
        await role.apply(batch)
        most = max(most, len(world.store.entities(VIEW.key)))
    await member.stop(1.0)

    assert world.row(VIEW.key).applied == 60
    assert most <= 6


async def test_an_empty_partition_is_known_to_be_empty(world: World) -> None:
    await world.run()

    assert world.serve("JFK", NOW_MS).as_of_ms == NOW_MS
    assert world.serve("JFK", NOW_MS).absent == ("origin_traffic",)


async def test_another_writer_breaks_the_chain_and_the_records_are_read_again(world: World) -> None:
    await world.publish(departed())
    role = FeaturesRole(APP, world.context)
    member = world.log.member(role.subscription())
    runner = Runner(member, role, world.metrics)
    await member.start(runner)
    while (batch := await member.poll(0)) is not None:
        await runner.take(batch)
    key = RowKey(VIEW.key, world.partition)
    [stored] = world.store.read_rows([key])
    assert stored is not None
    world.store.write([Link(key, stored.mark, b"zombie!!")])

    await world.publish(departed(1), departed(2))
    while (batch := await member.poll(0)) is not None:
        await runner.take(batch)
    await member.stop(1.0)

    assert (world.row(VIEW.key).applied, world.row(BY_TAIL.key).applied) == (3, 3)
    assert world.serve("JFK", NOW_MS + 120_000).values["origin_traffic.flights_1h"] == 3
    breaks = world.metrics.registry.get_sample_value(
        "headrace_chain_breaks_total", {"namespace": "ns", "role": "features"}
    )
    assert breaks == 1


async def test_a_row_that_another_worker_advanced_behind_the_end_known_here_is_gone_on_from(world: World) -> None:
    role = FeaturesRole(APP, world.context)
    given = Assigned(world.partition, 1, 0, 0, None)
    await world.publish(departed(), departed(1))
    await world.run()

    assert await role.open(given) == 2


async def test_a_row_behind_the_end_of_the_log_is_refused(world: World) -> None:
    await world.publish(departed())
    await world.run()
    role = FeaturesRole(APP, world.context)
    for fold in (FOLD, VIEW.key, BY_TAIL.key):
        key = RowKey(fold, world.partition)
        [stored] = world.store.read_rows([key])
        assert stored is not None
        world.store.write([Link(key, stored.mark, b"replaced", {}, replace_struct(stored.row, next=9))])

    with pytest.raises(PartitionPaused, match="offset 9"):
        await role.open(Assigned(world.partition, 1, 0, 1, 1))
