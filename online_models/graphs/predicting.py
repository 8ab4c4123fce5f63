"""A model asked for the scores of many candidates at once: from columns to its vectors or matrix, and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from definitions.declared import Input, RouteDefinition
from definitions.encoder import Encoder, Vector
from definitions.values import LARGEST_NUMBER, ValueType, misfit
from online_models.errors import LearnerUnusable
from online_models.executor import CHAMPION, SHADOW, Executor, Failure, TrainedVersion
from online_models.graphs.columns import Column, Mask, Numbers, Rows
from online_models.learners import Scorer
from online_models.learners.restoring import LineUp
from online_models.turns import FALLBACK, MEMBER


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


Beside = Callable[[str, Rows, Sequence[Vector]], Sequence[float] | None]
"""What a personal learner adds: its name, the rows that are asked about, their vectors. None where nobody remembers."""


@dataclass(slots=True)
class Predictions:
    """What a model said of the candidates: NaN for one that no learner may see. None where nothing answered."""

    scores: Numbers | None = None
    version: TrainedVersion | None = None
    members: dict[str, Numbers] = field(default_factory=dict)
    """The scores of the learners behind the one that answered, where it rests on others."""
    versions: list[TrainedVersion] = field(default_factory=list)
    """Of the learner that answered, and of those behind it."""
    failures: list[Failure] = field(default_factory=list)


def predict(
    executor: Executor, learner: str | None, inputs: Sequence[Input], columns: Sequence[Column], beside: Beside
) -> Predictions:
    """Return a model's scores of all rows, by one call of each learner that is needed.

    Its route's champion answers, or the first learner of the route that does; where ``learner`` is named, it alone. An
    ensemble and a personal model are combined of their members' scores, as `online_models.turns.Turn` does. All rows
    are scored by the same learner: scores of two do not make one ranking. Shadows are not asked: they would be asked
    ten thousand times for one caller; nor are servers.

    Args:
        executor: the model's.
        learner: one of its learners, or None.
        inputs: the model's vector.
        columns: one per input, in their order.
        beside: what personal learners add, asked once for each that is needed.
    """
    usable = _usable(inputs, columns)
    rows = np.flatnonzero(usable)
    given = list(columns) if len(rows) == len(usable) else [each.take(rows) for each in columns]
    asking = _Asking(executor.line_up, given, rows, beside)
    predictions = Predictions()
    for name, role in _line(executor.route, learner):
        if name not in executor.line_up:
            continue
        try:
            asking.ask(name)
        except Exception as error:  # noqa: BLE001  # an author's estimator may raise anything; a reply must still end
            predictions.failures.append(Failure(name, role, f"{type(error).__name__}: {error}"))
            continue
        found = {each: _spread(asking.scores[each], rows, len(usable)) for each in (name, *asking.behind(name))}
        roles = {name: role, **dict.fromkeys(asking.behind(name), MEMBER)}
        predictions.scores = found.pop(name)
        predictions.members = found
        predictions.versions = [TrainedVersion(each, executor.digest(each) or "", role) for each, role in roles.items()]
        predictions.version = predictions.versions[0]
        break
    return predictions


def _spread(scores: Numbers, rows: Rows, count: int) -> Numbers:
    whole = np.full(count, np.nan)
    whole[rows] = scores
    return whole


def _line(route: RouteDefinition, learner: str | None) -> list[tuple[str, str]]:
    """Return who may answer, in order, each with its role."""
    if learner is not None:
        return [(learner, CHAMPION)]
    if isinstance(route.fallback, str):
        return [(route.champion, CHAMPION), (route.fallback, FALLBACK)]
    return [(route.champion, CHAMPION), *((each, SHADOW) for each in route.shadow)]


@dataclass(slots=True)
class _Asking:
    """The learners of one model, asked about the same rows, each at most once."""

    line_up: LineUp
    columns: Sequence[Column]
    rows: Rows
    beside: Beside
    scores: dict[str, Numbers] = field(default_factory=dict)
    _vectors: list[Vector] | None = None

    @property
    def vectors(self) -> list[Vector]:
        """The rows as vectors, made when somebody needs them."""
        if self._vectors is None:
            self._vectors = [list(each) for each in zip(*(each.listed() for each in self.columns), strict=True)]
        return self._vectors

    def behind(self, learner: str) -> list[str]:
        """Return the learners that a learner rests on, directly or not."""
        combiner = self.line_up.combiners.get(learner)
        members = () if combiner is None else combiner.members
        return list(dict.fromkeys(each for member in members for each in (member, *self.behind(member))))

    def ask(self, learner: str) -> Numbers:
        """Return a learner's scores, one per row.

        Raises:
            Exception: whatever it raises.
            LearnerUnusable: it is on a server, or not loaded.
        """
        if learner not in self.scores:
            self.scores[learner] = self._asked(learner) if len(self.rows) else np.empty(0)
        return self.scores[learner]

    def _asked(self, learner: str) -> Numbers:
        scorer, combiner = self.line_up.scorers.get(learner), self.line_up.combiners.get(learner)
        if scorer is not None:
            return self._scored(scorer)
        if combiner is None:
            raise LearnerUnusable(
                f"cannot ask {learner}: expected a learner of this process, got none; graphs ask no server"
            )
        scores: list[Sequence[float]] = [self.ask(member).tolist() for member in combiner.members]
        added = self.beside(learner, self.rows, self.vectors)
        if added is not None:
            scores.append(added)
        return np.array(combiner.combine(self.vectors, scores), dtype=np.float64)

    def _scored(self, scorer: Scorer) -> Numbers:
        if isinstance(scorer, MatrixScorer):
            matrix = scorer.encoder.matrix_of([each.values for each in self.columns], len(self.rows))
            return scorer.score_matrix(matrix).astype(np.float64)
        return np.array(scorer.score_many(self.vectors), dtype=np.float64)


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
