"""From evidence and prior to what is believed of one entity's coefficients, and back with one more example."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from online_models.personal.evidence import Evidence, Float64s, rounded

LEAST_CURVATURE = 1e-9
"""What a score that is next to certain still counts: its examples tell next to nothing, and must not divide by 0."""


@dataclass(slots=True, eq=False)
class Covariates:
    """What coefficients are multiplied with in one example: 1 for the intercept, and every feature."""

    values: Float64s
    squares: Float64s

    @classmethod
    def of(cls, values: Float64s) -> Covariates:
        """Return them with their squares."""
        return cls(values, values * values)


@dataclass(slots=True, eq=False)
class Belief:
    """A normal distribution of an entity's coefficients, and of what they add for one example."""

    means: Float64s
    variances: Float64s
    adds: float
    variance: float
    """Of `adds`."""
    parts: Float64s
    """Diagonal: what each coefficient adds; full: all of them together."""
    unsure: Float64s
    """Diagonal: the variance of each part; full: of all together."""


def believe(evidence: Evidence, precisions: Float64s, covariates: Covariates) -> Belief:
    """Return what evidence and a prior say together; ``precisions`` are the prior's."""
    values = covariates.values
    strength: NDArray[Any] = evidence.strength
    pull: NDArray[Any] = evidence.pull
    if len(strength) == len(pull):
        variances: Float64s = 1.0 / (strength + precisions)
        means: Float64s = variances * pull
        parts, unsure = values * means, covariates.squares * variances
        adds, variance = float(np.add.reduce(parts)), float(np.add.reduce(unsure))
        return Belief(means, variances, adds, variance, parts, unsure)
    covariance: NDArray[Any] = np.linalg.inv(_square(evidence.strength, precisions))
    means = covariance @ pull
    adds, variance = float(values @ means), float(values @ covariance @ values)
    return Belief(means, covariance.diagonal(), adds, variance, np.array([adds]), np.array([variance]))


def take_in(  # noqa: PLR0913  # the parts of one formula
    evidence: Evidence,
    belief: Belief,
    covariates: Covariates,
    *,
    gradient: float,
    curvature: float,
    variance: float,
    rate: float,
) -> None:
    """Change evidence by one example.

    Each block (a coefficient where the covariance is diagonal, else the entity) takes what all other blocks are unsure
    of as noise: their steps then add up to that of the exact joint update, and many features do not overshoot.

    Args:
        evidence: changed.
        belief: what it said before.
        covariates: of the example.
        gradient: of the log-likelihood at the score.
        curvature: likewise, above 0.
        variance: of what all entities of the example add.
        rate: the share of the evidence so far that is forgotten.
    """
    strength: NDArray[Any] = evidence.strength
    pull: NDArray[Any] = evidence.pull
    faded, slackened = evidence.fading
    keep = 1.0 - rate
    evidence.fading = rounded(keep * faded - float(strength[0])), rounded(keep * slackened - float(pull[0]))
    if rate:
        strength, pull = keep * strength, keep * pull
    weights = 1.0 / ((1.0 / curvature + variance) - belief.unsure)
    pulled = covariates.values * (weights * (belief.parts + gradient / curvature))
    if len(strength) == len(pull):
        strengthened = weights * covariates.squares
    else:
        rows, columns = _triangle(len(pull))
        strengthened = weights * covariates.values[rows] * covariates.values[columns]
    evidence.strength = (strength + strengthened).astype(np.float32)
    evidence.pull = (pull + pulled).astype(np.float32)
    evidence.n += 1


def weaken(evidence: Evidence, kept: float, precisions: Float64s) -> None:
    """Let evidence weigh less without moving the means that it gives under a prior."""
    strength: NDArray[Any] = evidence.strength
    weaker = (kept * strength).astype(np.float32)
    if len(strength) == len(evidence.pull):
        means: NDArray[Any] = evidence.pull / (strength + precisions)
        pull: NDArray[Any] = means * (weaker + precisions)
    else:
        means = np.linalg.solve(_square(strength, precisions), evidence.pull.astype(np.float64))
        pull = _square(weaker, precisions) @ means
    evidence.strength, evidence.pull = weaker, pull.astype(np.float32)


def _square(triangle: NDArray[np.float32], precisions: Float64s) -> Float64s:
    """Return the symmetric matrix whose upper triangle is given, row by row, the precisions added to its diagonal."""
    width = len(precisions)
    square: Float64s = triangle.astype(np.float64)[_places(width)]
    square.ravel()[:: width + 1] += precisions
    return square


@lru_cache
def _triangle(width: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    return np.triu_indices(width)


@lru_cache
def _places(width: int) -> NDArray[np.intp]:
    """Return where in the triangle each number of the square is."""
    places = np.zeros((width, width), dtype=np.intp)
    places[_triangle(width)] = np.arange(width * (width + 1) // 2)
    return np.maximum(places, places.T)
