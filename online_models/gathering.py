"""Examples learned many at once: they wait in the estimator until there are enough, then one call learns them all.

What waits is part of the estimator's state: saved, restored and digested with it. So which examples are learned
together follows from their order alone, the first ``size`` of them, the next ``size``, and so on; how the log was read,
where a snapshot was cut and who was killed has no part in it. The last few wait until enough others have come.

A call of River's mini-batches takes a table, which has no gaps. What the encoder leaves out is put in or kept apart: a
category is a column of 0 or 1 from the first time it is seen, for learning and for scoring, and the examples that lack
the same numbers are learned together, the columns of those numbers left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from river import base
from river.base import AnomalyDetector

from online_models.errors import LearnerUnusable

Features = dict[Any, Any]
Waiting = tuple[Features, Any, float | None]
"""What is known of an example, its label, its weight where one is declared."""

_IS = "="
"""In the key of a category, as the encoder writes it: ``carrier=UA``."""


class NotLearnedTogether(RuntimeError):  # noqa: N818  # a state of the examples
    """Examples that the estimator could not learn at once. It may have changed on the way."""


class _Gathering:
    """What gathering for a classifier, a regressor and an anomaly detector has in common.

    Args:
        model: freshly built.
        size: so many examples are learned at once.
    """

    def __init__(self, model: Any, size: int) -> None:
        self.model = model
        self.size = size
        self.waiting: list[Waiting] = []
        self.categories: list[str] = []
        """Keys of categories that were ever learned, sorted."""

    def _say(self, x: Features) -> object:
        raise NotImplementedError

    def _gather(self, x: Features, y: Any, w: float | None) -> None:
        if not self.waiting:
            # A pipeline notes how to ask its steps when it is asked first. It would not by learning many, and a
            # learner that was asked would be told from an equal one that was not.
            self._say(x)
        self.waiting.append((x, y, w))
        if len(self.waiting) < self.size:
            return
        together, self.waiting = self.waiting, []
        met = {key for x, _, _ in together for key in x if _IS in key}
        self.categories = sorted(met.union(self.categories))
        # Boundary: the estimator is the author's, and which of the examples it stumbled over it does not say.
        try:
            for numbers, examples in _alike(together).items():
                self._learn([*numbers, *self.categories], examples)
        except Exception as error:
            raise NotLearnedTogether(
                f"cannot learn {self.size} examples at once: {type(error).__name__}: {error}; they are left out"
            ) from error

    def _learn(self, columns: Sequence[str], examples: Sequence[Waiting]) -> None:
        import pandas as pd  # noqa: PLC0415  # an extra, slow to import, needed only where such a learner learns

        zeros = [0.0] * len(columns)
        given = np.array([list(map(x.get, columns, zeros)) for x, _, _ in examples], dtype=np.float64)
        table = pd.DataFrame(given.reshape(len(examples), len(columns)), columns=list(columns))
        if isinstance(self, AnomalyDetector):
            self.model.learn_many(table)
            return
        more = {} if examples[0][2] is None else {"w": pd.Series([w for _, _, w in examples], dtype=float)}
        self.model.learn_many(table, pd.Series([y for _, y, _ in examples]), **more)

    def _filled(self, x: Features) -> Features:
        return {**dict.fromkeys(self.categories, 0.0), **x}


class GatheringClassifier(_Gathering, base.Classifier):
    """A classifier that learns many examples at once."""

    def learn_one(self, x: Features, y: Any, w: float | None = None) -> None:
        """Let an example wait; where it makes enough, learn all that wait."""
        self._gather(x, y, w)

    def predict_proba_one(self, x: Features, **kwargs: Any) -> dict[Any, float]:
        """Return what the estimator says, without the examples that wait."""
        found: dict[Any, float] = self.model.predict_proba_one(self._filled(x), **kwargs)
        return found

    _say = predict_proba_one

    @property
    def _multiclass(self) -> bool:
        return False


class GatheringRegressor(_Gathering, base.Regressor):
    """A regressor that learns many examples at once."""

    def learn_one(self, x: Features, y: Any, w: float | None = None) -> None:
        """Let an example wait; where it makes enough, learn all that wait."""
        self._gather(x, y, w)

    def predict_one(self, x: Features) -> Any:
        """Return what the estimator says, without the examples that wait."""
        return self.model.predict_one(self._filled(x))

    _say = predict_one


class GatheringDetector(_Gathering, AnomalyDetector):
    """An anomaly detector that learns many examples at once."""

    def learn_one(self, x: Features) -> None:
        """Let an example wait; where it makes enough, learn all that wait."""
        self._gather(x, None, None)

    def score_one(self, x: Features) -> float:
        """Return what the estimator says, without the examples that wait."""
        return float(self.model.score_one(self._filled(x)))

    _say = score_one


@lru_cache(maxsize=256)
def gathering(factory: Callable[[], object], size: int, where: str) -> Callable[[], object]:
    """Return a factory of what gathers for the factory's estimators: the same one for equal arguments."""

    def build() -> object:
        model = factory()
        if not callable(getattr(model, "learn_many", None)):
            raise LearnerUnusable(
                f"cannot build learner: {where}: expected an estimator with learn_many where many= is declared, got a "
                f"{type(model).__name__}; leave many= out"
            )
        if isinstance(model, AnomalyDetector):
            return GatheringDetector(model, size)
        if isinstance(model, base.Classifier):
            return GatheringClassifier(model, size)
        return GatheringRegressor(model, size) if isinstance(model, base.Regressor) else model

    return build


def leave_out_waiting(estimator: object) -> int:
    """Forget the examples that wait, which cannot be learned together; return how many they were."""
    if not isinstance(estimator, _Gathering):
        return 0
    left_out = len(estimator.waiting)
    estimator.waiting = []
    return left_out


def waiting(estimator: object) -> int:
    """Return how many examples wait in an estimator."""
    return len(estimator.waiting) if isinstance(estimator, _Gathering) else 0


def _alike(examples: Sequence[Waiting]) -> dict[tuple[str, ...], list[Waiting]]:
    """Return the examples by which numbers they have, in the order in which those were met first."""
    found: dict[tuple[str, ...], list[Waiting]] = {}
    for example in examples:
        found.setdefault(tuple(key for key in example[0] if _IS not in key), []).append(example)
    return found
