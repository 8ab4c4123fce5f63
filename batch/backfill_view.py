"""A view built from what was published before it was declared, beside the live ones, until workers can take it up.

The engine, the chain and the rows are those of the features role, so it does not matter who stops when: killed and
started again it goes on from its rows, and of two at once, or beside a worker, the chain refuses one. Rows are created
only where there are none, at the oldest record that the log still has. A view is followed as far as the intake has
come, never further: what lies behind that is the features role's to decode. Records that came too late for the view
are counted in its row; they are not copied to the late topic, for they are in the log and happened long ago.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from batch.context import Tell, tell_nobody
from batch.errors import BackfillRefused
from batch.history import History
from definitions.declared import Source, ViewDefinition
from streams import intake as intakes
from streams.chain import Chain
from streams.codecs import Schemas
from streams.engine import Engine
from streams.errors import ChainBroken
from streams.intake import Intake
from streams.records import Partition
from streams.store import OnlineStore, Row, RowKey, StoredRow
from streams.versions import NEAR_RECORDS

CLOSE_RECORDS = NEAR_RECORDS // 50
"""How far behind the intake a row is left: so near that workers take it up before they have gone too far again."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Place:
    """One source of a view in one partition: its row, and how far the intake has come there."""

    source: Source
    partition: Partition
    stored: StoredRow
    intake: StoredRow | None
    """None where no features role has read the partition yet: then there is nothing to catch up with."""

    @property
    def live(self) -> int:
        """How far the view can be followed."""
        return self.stored.row.next if self.intake is None else self.intake.row.next

    @property
    def behind(self) -> int:
        """How many records the view lacks."""
        return max(0, self.live - self.stored.row.next)


class Backfill:
    """One view's way to the present. Made when the topics are there; rows are created at once.

    Args:
        view: the version to build.
        history: the log.
        store: the online store.
        schemas: the schema registry, where an event's codec needs one.

    Raises:
        BackfillRefused: a topic is not there, or no longer holds what the rows lack.
        HistoryUnavailable: the log does not answer.
        StoreUnavailable: the store does not answer.
    """

    def __init__(
        self, view: ViewDefinition, history: History, store: OnlineStore, *, schemas: Schemas | None = None
    ) -> None:
        self._view, self._history, self._store = view, history, store
        self._engines: Mapping[str, Engine] = {source.key: Engine(source) for source in view.sources}
        self._intakes = {source.key: Intake(source.event, schemas) for source in view.sources}
        self._keys = [(source, each) for source in view.sources for each in _partitions(history, source)]
        self.created = self._create()
        """How many rows were not there before."""
        self.records = 0
        """How many records this process has applied."""

    def places(self) -> Sequence[Place]:
        """Return where the view stands, in one round trip.

        Raises:
            BackfillRefused: a row is gone, because the version was dropped meanwhile.
        """
        views = self._store.read_rows([RowKey(source.key, each) for source, each in self._keys])
        taken = self._store.read_rows([RowKey(intakes.FOLD, each) for _, each in self._keys])
        found = []
        for (source, partition), stored, intake in zip(self._keys, views, taken, strict=True):
            if stored is None:
                raise BackfillRefused(
                    f"cannot backfill {self._view.key}: {partition.topic}[{partition.index}]: expected the row that "
                    "was there, got none: the version was dropped; begin again if that was a mistake"
                )
            found.append(Place(source, partition, stored, intake))
        return found

    def run(self, tell: Tell = tell_nobody, *, close: int = CLOSE_RECORDS) -> Sequence[Place]:
        """Apply what the view lacks until it is ``close`` behind in every partition at once; return where it stands.

        Cost: that of the features role, 2-10 us an event. Where somebody else writes the row, it is his as long as he
        keeps it close.
        """
        while far := [place for place in self.places() if place.behind > close]:
            for place in far:
                try:
                    self._follow(place, tell)
                except ChainBroken as refusal:
                    logger.info("leaves a partition to its other writer: %s", refusal)
        return self.places()

    def _create(self) -> int:
        rows = self._store.read_rows([RowKey(source.key, each) for source, each in self._keys])
        for (source, partition), stored in zip(self._keys, rows, strict=True):
            first, _ = self._history.bounds(partition)
            if stored is None:
                self._store.create_row(RowKey(source.key, partition), Row(next=first, first=first))
            elif stored.row.next < first:
                raise BackfillRefused(
                    f"cannot backfill {self._view.key}: {partition.topic}[{partition.index}]: expected the log from "
                    f"{stored.row.next} on, got it from {first} on; drop the version with `headrace features drop "
                    f"{self._view.name} --version {self._view.version}` and begin again"
                )
        return rows.count(None)

    def _follow(self, place: Place, tell: Tell) -> None:
        """Apply what one place lacks, a link of its chain after the other."""
        engine, intake = self._engines[place.source.key], self._intakes[place.source.key]
        where = f"{place.partition.topic}[{place.partition.index}]"
        chain = Chain(self._store, RowKey(place.source.key, place.partition), place.stored, engine.codec)
        first, total = place.stored.row.first, place.live - place.stored.row.first
        for batch in self._history.read(place.partition, chain.row.next, place.live):
            before = chain.row.next
            applied = engine.apply(chain.row, chain.load, intake.read(batch))
            chain.commit(applied.row, applied.changed)
            self.records += chain.row.next - before
            tell(where, chain.row.next - first, total)


def _partitions(history: History, source: Source) -> Sequence[Partition]:
    partitions = history.partitions(source.event.topic)
    if not partitions:
        topic = source.event.topic
        raise BackfillRefused(f"cannot backfill {source.view}: {topic}: expected a topic, got none; run `headrace run`")
    return partitions
