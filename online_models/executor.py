"""The executor: a model's trained versions by their place in the route, and micro-batches scored by them.

Pure and synchronous. A `online_models.turns.Turn` answers first and observes afterwards; what has to be asked of a
server is asked by whoever can wait. Learners are swapped between turns, so one answer names exactly one trained version
of each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from definitions.declared import ModelDefinition, RouteDefinition
from definitions.encoder import Encoder, Vector
from definitions.errors import VectorError
from definitions.routes import named_in
from online_models.learners import Scorer
from online_models.learners.restoring import LineUp
from online_models.routing import CHAMPION, Arm
from online_models.turns import MEMBER, SHADOW, Call, Failure, Scored, TrainedVersion, Turn

__all__ = ["CHAMPION", "SHADOW", "Call", "Executor", "Failure", "MicroBatch", "Scored", "TrainedVersion", "Turn"]

Clock = Callable[[], float]
"""Monotonic milliseconds."""
_Kind = TypeVar("_Kind")


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """A scored micro-batch: one outcome per vector, and what its turn knows of all of them."""

    answers: tuple[Scored, ...]
    turn: Turn
    failures: tuple[Failure, ...] = ()
    predict_ms: float = 0.0
    """Time the answers took. Shadows are not in it."""

    @property
    def scores(self) -> Mapping[str, Sequence[float | None]]:
        """Learner to its score of each vector, None for one that it has not scored. Shadows too, once observed."""
        return self.turn.scores

    @property
    def versions(self) -> tuple[TrainedVersion, ...]:
        """The trained versions of every learner that scored, in the order in which they were asked."""
        return tuple(self._version(name, self.turn.roles[name]) for name in self.turn.scores)

    @property
    def answered_by(self) -> str | None:
        """The learner that answered the first vector that has an answer."""
        return next((each.by for each in self.answers if each.by is not None), None)

    def scores_of(self, index: int) -> dict[str, float]:
        """Return the scores of one vector by learner, without those that it did not get."""
        given = ((learner, scores[index]) for learner, scores in self.scores.items())
        return {learner: score for learner, score in given if score is not None}

    def versions_of(self, index: int) -> list[TrainedVersion]:
        """Return the trained versions that scored one vector, the one that answered under the role it answered in."""
        answer, roles = self.answers[index], self.turn.roles
        return [
            self._version(name, answer.role if name == answer.by else roles[name])
            for name, scores in self.turn.scores.items()
            if scores[index] is not None
        ]

    def behind(self, answer: Scored) -> list[TrainedVersion]:
        """Return the trained versions of an answer: the learner's, those of its members, and the shadows' beside it."""
        combiner = self.turn.line_up.combiners.get(answer.by or "")
        roles = {answer.by or "": answer.role}
        roles |= dict.fromkeys(() if combiner is None else combiner.members, MEMBER)
        for shadow in self.turn.route.shadow:
            roles.setdefault(shadow, SHADOW)
        return [self._version(name, role) for name, role in roles.items() if name in self.turn.line_up]

    def _version(self, learner: str, role: str) -> TrainedVersion:
        return TrainedVersion(learner, self.turn.line_up.digest(learner) or "", role)


class Executor:
    """Runs the learners of one model on micro-batches.

    Example:
        >>> executor = Executor(late, clock=lambda: 0.0)  # doctest: +SKIP
        >>> executor.score([[1.0]]).answers  # doctest: +SKIP
        (Scored(score=None, reason='model_unavailable', message='no learner of the route is loaded'),)
    """

    def __init__(self, model: ModelDefinition, *, clock: Clock) -> None:
        self.route = model.route
        self.line_up = LineUp()
        self._check = Encoder(model.inputs).check
        self._clock = clock

    @property
    def awaits(self) -> bool:
        """Whether a learner of the route has to be asked: then a turn is more than one step."""
        remotes, combiners = self.line_up.remotes, self.line_up.combiners
        if not remotes:
            return False
        members = (member for name in named_in(self.route) if name in combiners for member in combiners[name].members)
        return any(name in remotes for name in (*named_in(self.route), *members))

    def put(self, learner: str, scorer: Scorer) -> None:
        """Serve a trained version from the next turn on, in place of the one before."""
        self.line_up = replace(self.line_up, scorers={**self.line_up.scorers, learner: scorer})

    def put_all(self, line_up: LineUp) -> None:
        """Serve these learners and no others from the next turn on."""
        self.line_up = line_up

    def drop(self, learner: str) -> None:
        """Serve without a learner from the next turn on."""
        self.line_up = LineUp(
            _without(learner, self.line_up.scorers),
            _without(learner, self.line_up.combiners),
            _without(learner, self.line_up.remotes),
        )

    def follow(self, route: RouteDefinition) -> None:
        """Take another route from the next turn on: who answers and who is scored beside."""
        self.route = route

    def digest(self, learner: str) -> str | None:
        """Return the digest of the trained version in force, None where there is none."""
        return self.line_up.digest(learner)

    def begin(self, vectors: Sequence[Vector], arms: Sequence[Arm] = ()) -> Turn:
        """Begin a turn with the learners and the route in force. Nothing is scored yet.

        Args:
            vectors: of the micro-batch.
            arms: who is to answer each of them; empty where the champion is, for all.
        """
        refused = {index: message for index, vector in enumerate(vectors) if (message := self._refusal(vector))}
        return Turn(self.route, self.line_up, vectors, arms, refused)

    def answer(self, turn: Turn) -> MicroBatch:
        """Score what the answers need. Never raises for what a learner does."""
        started_ms = self._clock()
        answers = tuple(turn.answer())
        return MicroBatch(answers, turn, tuple(turn.failures), self._clock() - started_ms)

    def observe(self, turn: Turn, answered: MicroBatch, *, until_ms: float = float("inf")) -> MicroBatch:
        """Score the shadows, while the clock is before ``until_ms``; return the micro-batch with their scores."""
        turn.observe(clock=self._clock, until_ms=until_ms)
        return MicroBatch(answered.answers, turn, tuple(turn.failures), answered.predict_ms)

    def scorer(self, learner: str) -> Scorer | None:
        """Return the trained version in force, None where there is none."""
        return self.line_up.scorers.get(learner)

    def score(self, vectors: Sequence[Vector], *, until_ms: float = float("inf")) -> MicroBatch:
        """Answer and observe a micro-batch in one go: the champion's answers first, then the shadows.

        Where the champion is not there or fails, the route's fallback answers in its place, without one the first
        shadow that scores, and the answer counts as degraded. A learner on a server is not asked.
        """
        turn = self.begin(vectors)
        return self.observe(turn, self.answer(turn), until_ms=until_ms)

    def _refusal(self, vector: Vector) -> str:
        """Return why no learner may see the vector, empty if it may: one bad vector must not cost the others theirs."""
        try:
            self._check(vector)
        except VectorError as error:
            return str(error)
        return ""


def _without(learner: str, kind: Mapping[str, _Kind]) -> dict[str, _Kind]:
    return {name: each for name, each in kind.items() if name != learner}
