"""What an audit finds, and how a row or a cell that differs from a replay becomes so many lost or counted twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from streams.cells import COUNTED, ORIGIN, TILE, CellState, SeriesLayout
from streams.records import Partition
from streams.store import Row

TALLIES = ("applied", "late", "duplicate", "too_late", "no_entity", "dead")


@dataclass(slots=True)
class PartitionAudit:
    """What was found of one view, or of the intake, in one partition."""

    view: str
    """The view's name, ``intake``, or ``copy.`` and the copy topic."""
    topic: str
    partition: int
    row: Row
    end: int
    """Offset that the log's next record gets; ``end - row.next`` records are not applied yet."""
    lost: int = 0
    counted_twice: int = 0
    audited: bool = True
    """False where the log no longer holds what the row accounts for."""
    problems: list[str] = field(default_factory=list)
    version: int | None = None
    """The view's version, None for the intake."""

    def as_json(self) -> dict[str, object]:
        """Return the finding under the names of the command's answer."""
        tallies = {name: getattr(self.row, name) for name in TALLIES}
        place = {"view": self.view, "version": self.version, "topic": self.topic, "partition": self.partition}
        reach = {"next": self.row.next, "end": self.end, "lost": self.lost, "counted_twice": self.counted_twice}
        return {**place, "read": self.row.read, **tallies, **reach, "problems": self.problems}


@dataclass(frozen=True, slots=True)
class Audit:
    """All findings. Views first, in order of declaration, then the intakes, then the copies of rekeyed views."""

    views: Sequence[PartitionAudit]
    intakes: Sequence[PartitionAudit]
    copies: Sequence[PartitionAudit] = ()
    """Per copy topic and partition of its source."""

    @property
    def lost(self) -> int:
        """How many events are missing from some state, tally or copy."""
        return sum(each.lost for each in (*self.views, *self.copies))

    @property
    def counted_twice(self) -> int:
        """How many events are in some state or tally once too often."""
        return sum(each.counted_twice for each in (*self.views, *self.copies))

    @property
    def problems(self) -> list[str]:
        """Everything that is not as it should be, a line each."""
        found = (*self.views, *self.intakes, *self.copies)
        return [f"{each.view} {each.topic}[{each.partition}]: {line}" for each in found for line in each.problems]


def begun(view: str, partition: Partition, row: Row, end: int) -> PartitionAudit:
    """Return a finding that knows of what was lost and accepted; a replay adds what else there is."""
    found = PartitionAudit(view, partition.topic, partition.index, row, end, lost=row.lost)
    if row.lost:
        found.problems.append(f"{row.lost} records lost, accepted by `headrace repair`")
    return found


def can_begin(found: PartitionAudit, span: tuple[int, int], oldest: int) -> bool:
    """Return whether a replay of the span finds it in the log; what it does not find is noted."""
    first, end = span
    if first == end:
        return False
    if first < oldest:
        found.audited = False
        found.problems.append(f"not audited: expected the log from {first} on, got it from {oldest} on")
    return first >= oldest


def compare_rows(found: PartitionAudit, replayed: Row) -> None:
    """Note where a row's tallies are not those of a replay."""
    row = found.row
    if row.next > found.end:
        found.problems.append(f"row at {row.next}: expected at most the log's end, {found.end}")
    missing = replayed.read - row.read
    found.lost += max(0, missing)
    found.counted_twice += max(0, -missing)
    for name in (*TALLIES, "newest_ms", "copied"):
        held, expected = getattr(row, name), getattr(replayed, name)
        if held != expected:
            found.problems.append(f"{name}: expected {expected} as in a replay, got {held}")


def difference(expected: CellState | None, held: CellState | None, series: SeriesLayout) -> tuple[int, int]:
    """Return (lost, counted twice) of one cell, by the counts of its tiles; one of both where all of them agree."""
    should, does = _counts(expected, series), _counts(held, series)
    lost = sum(max(0, count - does.get(start, 0)) for start, count in should.items())
    twice = sum(max(0, count - should.get(start, 0)) for start, count in does.items())
    return (lost, twice) if lost or twice else (1, 1)


def _counts(state: CellState | None, layout: SeriesLayout) -> dict[int, int]:
    """Return how many events there are by the start of their tile."""
    if state is None or state[ORIGIN] is None:
        return {}
    rows, width = layout.rows(state), layout.width
    starts = (state[ORIGIN] + tile * layout.grid_ms for tile in rows[TILE::width])
    return dict(zip(starts, rows[COUNTED::width], strict=True))
