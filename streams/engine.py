"""The one engine: decoded events of one partition, record by record in log order, into the cells of a view's source.

Runs live, in replay, in training sets, in audits and in tests. Knows no store, no log and no clock: it is given a row,
the slots of the entities it asks for, and a batch, and returns the row that follows. What it decides, it decides from
the row and the record alone, so that a record already contained in a cell is tallied as it was the first time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from msgspec.structs import replace

from definitions.declared import Source
from streams.cells import CellCodec, CellLayout
from streams.chain import Load
from streams.copies import first_copies
from streams.duplicates import Deduplicator
from streams.entities import keys_of
from streams.errors import Gap
from streams.folding import compiled
from streams.intake import DecodedBatch
from streams.store import Row

_NONE_YET = -1
"""Older than any event time."""


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of a batch: the row behind it, the entities whose cells changed, the offsets that came too late."""

    row: Row
    changed: Iterable[str] = ()
    too_late: Sequence[int] = ()


class Engine:
    """Applies batches of one event's topic to the cells of one source of a view."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.layout = CellLayout(source)
        self.codec = CellCodec(self.layout)
        self._fold = compiled(self.layout)
        horizon_ms = source.event.dedupe_ms
        self._deduplicator = None if horizon_ms is None else Deduplicator(source.event, horizon_ms)
        self._keys_of = keys_of(source.by)

    def apply(self, row: Row, load: Load, batch: DecodedBatch) -> Applied:
        """Change the slots' states in place, and return the row that contains them. Cost: 0.8 us an event and up.

        Raises:
            Gap: the batch begins behind ``row.next``.
        """
        if batch.first > row.next:
            raise Gap(f"cannot apply: {self.source.key}: expected a batch from {row.next}, got one from {batch.first}")
        if batch.next <= row.next:
            return Applied(row)
        batch = batch.between(row.next, batch.next)
        sifted = first_copies(row, batch)
        batch, duplicates, ids = sifted.batch, sifted.duplicates, dict[str, None]()
        if self._deduplicator is not None:
            found = self._deduplicator.first_only(load, batch, row.newest_ms)
            batch, duplicates, ids = found.batch, duplicates + found.duplicates, dict.fromkeys(found.changed)
        entities = self._keys_of(batch.events)
        asked = dict.fromkeys(entities)
        asked.pop(None, None)
        newest_ms = _NONE_YET if row.newest_ms is None else row.newest_ms
        inputs = [column.inputs(batch.events) for column in self.layout.inputs]
        records = zip(batch.offsets, batch.times_ms, entities, *inputs, strict=True)
        too_late: list[int] = []
        folded = self._fold(records, load(cast("Iterable[str]", asked)), newest_ms, too_late)
        tallies = {
            "applied": len(batch.events) - folded.no_entity - len(too_late),
            "late": folded.late,
            "duplicate": duplicates,
            "too_late": len(too_late),
            "no_entity": folded.no_entity,
        }
        behind = _behind(row, batch, folded.newest_ms, tallies, sifted.contained)
        return Applied(behind, ids | folded.changed, too_late)


def _behind(
    row: Row, batch: DecodedBatch, newest_ms: int, tallies: Mapping[str, int], copied: dict[str, list[int]]
) -> Row:
    """Return the view's row behind the batch."""
    return replace(
        row,
        next=batch.next,
        newest_ms=None if newest_ms == _NONE_YET else newest_ms,
        applied_through_ms=later(row.applied_through_ms, batch.appended_ms),
        dead=row.dead + len(batch.dead),
        copied=copied,
        **{name: getattr(row, name) + count for name, count in tallies.items()},
    )


def advance_intake(row: Row, batch: DecodedBatch) -> Row:
    """Return the intake's row behind the batch: what was decoded counts as applied.

    Raises:
        Gap: the batch begins behind ``row.next``.
    """
    if batch.first > row.next:
        raise Gap(f"cannot take in: {batch.partition.topic}: expected a batch from {row.next}, got {batch.first}")
    if batch.next <= row.next:
        return row
    batch = batch.between(row.next, batch.next)
    return replace(
        row,
        next=batch.next,
        newest_ms=later(row.newest_ms, max(batch.times_ms, default=None)),
        applied_through_ms=later(row.applied_through_ms, batch.appended_ms),
        applied=row.applied + len(batch.events),
        dead=row.dead + len(batch.dead),
    )


def _order(at_ms: int | None) -> int:
    return _NONE_YET if at_ms is None else at_ms


def later(held_ms: int | None, given_ms: int | None) -> int | None:
    """Return the later of two times, either of which may not be known."""
    return max(held_ms, given_ms, key=_order)
