"""A rekeyed view as a subject: intake, copier and view in one process, as a features process has them.

What reads copies can only be judged by the topic that they are of: ids are powers of two, so a sum says which
visits it contains, and how often. Nothing is late: in which order copies from several partitions meet is not decided.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from agents.context import RoleContext
from agents.copy_events import CopyRole
from agents.featurize import FeaturesRole
from agents.transport import Assigned, Role, Subscription
from definitions.declared import AppDefinition
from streams import intake, topics
from streams.copies import copier_fold
from streams.placement import placed
from streams.reading import FeatureReader
from streams.records import Partition, Record, RecordBatch
from streams.store import RowKey
from streams.topics import TopicConfig
from tests.rekeyed import COPY, DECLARED, EVENT, REKEYED

if TYPE_CHECKING:
    from tests.simulation.world import World

APP = placed(AppDefinition("sim", (EVENT,), (DECLARED.views[1],), ()), "ns")
USERS = ("ann", "bob", "cleo")


class FeaturesProcess:
    """The features role and the copier behind it, on the same partitions. Implements `agents.transport.Role`."""

    name = "features"

    def __init__(self, context: RoleContext, *, features: type[FeaturesRole] = FeaturesRole) -> None:
        self._features = features(APP, context)
        self._copies = CopyRole(APP, context, pause=_give_way)

    def subscription(self) -> Subscription:
        """Return what both read."""
        return self._features.subscription()

    async def open(self, given: Assigned) -> int:
        """Open both; go on where the one is that is further behind."""
        position = await self._features.open(given)
        return min(position, await self._copies.open(given)) if _is_source(given.partition) else position

    async def apply(self, batch: RecordBatch) -> None:
        """Take the batch in, then copy it."""
        await self._features.apply(batch)
        if _is_source(batch.partition):
            await self._copies.apply(batch)

    async def reached_end(self, partition: Partition, end: int, broker_ms: int) -> None:
        """Tell both."""
        await self._features.reached_end(partition, end, broker_ms)
        if _is_source(partition):
            await self._copies.reached_end(partition, end, broker_ms)

    async def close(self, partition: Partition) -> None:
        """Close both."""
        await self._features.close(partition)
        await self._copies.close(partition)


class Rekeyed:
    """Visits in one topic, a view of their users in another one."""

    topic = EVENT.topic
    reads = (EVENT.topic, COPY.topic)

    def __init__(self, partitions: int = 1) -> None:
        self._partitions = partitions
        self._reader = FeatureReader([REKEYED])

    def topics(self) -> Sequence[TopicConfig]:
        """Return the topic of visits and that of their copies, with as many partitions, and what else there is."""
        found = topics.declared(APP, "ns")
        return [replace(each, partitions=self._partitions if each.name in self.reads else 1) for each in found]

    def role(self, context: RoleContext) -> Role:
        """Return a features process."""
        return FeaturesProcess(context)

    def record(self, chance: random.Random, number: int, now_ms: int) -> tuple[bytes | None, bytes]:
        """Return a visit, of nobody now and then, or not readable."""
        # One in three may be dead, whatever chance decides: more, and the breaker rightly pauses the partition.
        if number % 3 == 0 and chance.random() < 0.3:
            return b"{oops %d" % number, b"%d" % number
        user = chance.choice((*USERS, *USERS, None))
        visit = {"id": 1 << number, "user": user, "at": now_ms, "price": 0.5}
        return json.dumps(visit).encode(), b"%d" % number

    def rows(self, partition: Partition) -> Sequence[RowKey]:
        """Return the keys of the intake's row and of the copier's, or of the view's."""
        other = copier_fold(COPY.topic) if _is_source(partition) else REKEYED.key
        return [RowKey(fold, partition) for fold in (intake.FOLD, other)]

    async def findings(self, world: World) -> list[str]:
        """Return every value and tally that is not what the topic of visits says."""
        sources = [each for each in world.partitions if _is_source(each)]
        logs = {each: [_visit(record) for record in world.log.kept(each).records] for each in sources}
        visits = [visit for log in logs.values() for visit in log if visit is not None]
        found = [line for each, log in logs.items() for line in self._wrong_copier(world, each, log)]
        copies = [each for each in world.partitions if not _is_source(each)]
        rows = world.store.read_rows([RowKey(REKEYED.key, each) for each in copies])
        applied = sum(stored.row.applied for stored in rows if stored is not None)
        named = sum(visit["user"] is not None for visit in visits)
        if applied != named:
            found.append(f"{REKEYED.name}: expected {named} applied, got {applied}")
        return found + self._wrong_values(world, visits)

    def _wrong_copier(self, world: World, source: Partition, log: Sequence[dict[str, Any] | None]) -> list[str]:
        [stored] = world.store.read_rows([RowKey(copier_fold(COPY.topic), source)])
        assert stored is not None
        row, living = stored.row, [visit for visit in log if visit is not None]
        named = sum(visit["user"] is not None for visit in living)
        expected = (len(log), named, len(living) - named, len(log) - len(living))
        held = (row.next, row.applied, row.no_entity, row.dead)
        return [] if held == expected else [f"copier[{source.index}]: expected {expected}, got {held}"]

    def _wrong_values(self, world: World, visits: Sequence[dict[str, Any]]) -> list[str]:
        question = self._reader.question([{"user": user} for user in USERS])
        answer, found = world.store.read(question), []
        for place, user in enumerate(USERS):
            ids = [visit["id"] for visit in visits if visit["user"] == user]
            values = self._reader.serve(question, answer, place, world.clock()).values
            held = tuple(values[f"{REKEYED.name}.{name}"] or 0 for name in ("visits_7d", "ids_7d"))
            if held != (len(ids), sum(ids)):
                found.append(f"{REKEYED.name} of {user}: expected {(len(ids), sum(ids))}, got {held}")
        return found


def _is_source(partition: Partition) -> bool:
    return partition.topic == EVENT.topic


def _visit(record: Record) -> dict[str, Any] | None:
    """Return a visit as the log has it, None for what is a dead letter."""
    try:
        visit: dict[str, Any] = json.loads(record.value() or b"")
    except ValueError:
        return None
    return visit


async def _give_way(_: float) -> None:
    await asyncio.sleep(0)
