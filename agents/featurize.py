"""The features role: event topics in, features in the online store, by the position law.

Per partition: one intake that decodes every record once and sends what it cannot use to the dead-letter topic, and one
chain per view with a source on the topic. Each has its own resume row; a worker begins at the least of them, and what a
row or a cell already contains is skipped there. A view without a row, or whose row is far behind the intake's, waits: a
backfill brings it near, and then the worker takes it up by itself. The dead letters of a batch are acknowledged before
the intake row advances, the records that came too late for a view before the row of that view's source does.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import replace as replaced

from msgspec.structs import replace

from agents.advance_rows import NoCells, export_row
from agents.context import RoleContext
from agents.copied_through import CopiedThrough
from agents.dead_letters import DeadLetters, LateRecords
from agents.guard_source import SourceGuard
from agents.transport import Assigned, CommitPolicy, StartAt, Subscription
from definitions.declared import AppDefinition, Source
from streams import intake as intakes
from streams.breaker import Breaker
from streams.cells import CellState
from streams.chain import Advance, Chain, commit_together
from streams.engine import Engine, advance_intake, later
from streams.errors import ChainBroken
from streams.intake import DeadLetter, DecodedBatch, Intake
from streams.records import Partition, RecordBatch
from streams.store import Question, Row, RowKey, StoredRow
from streams.sweep import Sweep
from streams.versions import NEAR_RECORDS, is_near

PATIENCE_MS = 10
"""How far apart batches are at least: each asks the store twice, however short it is."""

RECORDS_A_SWEEP = 100_000
"""How many records are applied at most before a part of the cells is looked through for dead ones."""
_LOOK_EVERY_MS = 1_000

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Topic:
    """What reads one event topic."""

    intake: Intake
    engines: Sequence[Engine]
    through: CopiedThrough | None
    """How far a copy topic contains its source; None where the topic is no copy."""


@dataclass(slots=True)
class _Sweeps:
    """The sweeps of one partition's views, which take turns."""

    turns: deque[Sweep]
    next: int
    """The offset at which one is due on the way to the end."""

    def step(self) -> Sequence[Advance]:
        """Return the link that removes what is dead in the next part."""
        if not self.turns:
            return ()
        self.turns.rotate(-1)
        removal = self.turns[-1].step()
        return () if removal is None else (removal,)


@dataclass(frozen=True, slots=True)
class _Open:
    """One partition in hand. Thrown away as a whole after a refusal: nothing cached is trusted then."""

    topic: _Topic
    intake: Chain[None]
    folds: Sequence[tuple[Engine, Chain[CellState]]]
    waiting: Sequence[RowKey]
    """Rows of views that are not there or not near yet, see `FeaturesRole.open`."""
    sweeps: _Sweeps
    breaker: Breaker
    looked_ms: int
    """When it was last looked whether a waiting view has come near."""

    @property
    def chains(self) -> list[Chain[None] | Chain[CellState]]:
        """Every chain of the partition."""
        return [self.intake, *(chain for _, chain in self.folds)]

    @property
    def position(self) -> int:
        """The first offset that some row does not contain."""
        return min(chain.row.next for chain in self.chains)


class FeaturesRole:
    """Keeps the views of one app current. Driven by `agents.runner.Runner`."""

    name = "features"

    def __init__(self, app: AppDefinition, context: RoleContext, *, near: int = NEAR_RECORDS) -> None:
        self._context = context
        self._near = near
        self._topics: Mapping[str, _Topic] = {
            event.topic: _Topic(
                Intake(event, context.schemas),
                [Engine(source) for source in app.sources_on(event.topic)],
                None if event.rekeyed is None else CopiedThrough(context, event),
            )
            for event in (*app.events, *app.copies)
        }
        self._dead_letters = DeadLetters(app.name, context)
        self._late_records = LateRecords(app.name, context)
        self._guard = SourceGuard(context)
        self._open: dict[Partition, _Open] = {}

    def subscription(self) -> Subscription:
        """Return every event topic of the app and every copy, from its first record on."""
        group = f"{self._context.namespace}.{self.name}"
        return Subscription(group, tuple(self._topics), CommitPolicy.AFTER_DURABLE, StartAt.FIRST, PATIENCE_MS)

    async def open(self, given: Assigned) -> int:
        """Read the partition's rows, created where the group has no history; return the least of their positions.

        A view that waits in one partition of a topic is not begun in another: it waits in all, or in none.

        Raises:
            PartitionPaused: what the store knows does not fit the log, or the partition was paused before and still is.
        """
        topic, partition = self._topics[given.partition.topic], given.partition
        intake_key = RowKey(intakes.FOLD, partition)
        keys = [intake_key, *(RowKey(engine.source.key, partition) for engine in topic.engines)]
        found = self._context.store.read_rows(keys)
        accepted = await self._guard.admit(given, found)
        if given.committed is None:
            waiting = self._waiting_elsewhere(keys)
            found = [
                self._started(key, given) if row is None and key.fold not in waiting else row
                for key, row in zip(keys, found, strict=True)
            ]
        assert found[0] is not None  # noqa: S101  # the guard refuses a partition that was read and has no rows
        opened = self._opened(topic, intake_key, found[0], found[1:], Breaker(accepted))
        self._open[partition] = opened
        self._export(opened)
        return opened.position

    def _waiting_elsewhere(self, keys: Sequence[RowKey]) -> set[str]:
        """Return the folds without a row in another partition of the topic that has been read.

        Begun only where nothing was read before, they would be served as if the rest held nothing.
        """
        own = keys[0].partition
        taken_in, *others = self._context.store.read(Question(folds=[key.fold for key in keys])).rows
        elsewhere = {name: stored.row for name, stored in taken_in.items() if name != own.field}
        read = {name for name, row in elsewhere.items() if name.startswith(f"{own.topic_id}/") and row.next > row.first}
        return {key.fold for key, rows in zip(keys[1:], others, strict=True) if not read <= rows.keys()}

    def _started(self, key: RowKey, given: Assigned) -> StoredRow:
        return self._context.store.create_row(key, Row(next=given.first, first=given.first))

    def _opened(
        self,
        topic: _Topic,
        intake_key: RowKey,
        intake: StoredRow,
        found: Sequence[StoredRow | None],
        breaker: Breaker,
    ) -> _Open:
        store, partition = self._context.store, intake_key.partition
        folds: list[tuple[Engine, Chain[CellState]]] = []
        waiting: list[RowKey] = []
        for engine, stored in zip(topic.engines, found, strict=True):
            key = RowKey(engine.source.key, partition)
            if stored is None or not is_near(stored.row, intake.row, self._near):
                _tell_waiting(engine.source, partition)
                waiting.append(key)
            else:
                folds.append((engine, Chain(store, key, stored, engine.codec)))
        sweeps = _Sweeps(deque(Sweep(store, *fold) for fold in folds), intake.row.next + RECORDS_A_SWEEP)
        chain, now_ms = Chain(store, intake_key, intake, NoCells()), self._context.log.now_ms()
        return _Open(topic, chain, folds, waiting, sweeps, breaker, now_ms)

    async def apply(self, batch: RecordBatch) -> None:
        """Make the batch part of every row on its partition: what goes aside first, then all rows in one round trip.

        Raises:
            PartitionPaused: most of its records are dead, all before the one that says so applied; or what has to go
                aside was not taken.
        """
        opened = self._open[batch.partition]
        if opened.waiting and self._context.log.now_ms() - opened.looked_ms >= _LOOK_EVERY_MS:
            self._look(opened)
        decoded = opened.topic.intake.read(batch)
        tripped = opened.breaker.judge(decoded.between(opened.intake.row.next, decoded.next))
        if tripped is not None:
            batch = batch.before(tripped)
            decoded = opened.topic.intake.read(batch)
        await self._applied(opened, batch, decoded)
        if tripped is not None:
            raise self._guard.poisoned(batch.partition, tripped)

    async def _applied(self, opened: _Open, batch: RecordBatch, decoded: DecodedBatch) -> None:
        """Send aside what goes aside, fold the rest meanwhile, and commit when what went aside has arrived."""
        if opened.topic.through is not None:
            decoded = replaced(decoded, appended_ms=await opened.topic.through.ms(batch.partition, batch.next))
        taken_in, dead = self._taken_in(opened, decoded)
        going = [self._dead_letters.send(opened.topic.intake.event, batch, dead)]
        advances = [*taken_in]
        for engine, chain in opened.folds:
            applied = engine.apply(chain.row, chain.load, decoded)
            if applied.row is not chain.row:
                going.append(self._late_records.send(engine.source, batch, applied.too_late))
                advances.append(Advance(chain, applied.row, applied.changed))
        await self._guard.arrived(batch.partition, going)
        self._count(opened, taken_in, dead)
        commit_together(self._context.store, advances)
        if batch.next >= opened.sweeps.next:
            self._sweep(opened, batch.next)
        self._export(opened)

    def _sweep(self, opened: _Open, position: int) -> None:
        opened.sweeps.next = position + RECORDS_A_SWEEP
        removals = opened.sweeps.step()
        commit_together(self._context.store, removals)
        for removal in removals:
            self._context.metrics.count("cells_removed_total", len(removal.removed), fold=removal.chain.key.fold)

    def _taken_in(self, opened: _Open, decoded: DecodedBatch) -> tuple[Sequence[Advance], Sequence[DeadLetter]]:
        """Return the intake's advance, if there is one, and the dead letters that its row does not contain yet."""
        chain = opened.intake
        row = advance_intake(chain.row, decoded)
        if row is chain.row:
            return (), ()
        return (Advance(chain, row),), [letter for letter in decoded.dead if letter.offset >= chain.row.next]

    def _count(self, opened: _Open, taken_in: Sequence[Advance], dead: Sequence[DeadLetter]) -> None:
        metrics, topic = self._context.metrics, opened.intake.key.partition.topic
        for advance in taken_in:
            metrics.count("events_decoded_total", advance.row.applied - opened.intake.row.applied, topic=topic)
        for letter in dead:
            metrics.count("dead_letters_total", topic=topic, reason=letter.reason)

    async def reached_end(self, partition: Partition, end: int, broker_ms: int) -> None:
        """Raise what the rows at the end are applied through: a link of each chain, so a store gone back is noticed.

        Raises:
            ChainBroken: a view that waited has come near; the partition has to be opened and read anew.
        """
        opened = self._open.get(partition)
        if opened is None:
            return
        self._look(opened)
        through = opened.topic.through
        through_ms = broker_ms if through is None else await through.ms(partition, end)
        commit_together(
            self._context.store,
            [
                Advance(chain, replace(chain.row, applied_through_ms=later(chain.row.applied_through_ms, through_ms)))
                for chain in opened.chains
                if chain.row.next == end
            ],
        )
        self._sweep(opened, end)

    async def close(self, partition: Partition) -> None:
        """Forget the partition. Every effect is durable already."""
        self._open.pop(partition, None)

    def _look(self, opened: _Open) -> None:
        """Have the partition opened anew where a waiting view has come near: a backfill has brought its row there."""
        intake, partition = opened.intake.row, opened.intake.key.partition
        self._open[partition] = replaced(opened, looked_ms=self._context.log.now_ms())
        rows = self._context.store.read_rows(opened.waiting)
        if any(stored is not None and is_near(stored.row, intake, self._near) for stored in rows):
            raise ChainBroken(f"cannot go on: {partition.topic}[{partition.index}]: a view has come near; take it up")

    def _export(self, opened: _Open) -> None:
        for chain in opened.chains:
            export_row(self._context.metrics, chain)


def _tell_waiting(source: Source, partition: Partition) -> None:
    logger.warning(
        "%s waits: %s[%d]: its events were read without it; run `headrace features backfill %s --version %s`",
        source.key,
        partition.topic,
        partition.index,
        source.view,
        source.version,
    )
