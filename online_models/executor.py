"""The executor: a model's trained versions by their place in the route, and a micro-batch scored by them.

Pure and synchronous. The champion is asked first; a shadow costs no caller an answer, whatever it does. Learners are
swapped between micro-batches, so one answer names exactly one trained version of each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from definitions.declared import ModelDefinition, RouteDefinition
from definitions.encoder import Encoder, Vector
from definitions.errors import VectorError
from online_models.learners import Scorer

CHAMPION = "champion"
SHADOW = "shadow"

Clock = Callable[[], float]
"""Monotonic milliseconds."""


@dataclass(frozen=True, slots=True)
class TrainedVersion:
    """A trained version that took part in a micro-batch: ``digest`` names its artefact, ``role`` its place."""

    learner: str
    digest: str
    role: str


@dataclass(frozen=True, slots=True)
class Failure:
    """A learner that gave no scores for a micro-batch, and why. For metrics and logs, never for callers."""

    learner: str
    role: str
    message: str


@dataclass(frozen=True, slots=True)
class Scored:
    """One vector's outcome: ``score`` is the answer. A reason with a score means degraded, without one no answer."""

    score: float | None
    reason: str | None = None
    """None, ``invalid``, ``model_unavailable`` or ``internal``: the reasons of DESIGN 7."""
    message: str = ""


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """A scored micro-batch: one outcome per vector, and what all of them have in common."""

    answers: tuple[Scored, ...]
    answered_by: str | None
    """The learner whose score is the answer: the champion, or another of its route in its place."""
    scores: Mapping[str, Sequence[float | None]]
    """Learner to its score of each vector, None for a vector that was refused. Shadows are in it."""
    versions: tuple[TrainedVersion, ...]
    failures: tuple[Failure, ...] = ()
    predict_ms: float = 0.0

    def scores_of(self, index: int) -> dict[str, float]:
        """Return the scores of one vector by learner, without those that it did not get."""
        given = ((learner, scores[index]) for learner, scores in self.scores.items())
        return {learner: score for learner, score in given if score is not None}


@dataclass(slots=True)
class _Round:
    """What is gathered while the learners of one micro-batch are asked in turn."""

    usable: list[int]
    vectors: list[Vector]
    size: int
    scores: dict[str, list[float | None]] = field(default_factory=dict)
    versions: list[TrainedVersion] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    def ask(self, scorer: Scorer, role: str) -> bool:
        """Ask a learner for all usable vectors; return whether it scored them."""
        placed: list[float | None] = [None] * self.size
        try:
            for index, score in zip(self.usable, scorer.score_many(self.vectors), strict=True):
                placed[index] = score
        except Exception as error:  # noqa: BLE001  # an author's estimator may raise anything; a reply must still end
            self.failures.append(Failure(scorer.name, role, f"{type(error).__name__}: {error}"))
            return False
        self.scores[scorer.name] = placed
        self.versions.append(TrainedVersion(scorer.name, scorer.digest, role))
        return True


class Executor:
    """Runs the learners of one model on micro-batches.

    Example:
        >>> executor = Executor(late, clock=lambda: 0.0)  # doctest: +SKIP
        >>> executor.score([[1.0]]).answers  # doctest: +SKIP
        (Scored(score=None, reason='model_unavailable', message='no learner of the route is loaded'),)
    """

    def __init__(self, model: ModelDefinition, *, clock: Clock) -> None:
        self.route = model.route
        self._check = Encoder(model.inputs).check
        self._clock = clock
        self._scorers: dict[str, Scorer] = {}

    def put(self, learner: str, scorer: Scorer) -> None:
        """Serve a trained version from the next micro-batch on, in place of the one before."""
        self._scorers[learner] = scorer

    def drop(self, learner: str) -> None:
        """Serve without a learner from the next micro-batch on."""
        self._scorers.pop(learner, None)

    def follow(self, route: RouteDefinition) -> None:
        """Take another route from the next micro-batch on: who answers and who is scored beside."""
        self.route = route

    def digest(self, learner: str) -> str | None:
        """Return the digest of the trained version in force, None where there is none."""
        scorer = self._scorers.get(learner)
        return None if scorer is None else scorer.digest

    def scorer(self, learner: str) -> Scorer | None:
        """Return the trained version in force, None where there is none."""
        return self._scorers.get(learner)

    def score(self, vectors: Sequence[Vector], *, until_ms: float = float("inf")) -> MicroBatch:
        """Score a micro-batch: the champion's answers first, then the shadows while the clock is before ``until_ms``.

        Where the champion is not there or fails, the first learner of the route that scores answers in its place, and
        the answer counts as degraded. Never raises for what a learner does.
        """
        started_ms = self._clock()
        refused = {index: message for index, vector in enumerate(vectors) if (message := self._refusal(vector))}
        usable = [index for index in range(len(vectors)) if index not in refused]
        asked = _Round(usable, [vectors[index] for index in usable], len(vectors))
        answered_by = self._answer(asked)
        self._observe(asked, answered_by, until_ms)
        return MicroBatch(
            answers=tuple(self._outcome(index, asked, answered_by, refused) for index in range(len(vectors))),
            answered_by=answered_by,
            scores=asked.scores,
            versions=tuple(asked.versions),
            failures=tuple(asked.failures),
            predict_ms=self._clock() - started_ms,
        )

    def _answer(self, asked: _Round) -> str | None:
        """Ask the champion, then the others of its route, until one has scored; return its name."""
        for learner in (self.route.champion, *self.route.shadow):
            scorer = self._scorers.get(learner)
            if scorer is None:
                continue
            if asked.ask(scorer, CHAMPION if learner == self.route.champion else SHADOW):
                return learner
        return None

    def _observe(self, asked: _Round, answered_by: str | None, until_ms: float) -> None:
        """Ask the shadows that were not asked yet, while there is time."""
        tried = {failure.learner for failure in asked.failures} | {answered_by}
        for learner in self.route.shadow:
            scorer = self._scorers.get(learner)
            if scorer is None or learner in tried:
                continue
            if self._clock() >= until_ms:
                asked.failures.append(Failure(learner, SHADOW, "no time left"))
            else:
                asked.ask(scorer, SHADOW)

    def _outcome(self, index: int, asked: _Round, answered_by: str | None, refused: Mapping[int, str]) -> Scored:
        if index in refused:
            return Scored(None, "invalid", refused[index])
        if answered_by is not None:
            reason = None if answered_by == self.route.champion else "model_unavailable"
            return Scored(asked.scores[answered_by][index], reason)
        if asked.failures:
            return Scored(None, "internal", asked.failures[0].message)
        return Scored(None, "model_unavailable", "no learner of the route is loaded")

    def _refusal(self, vector: Vector) -> str:
        """Return why no learner may see the vector, empty if it may: one bad vector must not cost the others theirs."""
        try:
            self._check(vector)
        except VectorError as error:
            return str(error)
        return ""
