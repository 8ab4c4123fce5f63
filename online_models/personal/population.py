"""What a personal model knows of all its entities together: scales, priors, forgetting, noise, the offset's version.

One cell, committed in the link of the entities that moved it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import msgspec
import numpy as np

from online_models.personal.evidence import Float64s

MEASURED = 200
"""So many examples measure the centre and the scale of each feature, before it has coefficients; then they stay."""
CLIPPED = 5.0
"""No feature counts as further from its centre than so many scales: one wild value must not move an entity far."""
DEFAULT_PRIOR = 0.05
"""Variance of a coefficient among entities before any were seen; in the offset's noise where labels are numbers."""
PRIOR_WEIGHT = 2.0
"""What that is worth beside what is seen: well-determined coefficients."""
PRIOR_WINDOW = 20_000
"""Visits after which what was seen counts a third in the prior, so that a poor early prior is forgotten."""
SMALLEST, LARGEST = 1e-6, 10.0
"""What a fitted prior may be."""
GRACE_MS = 60_000
"""How much newer a prediction has to be to bring a trained version back that was replaced: predictions of processes
that swap one after the other must not count as a swap each."""

REFIT_EVERY = 16
"""Visits after which the prior moves."""

_FADE = 1.0 - 1.0 / PRIOR_WINDOW
_JUDGED = 1_000
_CONVINCING = 3.0
_FIRST_RATE, _LARGEST_RATE, _SMALLEST_RATE = 0.002, 0.1, 0.0005


class Forgetting(msgspec.Struct, array_like=True):
    """How fast one kind of entity forgets: ``rate`` of its evidence with each of its examples.

    Nothing is forgotten until the slope of the loss says with 3 standard errors that it would have helped, over 1,000
    examples together; then the rate is doubled or halved by the same rule. A stable world keeps everything.
    """

    rate: float = 0.0
    judged: int = 0
    slope: float = 0.0
    squares: float = 0.0

    def judge(self, slope: float) -> None:
        """Take in by how much more the loss of one example would be if nothing had been forgotten for it."""
        self.judged += 1
        self.slope += slope
        self.squares += slope * slope
        if self.judged < _JUDGED:
            return
        evidence = self.slope / math.sqrt(self.squares) if self.squares else 0.0
        if evidence > _CONVINCING:
            self.rate = min(_LARGEST_RATE, 2 * self.rate or _FIRST_RATE)
        elif evidence < -_CONVINCING:
            halved = self.rate / 2
            self.rate = halved if halved >= _SMALLEST_RATE else 0.0
        self.judged, self.slope, self.squares = 0, 0.0, 0.0


@dataclass(slots=True, eq=False)
class Kind:
    """One kind of entity: how much its entities differ, coefficient by coefficient, and how fast they change.

    A coefficient of mean m and variance v under the prior t is determined by g = 1 - v / t. Whatever t was, the mean of
    m^2 - v g over entities is g^2 times the true prior, so the prior is the ratio of both sums: one step of Fisher
    scoring. They grow when an entity has 1, 2, 4, 8, ... examples, so that the many entities count and not the few big
    ones.
    """

    spread: Float64s
    """Sum of m^2 - v g."""
    determined: Float64s
    """Sum of g^2: 0 where the prior is all that is known, 1 where it is forgotten."""
    precisions: Float64s
    """One over the prior, as it is in force."""
    visits: int = 0
    begun: int = 0
    """How many entities were begun with."""
    forgetting: Forgetting = field(default_factory=Forgetting)

    def visit(self, means: Float64s, variances: Float64s, unit: float) -> None:
        """Take in what is known of an entity; the prior moves every `REFIT_EVERY` visits.

        Args:
            means: of its coefficients.
            variances: likewise.
            unit: what the prior is measured in: 1, or the variance of the labels around their scores.
        """
        self.visits += 1
        determined = 1.0 - variances * self.precisions / unit
        self.spread = _FADE * self.spread + (means * means - variances * determined) / unit
        self.determined = _FADE * self.determined + determined * determined
        if self.visits % REFIT_EVERY == 0:
            fitted = np.minimum(LARGEST, np.maximum(SMALLEST, self.spread / self.determined))
            self.precisions = 1.0 / fitted


@dataclass(slots=True, eq=False)
class Population:
    """Everything but the entities themselves. A function of the examples so far."""

    kinds: list[Kind]
    centres: Float64s
    squares: Float64s
    """Per feature, while it is measured: sums of squared distances from the centre. Afterwards its scale."""
    counts: Float64s
    measured: int = 0
    """Examples that the scales were measured on."""
    noise: tuple[float, float] = (0.0, 0.0)
    """Sum and weight of squared residuals, where labels are numbers."""
    base: int = 0
    """Number of the offset's trained version; raised when another one is learned on."""
    digest: str = ""
    before: str = ""
    """The digest of the version before."""
    newest_ms: int = 0
    """Event time of the newest prediction of the version in force."""
    learned: int = 0

    @classmethod
    def empty(cls, *, kinds: int, features: int, prior: float | None) -> Population:
        """Return what is known before the first example."""
        width, variance = features + 1, DEFAULT_PRIOR if prior is None else prior
        return cls(
            [
                Kind(
                    np.full(width, variance * PRIOR_WEIGHT),
                    np.full(width, PRIOR_WEIGHT),
                    np.full(width, 1.0 / variance),
                )
                for _ in range(kinds)
            ],
            centres=np.zeros(features),
            squares=np.zeros(features),
            counts=np.zeros(features),
        )

    def meet(self, digest: str, at_ms: int) -> bool:
        """Take in which version an example's offset is of; return whether it is the one in force by now.

        Another version is in force from the first prediction on that is newer than those of the one before; the one
        before comes back by a prediction that is a minute newer.
        """
        if digest != self.digest or not self.base:
            grace_ms = GRACE_MS if digest == self.before else 0
            if self.base and at_ms <= self.newest_ms + grace_ms:
                return False
            self.digest, self.before, self.base = digest, self.digest, self.base + 1
        self.newest_ms = max(self.newest_ms, at_ms)
        return True

    def measure(self, values: Float64s) -> None:
        """Take in the features of one example, NaN for one that is missing, while scales are measured."""
        self.measured += 1
        there = ~np.isnan(values)
        steps = np.where(there, values - self.centres, 0.0)
        self.counts = self.counts + there
        self.centres = self.centres + steps / np.maximum(1.0, self.counts)
        self.squares = self.squares + steps * np.where(there, values - self.centres, 0.0)
        if self.measured == MEASURED:
            self.squares = np.sqrt(self.squares / np.maximum(1.0, self.counts))

    def scaled(self, values: Float64s) -> Float64s:
        """Return features as coefficients are multiplied with them: 0 where a feature has no scale (yet)."""
        if self.measured < MEASURED:
            return np.zeros(len(values))
        scales = self.squares
        steps = (values - self.centres) / np.where(scales > 0.0, scales, np.inf)
        found: Float64s = np.minimum(CLIPPED, np.maximum(-CLIPPED, steps))
        return found

    @property
    def variance(self) -> float:
        """The variance of a label around its score, where labels are numbers; 1 before there was any."""
        total, weight = self.noise
        return total / weight if total else 1.0

    def to_bytes(self) -> bytes:
        """Return the state."""
        kinds = [
            (*map(_bytes, (each.spread, each.determined, each.precisions)), each.visits, each.begun, each.forgetting)
            for each in self.kinds
        ]
        features = tuple(map(_bytes, (self.centres, self.squares, self.counts)))
        return msgspec.msgpack.encode((kinds, features, tuple(getattr(self, name) for name in _REST)))

    @classmethod
    def from_bytes(cls, data: bytes) -> Population:
        """Return the population that the bytes were made of.

        Raises:
            msgspec.DecodeError: they are of none.
        """
        kinds, features, rest = _DECODER.decode(data)
        centres, squares, counts = map(_array, features)
        measured, noise, base, digest, before, newest_ms, learned = rest
        return cls(
            [Kind(_array(one), _array(two), _array(three), n, m, fade) for one, two, three, n, m, fade in kinds],
            centres,
            squares,
            counts,
            measured=measured,
            noise=noise,
            base=base,
            digest=digest,
            before=before,
            newest_ms=newest_ms,
            learned=learned,
        )


def _bytes(numbers: Float64s) -> bytes:
    return numbers.astype(_STORED).tobytes()


def _array(data: bytes) -> Float64s:
    return np.frombuffer(data, _STORED)


_STORED = np.dtype("<f8")
_REST = ("measured", "noise", "base", "digest", "before", "newest_ms", "learned")
_Three = tuple[bytes, bytes, bytes]
_Rest = tuple[int, tuple[float, float], int, str, str, int, int]
_DECODER = msgspec.msgpack.Decoder(tuple[list[tuple[bytes, bytes, bytes, int, int, Forgetting]], _Three, _Rest])
