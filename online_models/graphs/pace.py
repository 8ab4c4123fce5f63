"""What the stages of a graph cost here, as measured while they run, and how many candidates fit into the time left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_MEMORY = 0.95
"""What a measurement keeps of its weight when another comes: about the last twenty count."""


@dataclass(slots=True)
class StageCost:
    """The cost of one stage, ``fixed + per row``: a line through what was measured, the newest weighing most."""

    weight: float = 0.0
    rows: float = 0.0
    took: float = 0.0
    rows_rows: float = 0.0
    rows_took: float = 0.0

    def note(self, rows: int, took_ms: float) -> None:
        """Take a measurement in."""
        for name, value in (
            ("weight", 1.0),
            ("rows", rows),
            ("took", took_ms),
            ("rows_rows", rows * rows),
            ("rows_took", rows * took_ms),
        ):
            setattr(self, name, getattr(self, name) * _MEMORY + value)

    def line(self) -> tuple[float, float]:
        """Return the fixed cost and the cost of a row, in ms, neither below 0; both 0 before the first measurement."""
        if not self.rows:
            return 0.0, 0.0
        spread = self.weight * self.rows_rows - self.rows * self.rows
        plain = self.took / self.rows
        if spread <= 1e-9 * self.rows_rows * self.weight:  # all of about one size: nothing tells the two apart
            return 0.0, plain
        slope = (self.weight * self.rows_took - self.rows * self.took) / spread
        fixed = (self.took - slope * self.rows) / self.weight
        if slope < 0.0:
            return self.took / self.weight, 0.0
        return (fixed, slope) if fixed >= 0.0 else (0.0, plain)


class Pace:
    """The costs of all stages of one graph.

    Args:
        tops: per stage, how many rows of one request it lets pass; None where that is not known beforehand.
    """

    def __init__(self, tops: Sequence[int | None]) -> None:
        self._tops = tuple(tops)
        self._costs = tuple(StageCost() for _ in tops)

    def note(self, stage: int, rows: int, took_ms: float) -> None:
        """Take in that a stage took so long for so many rows."""
        if rows:
            self._costs[stage].note(rows, took_ms)

    def whole_ms(self, counts: Sequence[int], *, stage: int = 0) -> float:
        """Return what the stages from ``stage`` on will take for requests with so many rows each, in one go.

        0 before anything was measured. Filters and groups are taken to let everything pass.
        """
        total = 0.0
        for top, cost in zip(self._tops[stage:], self._costs[stage:], strict=True):
            fixed, per_row = cost.line()
            total += fixed + per_row * sum(counts)
            counts = counts if top is None else [min(top, each) for each in counts]
        return total

    def fits(self, stage: int, counts: Sequence[int], left_ms: float) -> int:
        """Return how many of all rows this stage can take so that it and all behind it end within ``left_ms``."""
        if self.whole_ms(counts, stage=stage) <= left_ms:
            return sum(counts)
        low, high = 0, sum(counts)
        while high - low > 1:
            middle = (low + high) // 2
            share = middle / len(counts)
            taken = [min(each, share) for each in counts]
            if self.whole_ms(taken, stage=stage) <= left_ms:  # type: ignore[arg-type]  # parts of rows do for a guess
                low = middle
            else:
                high = middle
        return low
