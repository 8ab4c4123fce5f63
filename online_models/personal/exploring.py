"""Thompson sampling: scores drawn from what is believed, and how probable it was that they fell as they did.

A draw adds ``deviation * z``, z standard normal: the deviation is the root of the variance. (A sampler that takes the
precision in its place jitters what is certain and leaves alone what is not.)
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

_NORMAL = NormalDist()
_WORDS = 2.0**64
_NODES = 64


def draw(adds: float, deviation: float, *, seed: str) -> float:
    """Return what a belief adds this time: the same for the same seed, so that it can be had again from the log."""
    word = int.from_bytes(hashlib.blake2b(seed.encode(), digest_size=8).digest(), "big")
    return adds + deviation * _NORMAL.inv_cdf((word + 0.5) / _WORDS if word < _WORDS - 1024 else 1.0 - 2.0**-53)


def propensity_of_side(mean: float, deviation: float, *, threshold: float, drawn: float) -> float:
    """Return how probable it was that a draw is on the same side of the threshold as ``drawn``, all on one scale."""
    is_above = drawn >= threshold
    if deviation == 0.0:
        return float(is_above == (mean >= threshold))
    above = _NORMAL.cdf((mean - threshold) / deviation)
    return above if is_above else 1.0 - above


def propensities(means: Sequence[float], deviations: Sequence[float]) -> list[float]:
    """Return how probable it is that each of some independent beliefs gives the greatest draw.

    For callers that ask for several candidates and take the greatest: what a reply says of each is enough to know the
    propensity of the choice. By quadrature over the draws of each: within 1e-3 for 10 of like deviations.
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
    weights = weights / weights.sum()
    found = []
    for place, (mean, deviation) in enumerate(zip(means, deviations, strict=True)):
        drawn = mean + deviation * nodes
        beaten = np.ones(_NODES)
        for other, (mean_of, deviation_of) in enumerate(zip(means, deviations, strict=True)):
            if other != place:
                beaten *= [_below(each, mean_of, deviation_of) for each in drawn]
        found.append(float(weights @ beaten))
    total = math.fsum(found)
    return [each / total for each in found]


def _below(value: float, mean: float, deviation: float) -> float:
    if deviation == 0.0:
        return 0.5 * ((value > mean) + (value >= mean))
    return _NORMAL.cdf((value - mean) / deviation)
