"""Two views of visits by user, one of them rekeyed, on a log whose sends and a store whose writes can be refused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from agents.context import RoleContext
from agents.copy_events import CopyRole
from agents.featurize import FeaturesRole
from agents.metrics import Metrics
from agents.runner import Runner
from agents.transport import Assigned, Headers, LogUnavailable, Role
from agents.transport.clock import ManualClock
from agents.transport.in_process import InProcessLog, InProcessProducer
from definitions.declared import AppDefinition, ViewDefinition
from streams import topics
from streams.artefacts import ArtefactStore
from streams.copies import copier_fold
from streams.errors import StoreUnavailable
from streams.placement import placed
from streams.reading import FeatureReader, Served
from streams.records import Partition, Record, RecordBatch
from streams.store import Link, Row, RowKey
from streams.store.memory import MemoryStore
from tests.builders import declare

_SOURCE = """\
from datetime import datetime
import headrace as hr
class Visit(hr.Event, topic="visits", id="id", at="at", disorder="1h"):
    id: int; user: str | None; at: datetime; price: float
class Plain(hr.Features, on=Visit, by="user", version=1):
    visits = hr.count().over("1m", "7d")
    ids = hr.sum(Visit.id).over("7d")
    price = hr.mean(Visit.price).over("1h", "7d")
class ByUser(hr.Features, on=Visit, by="user", version=1, rekey=True):
    visits = hr.count().over("1m", "7d")
    ids = hr.sum(Visit.id).over("7d")
    price = hr.mean(Visit.price).over("1h", "7d")
"""
_MODULE = declare(_SOURCE)
EVENT = _MODULE["Visit"].definition
DECLARED = AppDefinition("visits", (EVENT,), (_MODULE["Plain"].definition, _MODULE["ByUser"].definition), ())
APP = placed(DECLARED, "ns")
PLAIN, REKEYED = APP.views
[COPY] = APP.copies
USERS = ("ann", "bob", "cleo", "dan")
NOW_MS = 1_700_000_000_000


def visit(number: int, user: str | None, at_ms: int = NOW_MS) -> bytes:
    """Return a visit whose id is a power of two: a sum of ids says which visits it holds, and how often.

    Prices add up exactly: in which order they are added is not what these tests are about.
    """
    return json.dumps({"id": 1 << number, "user": user, "at": at_ms, "price": number / 8}).encode()


class RefusingProducer(InProcessProducer):
    """Refuses what it is told to: the numbers of sends to come."""

    refused: frozenset[int] = frozenset()
    _sent = 0

    def refuse(self, numbers: frozenset[int]) -> None:
        """Refuse sends by their number from now on, 0 the next one; nothing refuses none."""
        self.refused, self._sent = numbers, 0

    def produce(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None = None,
        headers: Headers = (),
        partition: int | None = None,
    ) -> Awaitable[int]:
        """Append one record, or do not."""
        number, self._sent = self._sent, self._sent + 1
        if number not in self.refused:
            return super().produce(topic, value, key=key, headers=headers, partition=partition)
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        done.set_exception(LogUnavailable("refused"))
        return done


class RefusingLog(InProcessLog):
    """The log in memory with a `RefusingProducer`."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.sender = RefusingProducer(self._topics, clock)

    def producer(self) -> RefusingProducer:
        """Return the one producer."""
        return self.sender


class RefusingStore(MemoryStore):
    """The memory store, which may die before or behind a write."""

    dies: str | None = None

    def write(self, links: Sequence[Link]) -> None:
        """Write, or say that it is not known."""
        if self.dies == "before":
            raise StoreUnavailable("gone")
        super().write(links)
        if self.dies == "behind":
            raise StoreUnavailable("gone")


class World:
    """A log, a store, and the processes of both roles between them."""

    def __init__(self, path: Path, app: AppDefinition = APP) -> None:
        self.app = app
        self.clock = ManualClock(NOW_MS)
        self.log = RefusingLog(self.clock)
        self.store = RefusingStore()
        self.metrics = Metrics("ns")
        self.context = RoleContext("ns", self.log, self.store, ArtefactStore(path), self.metrics)

    async def create(self, partitions: int = 3) -> World:
        """Create the topics."""
        configs = topics.declared(self.app, "ns")
        await self.log.create_topics([replace(each, partitions=partitions) for each in configs])
        return self

    async def publish(self, *values: bytes, partition: int = 0, headers: Headers = ()) -> None:
        """Append records to one partition of the event topic."""
        for value in values:
            await self.log.producer().produce(EVENT.topic, value, key=b"k", partition=partition, headers=headers)

    async def run(self, *kinds: type[Any], app: AppDefinition | None = None, rounds: int = 1) -> None:
        """Run roles, one behind the other, until each has nothing left to do, and tell them of the ends."""
        for kind in kinds * rounds:
            role: Role = kind(app or self.app, self.context)
            member = self.log.member(role.subscription())
            await member.start(runner := Runner(member, role, self.metrics))
            while (batch := await member.poll(0)) is not None:
                await runner.take(batch)
            await member.stop(1.0)

    async def settle(self) -> None:
        """Run both roles to the end of everything."""
        await self.run(FeaturesRole, CopyRole, FeaturesRole)

    async def partitions(self, topic: str) -> tuple[Partition, ...]:
        """Return a topic's partitions."""
        return await self.log.partitions(topic)

    async def records(self, topic: str) -> list[Record]:
        """Return everything in a topic, partition by partition."""
        return [record for each in await self.partitions(topic) for record in self.log.kept(each).records]

    async def rows(self, fold: str, topic: str) -> list[Row]:
        """Return a fold's rows of every partition of a topic."""
        found = self.store.read_rows([RowKey(fold, each) for each in await self.partitions(topic)])
        return [stored.row for stored in found if stored is not None]

    async def copier_rows(self) -> list[Row]:
        """Return the copier's rows."""
        return await self.rows(copier_fold(COPY.topic), EVENT.topic)

    async def given(self, partition: Partition) -> Assigned:
        """Return the partition as it is given to a member."""
        [(first, end)] = await self.log.bounds([partition])
        return Assigned(partition, 1, first, end, None)

    def batch(self, partition: Partition, first: int, end: int) -> RecordBatch:
        """Return a batch of the log."""
        return RecordBatch(partition, 1, first, end, self.log.kept(partition).records[first:end])

    def serve(self, view: ViewDefinition, user: str, at_ms: int = NOW_MS) -> Served:
        """Return what a view knows of a user."""
        reader = FeatureReader([view])
        question = reader.question([{"user": user}])
        return reader.serve(question, self.store.read(question), 0, at_ms)

    def values(self, view: ViewDefinition, user: str, at_ms: int = NOW_MS) -> dict[str, Any]:
        """Return what is served of a user, by feature."""
        return {name.partition(".")[2]: value for name, value in self.serve(view, user, at_ms).values.items()}
