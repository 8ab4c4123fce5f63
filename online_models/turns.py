"""A turn: one micro-batch on its way through the learners of a route.

The line-up and the route are those in force when the turn began, whatever is swapped meanwhile. Answers come first, so
that they can go out; what is only observed is scored behind them. A server's scores are asked for by whoever can wait,
between `Turn.calls` and `Turn.give`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from definitions.declared import RouteDefinition
from definitions.encoder import Vector
from definitions.learners import CONSTANT
from online_models.learners import Combiner, Remote, Scorer
from online_models.learners.restoring import LineUp
from online_models.routing import CHAMPION, Arm

SHADOW = "shadow"
FALLBACK = "fallback"
MEMBER = "member"

FAILED = "failed"
"""Why a learner of this process gave no score; servers have other reasons."""
MISSING = "not loaded"
UNAVAILABLE = "model_unavailable"


class TrainedVersion(NamedTuple):
    """A trained version that took part in a micro-batch: ``digest`` names its artefact, ``role`` its place."""

    learner: str
    digest: str
    role: str


@dataclass(frozen=True, slots=True)
class Failure:
    """A learner that gave no scores, and why: ``why`` may be told to callers, ``message`` is for metrics and logs."""

    learner: str
    role: str
    message: str
    why: str = FAILED


class Scored(NamedTuple):
    """One vector's outcome: ``score`` is the answer. A reason with a score means degraded, without one no answer.

    A tuple, because one is made for every request: that costs half of a frozen dataclass.
    """

    score: float | None
    reason: str | None = None
    """None, ``invalid``, ``model_unavailable`` or ``internal``: the reasons of DESIGN 7."""
    message: str = ""
    by: str | None = None
    """The learner whose score it is, or `definitions.learners.CONSTANT`."""
    role: str = CHAMPION
    """As what it answered."""


_UNTOLD = Scored(None)
"""Stands in the place of an outcome until it is known."""


@dataclass(frozen=True, slots=True)
class Call:
    """A server to be asked for the scores of some vectors of a turn."""

    remote: Remote
    role: str
    places: tuple[int, ...]
    vectors: tuple[Vector, ...]


@dataclass(slots=True)
class Turn:
    """One micro-batch, from its vectors to its answers and what was observed beside them."""

    route: RouteDefinition
    line_up: LineUp
    vectors: Sequence[Vector]
    arms: Sequence[Arm]
    """One per vector; empty where all go to the champion."""
    refused: Mapping[int, str]
    """Place of each vector that no learner may see, and why."""
    scores: dict[str, list[float | None]] = field(default_factory=dict)
    roles: dict[str, str] = field(default_factory=dict)
    """Learner that scored to the role in which it was first asked."""
    failures: list[Failure] = field(default_factory=list)
    beside: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """Personal learner to what is added to its offset, vector by vector. Given before anything is scored."""
    _champion: Arm = field(init=False)
    _tried: dict[str, set[int]] = field(default_factory=dict)
    _failed: dict[str, Failure] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Name the arm of every vector that is not drawn for another."""
        self._champion = Arm(self.route.champion, CHAMPION, 1.0)

    def arm(self, index: int) -> Arm:
        """Return who was to answer a vector."""
        return self.arms[index] if self.arms else self._champion

    def calls(self) -> list[Call]:
        """Return which servers have to be asked before `answer`, none of them twice."""
        return self._calls((arm.learner, arm.role, places) for arm, places in self._groups())

    def shadow_calls(self) -> list[Call]:
        """Return which servers have to be asked before `observe`."""
        usable = self._usable()
        return self._calls((learner, SHADOW, usable) for learner in self.route.shadow)

    def give(self, call: Call, scores: Sequence[float]) -> None:
        """Take the scores of a call, one per vector."""
        self._place(call.remote.name, call.role, call.places, scores)

    def fail(self, call: Call, *, why: str, message: str) -> None:
        """Take that a call gave no scores."""
        self._fail(call.remote.name, call.role, call.places, Failure(call.remote.name, call.role, message, why))

    def answer(self) -> list[Scored]:
        """Return one outcome per vector: of its arm, else of the champion, the fallback or a shadow in its place."""
        outcomes = [_UNTOLD] * len(self.vectors)
        for index, message in self.refused.items():
            outcomes[index] = Scored(None, "invalid", message)
        for arm, places in self._groups():
            self._answer_group(arm, places, outcomes)
        return outcomes

    def observe(self, *, clock: Callable[[], float], until_ms: float) -> None:
        """Score the shadows that were not scored yet, while the clock is before ``until_ms``."""
        usable = self._usable()
        for learner in self.route.shadow:
            if learner not in self.line_up or not self._untried(learner, usable):
                continue
            if clock() >= until_ms:
                self.failures.append(Failure(learner, SHADOW, "no time left"))
            else:
                self._ask(learner, SHADOW, usable)

    def _answer_group(self, arm: Arm, places: Sequence[int], outcomes: list[Scored]) -> None:
        pending = places
        for learner, role in self._candidates(arm) if places else ():
            left = self._ask(learner, role, pending)
            scored = pending if not left else sorted(set(pending) - set(left))
            if scored:
                reason, message = (None, "") if learner == arm.learner else (UNAVAILABLE, self._why(arm.learner))
                given = self.scores[learner]
                for index in scored:
                    outcomes[index] = Scored(given[index], reason, message, learner, role)
            if not left:
                return
            pending = left
        for index in pending:
            outcomes[index] = self._last_resort(arm)

    def _candidates(self, arm: Arm) -> Iterable[tuple[str, str]]:
        """Yield who may answer, in order, each with its role."""
        yield arm.learner, arm.role
        if arm.role != CHAMPION:
            yield self.route.champion, CHAMPION
        if isinstance(self.route.fallback, str):
            yield self.route.fallback, FALLBACK
        elif self.route.fallback is None:
            yield from ((learner, SHADOW) for learner in self.route.shadow)

    def _last_resort(self, arm: Arm) -> Scored:
        if isinstance(self.route.fallback, int | float):
            score = float(self.route.fallback)
            return Scored(score, UNAVAILABLE, self._why(arm.learner), CONSTANT, FALLBACK)
        broken = next((each for each in self.failures if each.why == FAILED), None)
        if broken is not None:
            return Scored(None, "internal", broken.message)
        return Scored(None, UNAVAILABLE, self._why(arm.learner) if self.failures else _NOBODY)

    def _why(self, learner: str) -> str:
        failure = self._failed.get(learner)
        return f"no score of {learner}: {MISSING if failure is None else failure.why}"

    def _groups(self) -> list[tuple[Arm, list[int]]]:
        """Return the usable vectors by who is to answer them."""
        usable = self._usable()
        if not self.arms:
            return [(self._champion, usable)]
        groups: dict[str, tuple[Arm, list[int]]] = {}
        for index in usable:
            arm = self.arms[index]
            groups.setdefault(arm.learner, (arm, []))[1].append(index)
        return list(groups.values())

    def _usable(self) -> list[int]:
        everyone = range(len(self.vectors))
        return [index for index in everyone if index not in self.refused] if self.refused else list(everyone)

    def _untried(self, learner: str, places: Sequence[int]) -> Sequence[int]:
        tried = self._tried.get(learner)
        return places if tried is None else [index for index in places if index not in tried]

    def _ask(self, learner: str, role: str, places: Sequence[int]) -> Sequence[int]:
        """Let a learner score what it was not asked yet; return the places that have no score of it."""
        new = self._untried(learner, places)
        if new:
            self._score(learner, role, new)
        given = self.scores.get(learner)
        if given is None:
            return places
        return [index for index in places if given[index] is None] if None in given else ()

    def _score(self, learner: str, role: str, places: Sequence[int]) -> None:
        scorer, combiner = self.line_up.scorers.get(learner), self.line_up.combiners.get(learner)
        if scorer is not None:
            self._score_here(scorer, role, places)
        elif combiner is not None:
            self._combine(combiner, role, places)
        elif learner in self.line_up.remotes:
            self._fail(learner, role, places, Failure(learner, role, "its server was not asked", "not asked"))

    def _score_here(self, scorer: Scorer, role: str, places: Sequence[int]) -> None:
        self._attempt(scorer.name, role, places, lambda some: scorer.score_many([self.vectors[each] for each in some]))

    def _combine(self, combiner: Combiner, role: str, places: Sequence[int]) -> None:
        left = set[int]()
        for member in combiner.members:
            lost = self._ask(member, MEMBER, places)
            if lost:
                why = self._failed[member].why if member in self._failed else MISSING
                failure = Failure(combiner.name, role, f"no score of its member {member}", f"{member} {why}")
                self._fail(combiner.name, role, lost, failure)
                left |= set(lost)
        columns = [self.scores.get(member, []) for member in combiner.members]

        def combined(some: Sequence[int]) -> list[float]:
            scores = [[column[each] or 0.0 for each in some] for column in columns]
            if combiner.name in self.beside:
                scores.append([self.beside[combiner.name][each] for each in some])
            return combiner.combine([self.vectors[each] for each in some], scores)

        self._attempt(combiner.name, role, [each for each in places if each not in left], combined)

    def _attempt(
        self, name: str, role: str, places: Sequence[int], score: Callable[[Sequence[int]], Sequence[float]]
    ) -> None:
        """Score the places together; if that fails, each alone: one vector must not cost the others theirs."""
        try:
            self._place(name, role, places, score(places))
        except Exception as error:  # noqa: BLE001  # an author's estimator may raise anything; a reply must still end
            failure = Failure(name, role, f"{type(error).__name__}: {error}")
            if len(places) > 1:
                for index in places:
                    self._attempt_alone(name, role, index, score)
            self._fail(name, role, places, failure)

    def _attempt_alone(
        self, name: str, role: str, index: int, score: Callable[[Sequence[int]], Sequence[float]]
    ) -> None:
        with contextlib.suppress(Exception):  # told once, for the micro-batch
            self._place(name, role, (index,), score((index,)))

    def _place(self, name: str, role: str, places: Sequence[int], scores: Sequence[float]) -> None:
        if len(scores) != len(places):
            raise ValueError(f"expected {len(places)} scores, got {len(scores)}")
        if len(places) == len(self.vectors):
            self.scores[name] = list(scores)
        else:
            placed = self.scores.setdefault(name, [None] * len(self.vectors))
            for index, score in zip(places, scores, strict=True):
                placed[index] = score
        self.roles.setdefault(name, role)
        self._tried.setdefault(name, set()).update(places)

    def _fail(self, name: str, role: str, places: Sequence[int], failure: Failure) -> None:
        self.roles.setdefault(name, role)
        self._tried.setdefault(name, set()).update(places)
        if name not in self._failed:
            self._failed[name] = failure
            self.failures.append(failure)

    def _calls(self, wanted: Iterable[tuple[str, str, Sequence[int]]]) -> list[Call]:
        asked: dict[str, tuple[str, set[int]]] = {}
        for learner, role, places in wanted:
            combiner = self.line_up.combiners.get(learner)
            for name in (learner,) if combiner is None else combiner.members:
                if name in self.line_up.remotes:
                    new = self._untried(name, places)
                    asked.setdefault(name, (role if name == learner else MEMBER, set()))[1].update(new)
        return [
            Call(
                self.line_up.remotes[name], role, tuple(sorted(places)), tuple(self.vectors[i] for i in sorted(places))
            )
            for name, (role, places) in asked.items()
            if places
        ]


_NOBODY = "no learner of the route is loaded"
