"""Learners of River: one example at a time, built by the author's factory."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from river import base

from definitions.declared import LearnerDefinition
from definitions.encoder import Encoder, Vector
from definitions.values import Value
from online_models import restricted, snapshots
from online_models.errors import ArtefactRefused, LabelRefused, LearnerUnusable
from online_models.learners import Cut

_LIBRARIES = {"river": version("river")}
UNDECIDED = 0.5
"""The probability that a classifier gives which has seen no label yet."""


class RiverLearner:
    """An estimator of River behind the learner's contract. Implements `online_models.learners.OnlineLearner`.

    A classifier's score is the probability of True, a regressor's the value. A missing value is left out of what the
    estimator sees, a category is the key ``name=value``: both are the encoder's work.

    Cost (25 inputs, scaler and logistic regression): 20 us to score, 35 us to learn, 0.1 ms to save.
    """

    def __init__(self, definition: LearnerDefinition, encoder: Encoder) -> None:
        self.name = definition.name
        self.learned = 0
        self.digest = ""
        self._encoder = encoder
        self._estimator, self._classifies = _build(definition)
        self._allowed = restricted.globals_of(self._estimator, where=definition.name)

    @classmethod
    def restore(
        cls, definition: LearnerDefinition, encoder: Encoder, *, data: bytes, digest: str
    ) -> tuple[RiverLearner, Cut]:
        """Return the learner that a snapshot holds, and where it stands in the logs.

        Raises:
            ArtefactRefused: the bytes do not have the digest, are of another learner or another River, or name what
                this learner is not made of.
        """
        snapshot = snapshots.unseal(data, digest)
        learner = cls(definition, encoder)
        if snapshot.learner != definition.name:
            raise ArtefactRefused(
                f"cannot load snapshot: {digest[:12]}: expected learner {definition.name}, got {snapshot.learner}"
            )
        if snapshot.libraries != _LIBRARIES:
            raise ArtefactRefused(
                f"cannot load snapshot: {digest[:12]}: expected {_LIBRARIES}, got {snapshot.libraries}; "
                "run `headrace batch train` to start the learner anew"
            )
        estimator = restricted.load(snapshot.state, allowed=learner._allowed)
        learner._take(estimator, snapshot.learned, digest)
        return learner, snapshot.cut

    def score_many(self, vectors: Sequence[Vector]) -> list[float]:
        """Return one score per vector, in order."""
        for vector in vectors:
            self._encoder.check(vector)
        mapping, score = self._encoder.mapping, self._probability if self._classifies else self._value
        return [score(mapping(vector)) for vector in vectors]

    def learn_one(self, vector: Vector, label: Value) -> None:
        """Learn one example; for a classifier the label is True or False."""
        self._encoder.check(vector)
        target = self._target(label)
        self._estimator.learn_one(self._encoder.mapping(vector), target)
        self.learned += 1
        self.digest = ""

    def snapshot(self, cut: Cut) -> bytes:
        """Return the whole state as bytes."""
        state = restricted.save(self._estimator, where=self.name)
        data = snapshots.seal(learner=self.name, cut=cut, learned=self.learned, libraries=_LIBRARIES, state=state)
        self.digest = snapshots.digest_of(data)
        return data

    def _take(self, estimator: object, learned: int, digest: str) -> None:
        if type(estimator) is not type(self._estimator):
            raise ArtefactRefused(
                f"cannot load snapshot: {digest[:12]}: expected a {type(self._estimator).__name__}, "
                f"got a {type(estimator).__name__}"
            )
        self._estimator, self.learned, self.digest = estimator, learned, digest

    def _probability(self, features: dict[str, Any]) -> float:
        probabilities = self._estimator.predict_proba_one(features)
        return self._finite(probabilities.get(True, 0.0) if probabilities else UNDECIDED)

    def _value(self, features: dict[str, Any]) -> float:
        return self._finite(self._estimator.predict_one(features) or 0.0)

    def _finite(self, score: float) -> float:
        if not math.isfinite(score):
            raise LearnerUnusable(f"cannot score: {self.name}: expected a finite score, got {score}")
        return float(score)

    def _target(self, label: Value) -> bool | float:
        if self._classifies and isinstance(label, bool):
            return label
        if not self._classifies and isinstance(label, int | float) and abs(label) <= sys.float_info.max:
            return float(label)
        expected = "true or false" if self._classifies else "a finite number"
        raise LabelRefused(f"cannot learn: {self.name}: expected {expected} as label, got {label!r}")


def _build(definition: LearnerDefinition) -> tuple[Any, bool]:
    """Return the author's estimator, freshly built, and whether it classifies."""
    built = definition.factory() if definition.factory is not None else None
    if isinstance(built, base.Classifier | base.Regressor):
        return built, isinstance(built, base.Classifier)
    raise LearnerUnusable(
        f"cannot build learner: {definition.name}: expected a factory of a River classifier or regressor, "
        f"got {type(built).__name__}"
    )
