"""What is told of a learner: measures of windows of prediction time, with coverage, final or provisional."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from online_models.quality.arrivals import Arrivals, Clock, Counted
from online_models.quality.buckets import ALL, Bucket, Layout, Slice
from online_models.quality.measures import Measures, Weighted, measure
from online_models.quality.pairs import Pairs, merged

FINAL, PROVISIONAL = "final", "provisional"
WINDOW = 7
"""Buckets of a window, where nothing else is asked for."""
HALF_LIFE = 7.0
"""After so many buckets a pair counts half, where measures fade."""


@dataclass(frozen=True, slots=True)
class Told:
    """What is known of one learner's scores in some buckets."""

    first: int
    last: int
    """Buckets, both included."""
    mark: str
    """``final`` if every horizon has passed, else ``provisional``."""
    predicted: int
    matured: int
    """Predictions that have become examples."""
    measures: Measures
    """Of the labels that have come, whatever they stand for."""
    corrected: Measures | None = None
    """Of provisional pairs, each weighted for the labels that are still to come; None where that cannot be told."""

    @property
    def coverage(self) -> float | None:
        """The share of predictions whose label is known, None where there are none."""
        return self.matured / self.predicted if self.predicted else None

    @property
    def best(self) -> Measures:
        """What to go by: the corrected measures where there are such."""
        return self.corrected or self.measures


class Quality:
    """Everything that is known of how well a model's learners do, as of one moment of the log.

    Args:
        layout: of the model.
        buckets: by number, parts of all partitions merged.
        clock: how far the log has come; None where no horizon is known to have passed.
    """

    def __init__(self, layout: Layout, buckets: Mapping[int, Bucket], clock: Clock | None) -> None:
        self.layout = layout
        self.clock = clock
        self._buckets = dict(sorted(buckets.items()))
        self._arrivals = self._observed()

    @property
    def numbers(self) -> list[int]:
        """The buckets in which something was predicted, oldest first."""
        return list(self._buckets)

    @property
    def learners(self) -> list[str]:
        """The learners that gave scores."""
        whole = [bucket.slices.get(ALL, Slice()) for bucket in self._buckets.values()]
        return sorted({name for each in whole for name in (*each.predicted, *each.pairs)})

    @property
    def slices(self) -> list[str]:
        """The slices that something was predicted in, the whole first."""
        return sorted({name for bucket in self._buckets.values() for name in bucket.slices})

    def is_final(self, bucket: int) -> bool:
        """Return whether every prediction of the bucket has met its label, or never will."""
        end_ms = (bucket + 1) * self.layout.width_ms
        return self.clock is not None and end_ms + self.layout.within_ms <= self.clock.passed_ms

    def final(self, window: int = WINDOW) -> list[int]:
        """Return the newest buckets that are final, at most ``window``."""
        return [each for each in self._buckets if self.is_final(each)][-window:]

    def newest(self, window: int = WINDOW) -> list[int]:
        """Return the newest buckets, at most ``window``."""
        return self.numbers[-window:]

    def told(self, learner: str, numbers: Sequence[int], slice_name: str = ALL) -> Told | None:
        """Return what is known of a learner in some buckets, None where there are none. Cost: 30 us a bucket."""
        if not numbers:
            return None
        parts = {number: self._part(number, slice_name) for number in numbers}
        predicted = {number: each.predicted.get(learner, 0) for number, each in parts.items()}
        whole = merged(each.pairs.get(learner, Pairs()) for each in parts.values())
        is_final = all(map(self.is_final, numbers))
        return Told(
            first=min(numbers),
            last=max(numbers),
            mark=FINAL if is_final else PROVISIONAL,
            predicted=sum(predicted.values()),
            matured=whole.n,
            measures=measure([Weighted(whole)]),
            corrected=None if is_final else self._corrected(predicted, whole),
        )

    def faded(self, learner: str, slice_name: str = ALL, half_life: float = HALF_LIFE) -> Measures:
        """Return the measures of all pairs, each bucket counting less the older it is."""
        newest = max(self._buckets, default=0)
        weights = {number: 0.5 ** ((newest - number) / half_life) for number in self._buckets}
        parts = [(weights[each], self._part(each, slice_name).pairs.get(learner, Pairs())) for each in self._buckets]
        return measure([Weighted(pairs, weight, weight) for weight, pairs in parts])

    def _part(self, number: int, slice_name: str) -> Slice:
        return self._buckets.get(number, Bucket()).slices.get(slice_name, Slice())

    def _observed(self) -> Arrivals | None:
        done = [bucket for number, bucket in self._buckets.items() if self.is_final(number)]
        whole = [bucket.slices.get(ALL, Slice()) for bucket in done]
        predicted = sum(max(each.predicted.values(), default=0) for each in whole)
        matured = sum(max((pairs.n for pairs in each.pairs.values()), default=0) for each in whole)
        return Arrivals.of(self.layout, (bucket.delays for bucket in done), predicted=predicted, matured=matured)

    def _corrected(self, predicted: Mapping[int, int], pairs: Pairs) -> Measures | None:
        """Return the measures with each side of the pairs weighted to the number of labels that it has in the end."""
        if self._arrivals is None or self.clock is None or pairs.errors.n or pairs.outside:
            return None
        known = Counted(predicted, pairs.negative.n, pairs.positive.n)
        ends = self._arrivals.expected(known, self.clock)
        if ends is None or not sum(ends):
            return None
        sides = [(end, side.n) for end, side in zip(ends, (pairs.negative, pairs.positive), strict=True)]
        if any(end and not n for end, n in sides):
            # Nothing is known yet of the scores of one side, only how many there will be.
            return Measures(pairs.n, positives_ratio=ends[1] / sum(ends))
        negative, positive = (end / n if n else 1.0 for end, n in sides)
        return measure([Weighted(pairs, negative, positive)])
