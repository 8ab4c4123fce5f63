"""How long labels take, and what that says of predictions whose labels are still to come.

Quick labels come first: of the predictions of the last days, those that have a label are not like the others. The
labels of one kind that some buckets have are therefore divided by the share of that kind that has come by now. The
shares are counted, of buckets whose horizon has passed; nothing is assumed of their shape. Where a kind has hardly come
at all yet, it is what is left of the predictions.

The shares of several buckets are averaged before, not the quotients behind: that is exact where the buckets have equal
rates, and the youngest bucket, of which a few percent are known, does not drown the others in its noise.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from online_models.quality.buckets import DELAY_BINS, Layout

LEAST_SHARE = 0.02
"""Below that share a kind's number says nothing: it would be multiplied by 50 and more."""

_AGES_A_BUCKET = 24


@dataclass(frozen=True, slots=True)
class Clock:
    """How far the log has come, in event time. Everything is judged as of then."""

    asked_ms: int
    """Of the newest prediction."""
    label_ms: int
    """Of the newest label, in the label partition that is furthest behind."""
    passed_ms: int
    """Predictions whose horizon ended before have met their label, or never will."""


@dataclass(frozen=True, slots=True)
class Counted:
    """What is known of some buckets."""

    predicted: Mapping[int, int]
    """Bucket to its number of predictions."""
    negatives: int
    positives: int


@dataclass(frozen=True, slots=True)
class Arrivals:
    """What share of each kind of label comes within how much time, of those that come at all."""

    layout: Layout
    cumulated: Mapping[str, tuple[float, ...]]
    """Kind to the share that took no longer than the end of each delay bin."""
    matured_ratio: float
    """The share of predictions that ever become examples."""

    @classmethod
    def of(
        cls, layout: Layout, delays: Iterable[Mapping[str, Mapping[int, int]]], *, predicted: int, matured: int
    ) -> Arrivals | None:
        """Return what buckets whose horizon has passed tell, None where they tell nothing."""
        totals: dict[str, list[int]] = {}
        for each in delays:
            for kind, counts in each.items():
                total = totals.setdefault(kind, [0] * (DELAY_BINS + 1))
                for place, count in counts.items():
                    total[place] += count
        if not totals or not predicted:
            return None
        cumulated = {kind: tuple((np.cumsum(total) / sum(total)).tolist()) for kind, total in totals.items()}
        return cls(layout, cumulated, min(1.0, matured / predicted))

    def expected(self, known: Counted, clock: Clock) -> tuple[float, float] | None:
        """Return how many labels will be False and True in the end, None where neither kind tells yet.

        Args:
            known: of the buckets asked about.
            clock: as of when.
        """
        false = self._whole("false", known.negatives, known, clock)
        true = self._whole("true", known.positives, known, clock)
        if false is None and true is None:
            return None
        asked = sum(known.predicted.values()) * self.matured_ratio
        if false is None:
            false = max(float(known.negatives), asked - (true or 0.0))
        if true is None:
            true = max(float(known.positives), asked - false)
        return false, true

    def _whole(self, kind: str, n: int, known: Counted, clock: Clock) -> float | None:
        predicted = sum(known.predicted.values())
        come = math.fsum(count * self.share(kind, bucket, clock) for bucket, count in known.predicted.items())
        return n * predicted / come if come and come >= LEAST_SHARE * predicted else None

    def share(self, kind: str, bucket: int, clock: Clock) -> float:
        """Return what share of a bucket's labels of that kind has come, its predictions evenly spread over its time."""
        known = self.cumulated.get(kind)
        if known is None:
            return 0.0
        start = bucket * self.layout.width_ms
        end = min(start + self.layout.width_ms, max(start, clock.asked_ms, clock.label_ms) + 1)
        asked = [start + (end - start) * (each + 0.5) / _AGES_A_BUCKET for each in range(_AGES_A_BUCKET)]
        return math.fsum(self._by_age(known, at_ms, clock) for at_ms in asked) / _AGES_A_BUCKET

    def _by_age(self, known: tuple[float, ...], at_ms: float, clock: Clock) -> float:
        """Return the share of a kind's labels that has come for a prediction of that time."""
        if at_ms + self.layout.within_ms < clock.passed_ms:
            return 1.0
        bins = max(0.0, (clock.label_ms - at_ms) * DELAY_BINS / self.layout.within_ms)
        whole = min(DELAY_BINS, int(bins))
        before = known[whole - 1] if whole else 0.0
        # Those behind the last bin come when the horizon has passed, and at no other time.
        return before if whole == DELAY_BINS else before + (known[whole] - before) * (bins - whole)
