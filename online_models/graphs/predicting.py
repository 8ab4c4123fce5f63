"""A model asked for the scores of many candidates at once: from columns to its vectors or matrix, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from definitions.declared import Input, RouteDefinition
from definitions.encoder import Encoder
from definitions.values import LARGEST_NUMBER, ValueType, misfit
from online_models.executor import CHAMPION, SHADOW, Executor, Failure, TrainedVersion
from online_models.graphs.columns import Column, Mask, Numbers
from online_models.learners import Scorer
from online_models.turns import FALLBACK


@runtime_checkable
class MatrixScorer(Protocol):
    """A scorer that takes a whole matrix of its encoder: no vector is made of what lies in columns."""

    @property
    def encoder(self) -> Encoder:
        """What makes its matrices."""
        ...

    def score_matrix(self, matrix: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return one finite score per row of a checked matrix."""
        ...


@dataclass(slots=True)
class Predictions:
    """What a model said of the candidates: NaN for one that no learner may see. None where nothing answered."""

    scores: Numbers | None = None
    version: TrainedVersion | None = None
    failures: list[Failure] = field(default_factory=list)


def predict(executor: Executor, learner: str | None, inputs: Sequence[Input], columns: Sequence[Column]) -> Predictions:
    """Return a model's scores of all rows, by one call of a learner.

    Its route's champion answers, or the first learner of the route that does; where ``learner`` is named, it alone.
    Shadows are not asked: they would be asked ten thousand times for one caller.

    Args:
        executor: the model's.
        learner: one of its learners, or None.
        inputs: the model's vector.
        columns: one per input, in their order.
    """
    usable = _usable(inputs, columns)
    rows = np.flatnonzero(usable)
    given = list(columns) if len(rows) == len(usable) else [each.take(rows) for each in columns]
    predictions = Predictions()
    for name, role in _line(executor.route, learner):
        scorer = executor.scorer(name)
        if scorer is None:
            continue
        try:
            found = _scores(scorer, given, len(rows))
        except Exception as error:  # noqa: BLE001  # an author's estimator may raise anything; a reply must still end
            predictions.failures.append(Failure(name, role, f"{type(error).__name__}: {error}"))
            continue
        scores = np.full(len(usable), np.nan)
        scores[rows] = found
        predictions.scores, predictions.version = scores, TrainedVersion(name, scorer.digest, role)
        break
    return predictions


def _line(route: RouteDefinition, learner: str | None) -> list[tuple[str, str]]:
    """Return who may answer, in order, each with its role."""
    if learner is not None:
        return [(learner, CHAMPION)]
    if isinstance(route.fallback, str):
        return [(route.champion, CHAMPION), (route.fallback, FALLBACK)]
    return [(route.champion, CHAMPION), *((each, SHADOW) for each in route.shadow)]


def _scores(scorer: Scorer, columns: Sequence[Column], rows: int) -> Numbers:
    if not rows:
        return np.empty(0)
    if isinstance(scorer, MatrixScorer):
        return scorer.score_matrix(scorer.encoder.matrix_of([each.values for each in columns], rows)).astype(np.float64)
    vectors = list(zip(*(each.listed() for each in columns), strict=True))
    return np.array(scorer.score_many(vectors), dtype=np.float64)


def _usable(inputs: Sequence[Input], columns: Sequence[Column]) -> Mask:
    """Return which rows a learner may see: all of whose numbers are finite, as `Encoder.check` has it."""
    usable = np.ones(len(columns[0].values), dtype=np.bool_)
    for each, column in zip(inputs, columns, strict=True):
        if column.is_numbers:
            beyond = np.abs(column.values) > LARGEST_NUMBER
            if beyond.any():
                usable &= ~beyond
        elif each.type is not ValueType.CATEGORY:
            usable &= np.array([not misfit(each.type, value, each.length) for value in column.values], dtype=np.bool_)
    return usable
