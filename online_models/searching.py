"""Search while streaming: many settings of an estimator learn from the same examples, and the worse half gives up.

One pass. Each example is a test before it is a lesson, for every setting that is still in. A rung is a stretch of
examples; at its end those settings stay that did best on it, a half of them, and the next rung is twice as long. What
is compared is the loss on the rung alone: how a setting did when it knew little says nothing of how it will do.

The search is an estimator of River itself, which predicts as its leader does: it is saved, restored, scored, measured
and routed as any other.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from river import base

from definitions.declared import LearnerDefinition
from definitions.values import Scalar
from online_models import restricted, snapshots
from online_models.errors import LearnerUnusable
from online_models.progress import log_loss_one

Setting = dict[str, Scalar]

LEAST_SETTINGS = 2


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a search has come."""

    settings: int
    """How many there were."""
    alive: int
    leader: Setting
    loss: float | None
    """The leader's mean loss on the last rung that ended: log loss in nats, or squared error. None before."""
    learned: int
    """Examples that the search has seen."""
    work: int
    """How often any setting learned one."""

    @property
    def is_over(self) -> bool:
        """Whether only the winner is left."""
        return self.alive == 1

    @property
    def work_ratio(self) -> float:
        """The share of the work of letting every setting learn every example."""
        return self.work / (self.learned * self.settings) if self.learned else 1.0


class _Halving:
    """What a search for a classifier and one for a regressor have in common.

    Args:
        models: freshly built, one a setting; they must not share state.
        settings: what each was built with.
        examples: after so many only the winner is left.
    """

    def __init__(self, models: Sequence[Any], settings: Sequence[Setting], examples: int) -> None:
        self.models: list[Any] = list(models)
        """None where a setting has given up."""
        self.settings = [dict(each) for each in settings]
        self.examples = examples
        self.leader = 0
        self.loss: float | None = None
        self.learned = 0
        self.work = 0
        self._alive = list(range(len(self.models)))
        self._losses = [0.0] * len(self.models)
        self._on_rung = 0
        self._first_rung = first_rung(len(self.models), examples)
        self._rung = 0

    def learn_one(self, x: dict[Hashable, Any], y: Any) -> None:
        """Test and train every setting that is still in."""
        for place in self._alive:
            model = self.models[place]
            if len(self._alive) > 1:
                self._losses[place] += self._loss(model, x, y)
            model.learn_one(x, y)
        self.learned += 1
        self.work += len(self._alive)
        self._on_rung += 1
        if len(self._alive) > 1 and self._on_rung >= self._first_rung << self._rung:
            self._end_rung()

    def _end_rung(self) -> None:
        # Python's sort keeps the order of equals: of two settings that did equally well the first declared stays.
        ranked = sorted(self._alive, key=lambda place: _or_infinite(self._losses[place]))
        kept = sorted(ranked[: math.ceil(len(ranked) / 2)])
        self.leader, self.loss = ranked[0], self._losses[ranked[0]] / self._on_rung
        for place in ranked[len(kept) :]:
            self.models[place] = None
        self._alive = kept
        self._losses = [0.0] * len(self.models)
        self._on_rung = 0
        self._rung += 1

    def _loss(self, model: Any, x: dict[Hashable, Any], y: Any) -> float:
        raise NotImplementedError

    @property
    def standing(self) -> Standing:
        """How far the search has come."""
        leader = dict(self.settings[self.leader])
        return Standing(len(self.settings), len(self._alive), leader, self.loss, self.learned, self.work)


class HalvingClassifier(_Halving, base.Classifier):
    """A search among classifiers of True and False, by log loss."""

    def predict_proba_one(self, x: dict[Hashable, Any], **kwargs: Any) -> dict[Any, float]:
        """Return what the leader says."""
        found: dict[Any, float] = self.models[self.leader].predict_proba_one(x, **kwargs)
        return found

    @property
    def _multiclass(self) -> bool:
        return False

    def _loss(self, model: Any, x: dict[Hashable, Any], y: Any) -> float:
        said = model.predict_proba_one(x)
        return log_loss_one(said.get(True, 0.0) if said else 0.5, bool(y))


class HalvingRegressor(_Halving, base.Regressor):
    """A search among regressors, by squared error."""

    def predict_one(self, x: dict[Hashable, Any]) -> Any:
        """Return what the leader says."""
        return self.models[self.leader].predict_one(x)

    def _loss(self, model: Any, x: dict[Hashable, Any], y: Any) -> float:
        error = float(model.predict_one(x) or 0.0) - float(y)
        return error * error


def searched(models: Sequence[object], settings: Sequence[Mapping[str, Scalar]], examples: int) -> _Halving:
    """Return a search among freshly built estimators.

    Raises:
        LearnerUnusable: they are not all classifiers or all regressors, or there are too few examples to tell them
            apart.
    """
    given = [dict(each) for each in settings]
    if len(models) < LEAST_SETTINGS or examples < least_examples(len(models)):
        raise LearnerUnusable(
            f"cannot search: {len(models)} settings: expected at least {LEAST_SETTINGS}, and "
            f"examples={least_examples(len(models))} or more, got examples={examples}"
        )
    if all(isinstance(each, base.Classifier) for each in models):
        return HalvingClassifier(models, given, examples)
    if all(isinstance(each, base.Regressor) for each in models):
        return HalvingRegressor(models, given, examples)
    kinds = sorted({type(each).__name__ for each in models})
    raise LearnerUnusable(f"cannot search: expected River classifiers, or River regressors, got {', '.join(kinds)}")


def standing_in(definition: LearnerDefinition, *, data: bytes, digest: str) -> Standing | None:
    """Return how far the search has come that a snapshot holds, None where the learner is no search.

    Raises:
        ArtefactRefused: the bytes are not what their digest, or the learner, expects.
    """
    fresh = None if definition.factory is None else definition.factory()
    if not isinstance(fresh, _Halving):
        return None
    state = snapshots.unseal(data, digest).state
    found = restricted.load(state, allowed=restricted.globals_of(fresh, where=definition.name))
    return found.standing if isinstance(found, _Halving) else None


def rungs(settings: int) -> int:
    """Return how many rungs it takes until one is left."""
    return math.ceil(math.log2(settings))


def first_rung(settings: int, examples: int) -> int:
    """Return how many examples the first rung has, so that all of them together have at most ``examples``."""
    return examples // ((1 << rungs(settings)) - 1)


def least_examples(settings: int) -> int:
    """Return how many examples a search has to have: one and more a rung."""
    return max(1, (1 << rungs(max(LEAST_SETTINGS, settings))) - 1)


def _or_infinite(loss: float) -> float:
    return math.inf if math.isnan(loss) else loss
