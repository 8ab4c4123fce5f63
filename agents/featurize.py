"""The features role: event topics in, features in the online store, by the position law.

Per partition: one intake that decodes every record once and sends what it cannot use to the dead-letter topic, and one
chain per view on the topic. Each has its own resume row; a worker begins at the least of them, and what a row or a cell
already contains is skipped there. The dead letters of a batch are acknowledged before the intake row advances, the
records that came too late for a view before that view's row does.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from agents.advance_rows import NoCells, export_row
from agents.context import RoleContext
from agents.dead_letters import DeadLetters, LateRecords
from agents.transport import Assigned, CommitPolicy, StartAt, Subscription
from definitions.declared import AppDefinition, ViewDefinition
from streams import intake as intakes
from streams.cells import CellState
from streams.chain import Advance, Chain, commit_together
from streams.engine import Engine, advance_intake
from streams.errors import ChainBroken, Gap, StoreError
from streams.intake import DecodedBatch, Intake
from streams.records import Partition, RecordBatch
from streams.store import Row, RowKey, StoredRow

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Topic:
    """What reads one event topic."""

    intake: Intake
    engines: Sequence[Engine]


@dataclass(frozen=True, slots=True)
class _Open:
    """One partition in hand. Thrown away as a whole after a refusal: nothing cached is trusted then."""

    topic: _Topic
    intake: Chain[None]
    views: Sequence[tuple[Engine, Chain[CellState]]]
    waiting: Sequence[RowKey]
    """Rows of views that have not been started, see `FeaturesRole.open`."""

    @property
    def chains(self) -> list[Chain[None] | Chain[CellState]]:
        """Every chain of the partition."""
        return [self.intake, *(chain for _, chain in self.views)]

    @property
    def position(self) -> int:
        """The first offset that some row does not contain."""
        return min(chain.row.next for chain in self.chains)


class FeaturesRole:
    """Keeps the views of one app current. Driven by `agents.runner.Runner`."""

    name = "features"

    def __init__(self, app: AppDefinition, context: RoleContext) -> None:
        self._context = context
        self._topics: Mapping[str, _Topic] = {
            event.topic: _Topic(Intake(event), [Engine(view) for view in app.views if view.on.topic == event.topic])
            for event in app.events
        }
        self._dead_letters = DeadLetters(app.name, context)
        self._late_records = LateRecords(app.name, context)
        self._open: dict[Partition, _Open] = {}

    def subscription(self) -> Subscription:
        """Return every event topic of the app, from its first record on."""
        group = f"{self._context.namespace}.{self.name}"
        return Subscription(group, tuple(self._topics), CommitPolicy.AFTER_DURABLE, StartAt.FIRST)

    async def open(self, given: Assigned) -> int:
        """Read the partition's rows, created where the group has no history; return the least of their positions.

        Raises:
            StoreError: the group has read this partition, but the store knows nothing of it.
            Gap: records that the rows do not contain are no longer in the log.
        """
        topic, partition = self._topics[given.partition.topic], given.partition
        intake_key = RowKey(intakes.FOLD, partition)
        keys = [intake_key, *(RowKey(engine.view.key, partition) for engine in topic.engines)]
        found = self._context.store.read_rows(keys)
        if given.committed is None:
            found = [self._started(key, given) if row is None else row for key, row in zip(keys, found, strict=True)]
        if found[0] is None:
            raise StoreError(
                f"cannot go on: {partition.topic}[{partition.index}]: expected the rows of {given.committed} records "
                "already read, got an empty store; restore it, or begin anew under another namespace"
            )
        opened = self._opened(topic, intake_key, found[0], found[1:])
        await self._check_in_log(opened.position, given)
        self._open[partition] = opened
        self._export(opened)
        return opened.position

    async def _check_in_log(self, position: int, given: Assigned) -> None:
        if given.first <= position <= given.end:
            return
        # The log may have grown since the partition was given, and another worker have read what came.
        [(first, end)] = await self._context.log.bounds([given.partition])
        if not first <= position <= end:
            partition = given.partition
            raise Gap(
                f"cannot go on: {partition.topic}[{partition.index}]: expected offset {position} in the log, "
                f"got {first} to {end}; restore the topic, or begin anew under another namespace"
            )

    def _started(self, key: RowKey, given: Assigned) -> StoredRow:
        return self._context.store.create_row(key, Row(next=given.first, first=given.first))

    def _opened(self, topic: _Topic, intake_key: RowKey, intake: StoredRow, found: Sequence[StoredRow | None]) -> _Open:
        store, partition = self._context.store, intake_key.partition
        views: list[tuple[Engine, Chain[CellState]]] = []
        waiting: list[RowKey] = []
        for engine, stored in zip(topic.engines, found, strict=True):
            key = RowKey(engine.view.key, partition)
            if stored is None:
                _tell_waiting(engine.view, partition)
                waiting.append(key)
            else:
                views.append((engine, Chain(store, key, stored, engine.codec)))
        return _Open(topic, Chain(store, intake_key, intake, NoCells()), views, waiting)

    async def apply(self, batch: RecordBatch) -> None:
        """Make the batch part of every row on its partition: what goes aside first, then all rows in one round trip."""
        opened = self._open[batch.partition]
        decoded = opened.topic.intake.read(batch)
        advances = [*await self._taken_in(opened, batch, decoded)]
        for engine, chain in opened.views:
            applied = engine.apply(chain.row, chain.load, decoded)
            if applied.row is not chain.row:
                await self._late_records.send(engine.view, batch, applied.too_late)
                advances.append(Advance(chain, applied.row, applied.changed))
        commit_together(self._context.store, advances)
        self._export(opened)

    async def _taken_in(self, opened: _Open, batch: RecordBatch, decoded: DecodedBatch) -> Sequence[Advance]:
        """Send the dead letters that the intake's row does not contain; return its advance, if there is one."""
        chain = opened.intake
        row = advance_intake(chain.row, decoded)
        if row is chain.row:
            return ()
        dead = [letter for letter in decoded.dead if letter.offset >= chain.row.next]
        await self._dead_letters.send(opened.topic.intake.event, batch, dead)
        metrics, topic = self._context.metrics, batch.partition.topic
        metrics.count("events_decoded_total", row.applied - chain.row.applied, topic=topic)
        for letter in dead:
            metrics.count("dead_letters_total", topic=topic, reason=letter.reason)
        return (Advance(chain, row),)

    async def reached_end(self, partition: Partition, end: int, broker_ms: int) -> None:
        """Raise what the rows at the end are applied through: a link of each chain, so a store gone back is noticed.

        Raises:
            ChainBroken: a view that waited was started; the partition has to be opened and read anew.
        """
        opened = self._open.get(partition)
        if opened is None:
            return
        if opened.waiting and any(self._context.store.read_rows(opened.waiting)):
            raise ChainBroken(f"cannot go on: {partition.topic}[{partition.index}]: a view was started; read it again")
        commit_together(
            self._context.store,
            [
                Advance(chain, replace(chain.row, applied_through_ms=max(broker_ms, chain.row.applied_through_ms or 0)))
                for chain in opened.chains
                if chain.row.next == end
            ],
        )

    async def close(self, partition: Partition) -> None:
        """Forget the partition. Every effect is durable already."""
        self._open.pop(partition, None)

    def _export(self, opened: _Open) -> None:
        for chain in opened.chains:
            export_row(self._context.metrics, chain)


def _tell_waiting(view: ViewDefinition, partition: Partition) -> None:
    logger.warning(
        "%s waits: %s[%d]: its events were read before it was declared; run `headrace features start %s`",
        view.key,
        partition.topic,
        partition.index,
        view.name,
    )
