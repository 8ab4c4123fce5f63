"""The one engine: decoded events of one partition, record by record in log order, into the cells of a view's source.

Runs live, in replay, in training sets, in audits and in tests. Knows no store, no log and no clock: it is given a row,
the slots of the entities it asks for, and a batch, and returns the row that follows. What it decides, it decides from
the row and the record alone, so that a record already contained in a cell is tallied as it was the first time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from definitions.declared import Source
from streams.cells import CellCodec, CellLayout, CellState
from streams.chain import Slot
from streams.entities import keys_of
from streams.errors import Gap
from streams.intake import DecodedBatch
from streams.store import Row

Load = Callable[[Iterable[str]], Mapping[str, Slot[CellState]]]
"""Returns a mapping that holds a slot for each of the entities: `streams.chain.Chain.load`."""

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
        self._keys_of = keys_of(source.by)
        self._disorder_ms = source.event.disorder_ms
        longest = max(
            (window for each in source.aggregates for window in each.windows), key=lambda each: each.length_ms
        )
        self._longest_grid_ms = longest.grid_ms
        self._longest_tiles = longest.length_ms // longest.grid_ms

    def apply(self, row: Row, load: Load, batch: DecodedBatch) -> Applied:
        """Change the slots' states in place, and return the row that contains them. Cost: 1 us an event and up.

        Raises:
            Gap: the batch begins behind ``row.next``.
        """
        if batch.first > row.next:
            raise Gap(f"cannot apply: {self.source.key}: expected a batch from {row.next}, got one from {batch.first}")
        if batch.next <= row.next:
            return Applied(row)
        batch = batch.between(row.next, batch.next)
        entities = self._keys_of(batch.events)
        slots = load(each for each in dict.fromkeys(entities) if each is not None)
        add, disorder_ms = self.layout.add, self._disorder_ms
        newest_ms = _NONE_YET if row.newest_ms is None else row.newest_ms
        changed: dict[str, None] = {}
        too_late: list[int] = []
        late = no_entity = 0
        for offset, at_ms, entity, inputs in zip(
            batch.offsets, batch.times_ms, entities, self._inputs(batch), strict=True
        ):
            behind_ms = newest_ms - at_ms
            if behind_ms <= 0:
                newest_ms = at_ms
            if entity is None:
                no_entity += 1
                continue
            if behind_ms > disorder_ms:
                if self._is_too_late(at_ms, newest_ms):
                    too_late.append(offset)
                    continue
                late += 1
            slot = slots[entity]
            if offset >= slot.position:
                add(slot.state, at_ms, inputs, newest_ms)
                changed[entity] = None
        applied = len(batch.events) - no_entity - len(too_late)
        tallies = {"applied": applied, "late": late, "too_late": len(too_late), "no_entity": no_entity}
        return Applied(_behind(row, batch, newest_ms, tallies), changed, too_late)

    def _inputs(self, batch: DecodedBatch) -> Iterable[Sequence[object]]:
        columns = [column.inputs(batch.events) for column in self.layout.inputs]
        return zip(*columns, strict=True) if columns else [()] * len(batch.events)

    def _is_too_late(self, at_ms: int, newest_ms: int) -> bool:
        """Return whether the event lies before the longest window that ends with the tile of the newest event."""
        return at_ms // self._longest_grid_ms <= newest_ms // self._longest_grid_ms - self._longest_tiles


def _behind(row: Row, batch: DecodedBatch, newest_ms: int, tallies: Mapping[str, int]) -> Row:
    """Return the view's row behind the batch."""
    return replace(
        row,
        next=batch.next,
        newest_ms=None if newest_ms == _NONE_YET else newest_ms,
        applied_through_ms=_later(row.applied_through_ms, batch.appended_ms),
        dead=row.dead + len(batch.dead),
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
        newest_ms=max((row.newest_ms, *batch.times_ms), key=_order) if batch.times_ms else row.newest_ms,
        applied_through_ms=_later(row.applied_through_ms, batch.appended_ms),
        applied=row.applied + len(batch.events),
        dead=row.dead + len(batch.dead),
    )


def _order(at_ms: int | None) -> int:
    return _NONE_YET if at_ms is None else at_ms


def _later(held_ms: int | None, given_ms: int | None) -> int | None:
    return max(held_ms, given_ms, key=_order)
