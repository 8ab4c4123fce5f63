"""Ensembles: the scores of other learners combined, by their mean or by that of their log-odds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from definitions.declared import LearnerDefinition
from definitions.encoder import Vector
from definitions.learners import LOGIT, MEAN
from online_models.errors import LearnerUnusable
from online_models.learners import Combiner, Scorer
from online_models.learners.describing import require_described

_SUREST = 1e-9
"""How near to 0 and 1 a probability may come: log-odds of certainty would be infinite."""


class Ensemble:
    """A weighted mean of members' scores. Implements `online_models.learners.Combiner`.

    Sums are exact, so the order of members does not matter. Cost: 1 us a vector.
    """

    def __init__(self, definition: LearnerDefinition, *, data: bytes, digest: str) -> None:
        """Take the ensemble that is declared, after it was found to be the one in the release.

        Raises:
            ArtefactRefused: other members or weights.
        """
        require_described(definition, data=data, digest=digest)
        self.name = definition.name
        self.digest = digest
        self.members = tuple(definition.members)
        total = math.fsum(definition.members.values())
        self._weights = [weight / total for weight in definition.members.values()]
        self._into, self._back = _SCALES[str(definition.parameters["by"])]

    def combine(self, vectors: Sequence[Vector], scores: Sequence[Sequence[float]]) -> list[float]:
        """Return one score per vector, in order."""
        del vectors
        return [self._one(each) for each in zip(*scores, strict=True)]

    def _one(self, scores: Sequence[float]) -> float:
        into = self._into
        terms = [weight * into(score) for weight, score in zip(self._weights, scores, strict=True)]
        return self._back(math.fsum(terms))


class Combined:
    """A combiner with scorers as its members. Implements `online_models.learners.Scorer`, for training and tests.

    Where a model is served, the executor combines: there each member is asked once, for whoever needs its scores.
    """

    def __init__(self, combiner: Combiner, scorers: Mapping[str, Scorer]) -> None:
        self.name = combiner.name
        self.digest = combiner.digest
        self._combiner = combiner
        self._members = [scorers[member] for member in combiner.members]

    def score_many(self, vectors: Sequence[Vector]) -> list[float]:
        """Return one score per vector, in order."""
        return self._combiner.combine(vectors, [member.score_many(vectors) for member in self._members])


def _log_odds(probability: float) -> float:
    if not 0.0 <= probability <= 1.0:
        raise LearnerUnusable(f"cannot combine log-odds: expected probabilities, got {probability}")
    within = min(1.0 - _SUREST, max(_SUREST, probability))
    return math.log(within / (1.0 - within))


def _probability(log_odds: float) -> float:
    return 1.0 / (1.0 + math.exp(-log_odds))


_Scale = Callable[[float], float]
_SCALES: Mapping[str, tuple[_Scale, _Scale]] = {MEAN: (float, float), LOGIT: (_log_odds, _probability)}
