"""What the stages of a graph cost here, as measured while they run, and how many candidates fit into the time left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from online_models.graphs.ranking import shares

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

    def doubt(self) -> None:
        """Believe a little less in what was measured, because it kept anybody from measuring again."""
        self.took *= _MEMORY
        self.rows_took *= _MEMORY

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

    def left_out(self, stage: int) -> None:
        """Take in that there was time for no row of a stage: one slow run must not be its last."""
        self._costs[stage].doubt()

    def stage_ms(self, stage: int, counts: Sequence[int]) -> float:
        """Return what one stage will take for requests with so many rows each; 0 before anything was measured."""
        fixed, per_row = self._costs[stage].line()
        return fixed + per_row * sum(counts)

    def whole_ms(self, counts: Sequence[int], *, stage: int = 0) -> float:
        """Return what the stages from ``stage`` on will take for requests with so many rows each, in one go.

        Filters and groups are taken to let everything pass.
        """
        total = 0.0
        for number in range(stage, len(self._tops)):
            total += self.stage_ms(number, counts)
            top = self._tops[number]
            counts = counts if top is None else [min(top, each) for each in counts]
        return total

    def fits(self, stage: int, counts: Sequence[int], left_ms: float) -> list[int]:
        """Return how many rows of each request a stage should take, so that it and all behind it end in time.

        Where not all can be taken, the time left is divided among the stages by what they would cost: a cheap one
        takes all, and leaves it to a dear one to take the best of them.
        """
        whole_ms, own_ms = self.whole_ms(counts, stage=stage), self.stage_ms(stage, counts)
        if whole_ms <= left_ms:
            return list(counts)
        budget_ms = left_ms * own_ms / whole_ms if left_ms > 0 else -1.0
        low, high = 0, sum(counts) + 1
        while high - low > 1:
            middle = (low + high) // 2
            if self.stage_ms(stage, shares(counts, middle)) <= budget_ms:
                low = middle
            else:
                high = middle
        return shares(counts, low)
