"""The features role as a subject: its tallies, values, dead letters and late copies, by the brute-force oracle."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from agents.context import RoleContext
from agents.featurize import FeaturesRole
from agents.transport import Role
from definitions.declared import AppDefinition, ViewDefinition
from streams import intake, topics
from streams.reading import FeatureReader
from streams.records import Partition, Record
from streams.store import RowKey
from streams.topics import TopicConfig
from tests import oracle
from tests.builders import declare

if TYPE_CHECKING:
    from tests.simulation.world import World

_SOURCE = """\
from datetime import datetime
import headrace as hr
class Visit(hr.Event, topic="visits", id="id", at="at", disorder="5s", key="id"):
    id: int; user: str | None; shop: str; at: datetime
class Users(hr.Features, on=Visit, by="user", version=1):
    visits = hr.count().over("1m", "7d")
    ids = hr.sum(Visit.id).over("7d")
class Shops(hr.Features, on=Visit, by="shop", version=1):
    ids = hr.sum(Visit.id).over("10m", "7d")
    last = hr.last(Visit.id).over("7d")
"""
_MODULE = declare(_SOURCE)
EVENT = _MODULE["Visit"].definition
VIEWS: tuple[ViewDefinition, ...] = (_MODULE["Users"].definition, _MODULE["Shops"].definition)
APP = AppDefinition("sim", (EVENT,), VIEWS, ())
USERS, SHOPS = ("ann", "bob", "cleo"), ("north", "south")

_FUTURE_MS = 5 * 60_000
_DAY_MS = 24 * 3_600_000
_TALLIES = ("applied", "late", "too_late", "no_entity", "dead", "newest_ms")


class Features:
    """Two views over one topic. Ids are powers of two: a sum says which events it contains, and how often."""

    topic = EVENT.topic
    reads = (EVENT.topic,)

    def __init__(self, partitions: int = 1) -> None:
        self._partitions = partitions
        self._readers = {view.key: FeatureReader([view]) for view in VIEWS}

    def topics(self) -> Sequence[TopicConfig]:
        """Return the topic of visits, and those of what goes aside with one partition each."""
        found = topics.declared(APP, "ns")
        return [replace(each, partitions=self._partitions if each.name == self.topic else 1) for each in found]

    def role(self, context: RoleContext) -> Role:
        """Return a features role."""
        return FeaturesRole(APP, context)

    def record(self, chance: random.Random, number: int, now_ms: int) -> tuple[bytes | None, bytes]:
        """Return a visit: in order, late, too late, without a user, from the future, or not readable."""
        # One in three may be dead, whatever chance decides: more, and the breaker rightly pauses the partition.
        may_be_dead = number % 3 == 0
        from_the_future = (-2 * _FUTURE_MS,) * 3 if may_be_dead else ()
        late_ms = chance.choice((0, 0, 0, 0, 500, 8_000, 3_600_000, 8 * _DAY_MS, *from_the_future))
        user = chance.choice((*USERS, *USERS, None))
        visit = {"id": 1 << number, "user": user, "shop": chance.choice(SHOPS), "at": now_ms - late_ms}
        dice = chance.random()
        if may_be_dead and dice < 0.15:
            return b"{oops %d" % number, b"%d" % number
        if may_be_dead and dice < 0.3:
            visit["id"] = "one"
        return json.dumps(visit).encode(), b"%d" % number

    def rows(self, partition: Partition) -> Sequence[RowKey]:
        """Return the keys of the intake's row and of the views'."""
        return [RowKey(fold, partition) for fold in (intake.FOLD, *(view.key for view in VIEWS))]

    async def findings(self, world: World) -> list[str]:
        """Return every tally, value, dead letter and late copy that is not what the log says."""
        logs = {each: _events(world.log.kept(each).records) for each in world.partitions}
        expected = {view.key: {each: oracle.fold(view.sources[0], log) for each, log in logs.items()} for view in VIEWS}
        found = [line for each, log in logs.items() for line in self._wrong_rows(world, each, log, expected)]
        newest = [row.newest_ms for rows in expected.values() for row in rows.values() if row.newest_ms is not None]
        if newest:
            for view, names in zip(VIEWS, (USERS, SHOPS), strict=True):
                by_index = {each.index: row for each, row in expected[view.key].items()}
                found += self._wrong_values(world, view, names, by_index, max(newest))
        return found + await _wrong_copies(world, logs)

    def _wrong_rows(
        self,
        world: World,
        partition: Partition,
        log: Sequence[tuple[int, Mapping[str, Any] | None]],
        expected: Mapping[str, Mapping[Partition, oracle.OracleRow]],
    ) -> list[str]:
        taken_in, *rows = world.store.read_rows(self.rows(partition))
        dead = sum(event is None for _, event in log)
        assert taken_in is not None
        found = []
        if (taken_in.row.next, taken_in.row.applied, taken_in.row.dead) != (len(log), len(log) - dead, dead):
            found.append(f"intake[{partition.index}]: {dead} dead of {len(log)}, got {taken_in.row}")
        for view, stored in zip(VIEWS, rows, strict=True):
            assert stored is not None
            held = {name: getattr(stored.row, name) for name in _TALLIES} | {"next": stored.row.next}
            should = {name: getattr(expected[view.key][partition], name) for name in _TALLIES} | {"next": len(log)}
            if held != should:
                found.append(f"{view.name}[{partition.index}]: expected {should}, got {held}")
        return found

    def _wrong_values(
        self,
        world: World,
        view: ViewDefinition,
        names: Sequence[str],
        rows: Mapping[int, oracle.OracleRow],
        asked_ms: int,
    ) -> list[str]:
        reader, found = self._readers[view.key], []
        question = reader.question([{view.entity_names[0]: name} for name in names])
        answer = world.store.read(question)
        for place, name in enumerate(names):
            expected = oracle.values(view, [rows], [name], asked_ms)
            served = reader.serve(question, answer, place, asked_ms)
            held = None if served.absent else {key.partition(".")[2]: value for key, value in served.values.items()}
            if held != expected:
                found.append(f"{view.name} of {name}: expected {expected}, got {held}")
        return found


def _events(records: Sequence[Record]) -> list[tuple[int, Mapping[str, Any] | None]]:
    return [(record.offset(), _event(record)) for record in records]


def _event(record: Record) -> Mapping[str, Any] | None:
    """Return a visit as the log has it, None for what is a dead letter."""
    try:
        visit: Mapping[str, Any] = json.loads(record.value() or b"")
    except ValueError:
        return None
    usable = isinstance(visit["id"], int) and visit["at"] <= record.timestamp()[1] + _FUTURE_MS
    return visit if usable else None


async def _wrong_copies(
    world: World, logs: Mapping[Partition, Sequence[tuple[int, Mapping[str, Any] | None]]]
) -> list[str]:
    """Return which dead letters and late copies are missing, other than their source, or of no source."""
    dead = {(each.index, offset) for each, log in logs.items() for offset, event in log if event is None}
    late = set()
    for view in VIEWS:
        for each, log in logs.items():
            kept = {offset for _, offset, _ in oracle.fold(view.sources[0], log).kept}
            late |= {
                (each.index, offset)
                for offset, event in log
                if event is not None and event[view.entity_names[0]] is not None and offset not in kept
            }
    found = await _copies(world, topics.dead_letters("ns", Features.topic), "dlq", dead)
    return found + await _copies(world, topics.late_records("ns", Features.topic), "late", late)


async def _copies(world: World, topic: str, prefix: str, expected: set[tuple[int, int]]) -> list[str]:
    [aside] = await world.log.partitions(topic)
    there: set[tuple[int, int]] = set()
    found = []
    for copy in world.log.kept(aside).records:
        headers = dict(copy.headers() or ())
        index, offset = int(headers[f"{prefix}.partition"]), int(headers[f"{prefix}.offset"])
        there.add((index, offset))
        if copy.value() != world.log.kept(world.partitions[index]).records[offset].value():
            found.append(f"{topic}: not the bytes of {index}/{offset}")
    if there != expected:
        found.append(f"{topic}: missing {sorted(expected - there)}, too many {sorted(there - expected)}")
    return found
