"""Scores beside their labels, counted so that parts merge to the whole exactly and in any order.

A probability is counted on bins that are narrow where probabilities are near 0 and 1, in log-odds: a rare truth is
ranked as well as a common one. Losses are integers. Errors of numbers are sums that lose nothing (Shewchuk).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from online_models.progress import log_loss_one

NANO = 1_000_000_000
TENTHS = 10
"""Calibration is told on so many equal parts of [0, 1]."""

_BINS_A_LOGIT = 20
_WIDEST_LOGIT = 8
_LOGITS = [step / _BINS_A_LOGIT for step in range(-_WIDEST_LOGIT * _BINS_A_LOGIT, _WIDEST_LOGIT * _BINS_A_LOGIT + 1)]
EDGES = sorted({*(1 / (1 + math.exp(-each)) for each in _LOGITS), *(each / TENTHS for each in range(1, TENTHS))})
"""Where a bin of scores ends and the next one begins; every tenth is an edge."""

_TENTH_EDGES = [each / TENTHS for each in range(1, TENTHS)]


class Said(NamedTuple):
    """What a score is counted as."""

    label: bool | None = None
    """None of what is no probability."""
    place: int = 0
    tenth: int = 0
    loss: int = 0
    square: int = 0
    score: int = 0
    error: float | None = None
    """Score minus label, of a label that is a number."""


def said_of(score: float, label: float) -> Said:
    """Return what a finite score is counted as, beside its label. Cost: 1 us."""
    if not isinstance(label, bool):
        return Said(error=score - label)
    if not 0.0 <= score <= 1.0:
        return Said()
    return Said(
        label,
        bisect_right(EDGES, score),
        bisect_right(_TENTH_EDGES, score),
        round(log_loss_one(score, label) * NANO),
        round((score - label) ** 2 * NANO),
        round(score * NANO),
    )


class Side(msgspec.Struct, array_like=True):
    """The pairs whose label was True, or those whose label was False."""

    bins: dict[int, int] = {}
    """Bin of `EDGES` to the number of scores in it."""
    loss: int = 0
    """Log loss in billionths of a nat."""
    square: int = 0
    """Squared distance to the label, in billionths."""
    scores: dict[int, int] = {}
    """Tenth to the sum of its scores, in billionths."""

    @property
    def n(self) -> int:
        """How many pairs there are."""
        return sum(self.bins.values())

    def take(self, said: Said, times: int = 1) -> None:
        """Count a probability, or take one back that was counted."""
        self.bins[said.place] = self.bins.get(said.place, 0) + times
        self.loss += times * said.loss
        self.square += times * said.square
        self.scores[said.tenth] = self.scores.get(said.tenth, 0) + times * said.score

    def merged(self, other: Side) -> Side:
        """Return the pairs of both."""
        return Side(
            _sum(self.bins, other.bins),
            self.loss + other.loss,
            self.square + other.square,
            _sum(self.scores, other.scores),
        )


class Errors(msgspec.Struct, array_like=True):
    """What a predicted number was off by. Each sum is a list of floats that add up to it exactly."""

    n: int = 0
    error: list[float] = []
    """Score minus label."""
    absolute: list[float] = []
    square: list[float] = []

    def add(self, error: float) -> None:
        """Count one error; one whose square is no number any more counts as the greatest whose square is."""
        error = max(-_GREATEST_ERROR, min(_GREATEST_ERROR, error))
        self.n += 1
        self.error = _grown(self.error, error)
        self.absolute = _grown(self.absolute, abs(error))
        self.square = _grown(self.square, error * error)

    def revise(self, error: float, counted: float) -> None:
        """Count one error in the place of another that was counted."""
        before = Errors()
        before.add(counted)
        self.n -= 1
        self.error = _grown(self.error, *(-each for each in before.error))
        self.absolute = _grown(self.absolute, *(-each for each in before.absolute))
        self.square = _grown(self.square, *(-each for each in before.square))
        self.add(error)

    def merged(self, other: Errors) -> Errors:
        """Return the errors of both."""
        return Errors(
            self.n + other.n,
            _grown(self.error, *other.error),
            _grown(self.absolute, *other.absolute),
            _grown(self.square, *other.square),
        )


class Pairs(msgspec.Struct, array_like=True):
    """What one learner said, beside what was true.

    Example:
        >>> pairs = Pairs()
        >>> for score, label in [(0.9, True), (0.2, False), (0.6, True)]:
        ...     pairs.add(score, label)
        >>> pairs.n, pairs.positive.n
        (3, 2)
    """

    negative: Side = msgspec.field(default_factory=Side)
    positive: Side = msgspec.field(default_factory=Side)
    errors: Errors = msgspec.field(default_factory=Errors)
    outside: int = 0
    """Scores of a yes-or-no label that were no probabilities: counted, not measured."""

    @property
    def n(self) -> int:
        """How many pairs there are."""
        return self.negative.n + self.positive.n + self.errors.n + self.outside

    def add(self, score: float, label: float) -> None:
        """Count a finite score that was given before its label was known. Cost: 2 us."""
        self.take(said_of(score, label))

    def take(self, said: Said) -> None:
        """Count what was made of a score and its label: the same for every slice that they are in. Cost: 1 us."""
        if said.error is not None:
            self.errors.add(said.error)
        elif said.label is None:
            self.outside += 1
        else:
            (self.positive if said.label else self.negative).take(said)

    def revise(self, score: float, counted: float, label: float) -> None:
        """Count a pair with another label in the place of the one it was counted with."""
        if not isinstance(label, bool):
            self.errors.revise(score - label, score - counted)
        elif 0.0 <= score <= 1.0:
            (self.positive if counted else self.negative).take(said_of(score, counted), -1)
            self.add(score, label)

    def merged(self, other: Pairs) -> Pairs:
        """Return the pairs of both: exact, and in any order the same measures."""
        return Pairs(
            self.negative.merged(other.negative),
            self.positive.merged(other.positive),
            self.errors.merged(other.errors),
            self.outside + other.outside,
        )


_GREATEST_ERROR = 1e150


def merged(parts: Iterable[Pairs]) -> Pairs:
    """Return the pairs of all parts."""
    total = Pairs()
    for part in parts:
        total = total.merged(part)
    return total


def _sum(mine: dict[int, int], theirs: dict[int, int]) -> dict[int, int]:
    return {place: mine.get(place, 0) + theirs.get(place, 0) for place in sorted({*mine, *theirs})}


def _grown(partials: list[float], *terms: float) -> list[float]:
    """Return floats that do not overlap and whose exact sum is that of ``partials`` and ``terms``."""
    for term in terms:
        rest, kept = term, []
        for each in partials:
            big, small = (rest, each) if abs(rest) >= abs(each) else (each, rest)
            rest = big + small
            if lost := small - (rest - big):
                kept.append(lost)
        partials = [*kept, rest]
    return partials
