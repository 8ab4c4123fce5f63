"""An answer of the store, opened to be served from: the cells and positions of each request of a micro-batch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from streams.cells import CellCodec
from streams.finalise import Held
from streams.retention import Retention
from streams.store import Answer, Cell, StoredRow

SourceReaders = Sequence[tuple[CellCodec, Retention]]
"""How the cells of a view are read, source by source."""


class Part(NamedTuple):
    """What an answer holds for one view and one entity, per source of the view."""

    held: Sequence[Held] | None
    """None where the entity is not given."""
    positions: Sequence[Mapping[str, int]]


class Opened:
    """An answer being served from: what several of its requests share is worked out once.

    Args:
        answer: what is served from.
        views: how the cells of each view are read, in the order in which they were asked for.
        before: what was served from before, if anything: rows have often not moved since.
    """

    def __init__(self, answer: Answer, views: Sequence[SourceReaders], before: Opened | None = None) -> None:
        self.answer = answer
        folds = sum(map(len, views))
        rows = answer.rows[:folds]
        # A cell that was removed while the answer was read is missed only by the rows behind it.
        behind = answer.rows_behind[:folds] or rows
        reached = None if before is None else before.reached
        self.reached: Reached = (
            reached
            if reached is not None and reached.rows == rows and reached.behind == behind
            else Reached.of(rows, behind, [retention for view in views for _, retention in view])
        )
        self._parts: list[tuple[SourceReaders, int, int, dict[int | None, Part]]] = []
        """Per view, its sources' places among all, from and to, and what was found of an entity, by its last cell."""
        end = 0
        for view in views:
            first, end = end, end + len(view)
            self._parts.append((view, first, end, {}))

    def parts(self, places: Sequence[int | None]) -> Sequence[Part]:
        """Return what the answer holds for one request, view by view; ``places`` are those of its cells."""
        parts = []
        for view, first, end, found in self._parts:
            last = places[end - 1]
            if last not in found:
                found[last] = self._part(view, first, places[first:end])
            parts.append(found[last])
        return parts

    def _part(self, view: SourceReaders, first: int, places: Sequence[int | None]) -> Part:
        held, positions = [], []
        for number, ((codec, _), place) in enumerate(zip(view, places, strict=True), first):
            reached, oldest_ms = self.reached.next[number], self.reached.oldest_ms[number]
            cells: Mapping[str, Cell] = {} if place is None else self.answer.cells[place]
            further = {name: cell.position for name, cell in cells.items() if cell.position > reached.get(name, 0)}
            positions.append({**reached, **further} if further else reached)
            if reached:
                held.append(Held([codec.decode(cells[name].state) for name in in_order(cells)], oldest_ms))
            else:
                held.append(Held(None))
        return Part(None if places[-1] is None else held, positions)


@dataclass(frozen=True, slots=True)
class Reached:
    """What the rows of an answer say of it, fold by fold: how far each partition is contained, as of when."""

    rows: Sequence[Mapping[str, StoredRow]]
    behind: Sequence[Mapping[str, StoredRow]]
    next: Sequence[Mapping[str, int]]
    """Partition field to the next offset: empty where a source has not started."""
    oldest_ms: Sequence[int | None]
    as_of_ms: int | None

    @classmethod
    def of(
        cls,
        rows: Sequence[Mapping[str, StoredRow]],
        behind: Sequence[Mapping[str, StoredRow]],
        retentions: Sequence[Retention],
    ) -> Reached:
        """Return what rows say, and those read behind the cells."""
        reached = [{name: stored.row.next for name, stored in found.items()} for found in rows]
        oldest_ms = [
            retention.oldest_ms(stored.row for stored in found.values())
            for retention, found in zip(retentions, behind, strict=True)
        ]
        return cls(rows, behind, reached, oldest_ms, _as_of(rows))


def in_order(fields: Iterable[str]) -> Sequence[str]:
    """Return partitions' fields by partition number: the fixed order in which cells are merged."""
    return _in_order(tuple(fields))


@lru_cache(maxsize=4_096)
def _in_order(names: tuple[str, ...]) -> Sequence[str]:
    """Return names in order. They come in few orders, and are put right for every entity that is read."""
    return names if len(names) == 1 else sorted(names, key=_partition_order)


def _partition_order(name: str) -> tuple[int, str]:
    topic_id, _, index = name.rpartition("/")
    return int(index), topic_id


def _as_of(rows: Sequence[Mapping[str, StoredRow]]) -> int | None:
    times = [stored.row.applied_through_ms for found in rows for stored in found.values()]
    if None in times or not all(rows):
        return None
    return min((time for time in times if time is not None), default=None)
