"""``hr.Route``: which of a model's learners answers, for whom, and what answers where it cannot."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from definitions.declared import LearnerDefinition, RouteDefinition
from definitions.declaring import Declaring, author_line, listed, near
from definitions.learners import REMOTE
from definitions.values import shown


class Route:
    """Which learner answers, and which others have a part in it.

    Args:
        champion: answers.
        shadow: scored beside it without being answered, when the answers are out.
        fallback: answers, as ``degraded``, where the one that should have does not: a learner that scores in this
            process, or a number. Without one, the first shadow that scores.
        canary: a learner and the share of entities that it answers, ``("next", 0.05)``: always the same entities, and
            more of them when the share grows.
        weights: learners and the share of requests that each answers, drawn for each request, ``{"online": 0.1}``; the
            champion answers the rest. Every prediction says which one was drawn, and how probable that was.
    """

    __slots__ = ("definition", "where")

    def __init__(
        self,
        *,
        champion: str = "",
        shadow: Sequence[str] = (),
        fallback: str | float | None = None,
        canary: tuple[str, float] | None = None,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        self.where = author_line()
        declaring = Declaring("route", self.where)
        if not isinstance(champion, str) or not champion:
            raise declaring.refusal("champion= to name a learner", shown(champion), 'write champion="offline"')
        if canary is not None and not (isinstance(canary, tuple) and len(canary) == 2):  # noqa: PLR2004  # a pair
            raise declaring.refusal("canary= to be a learner and its share", shown(canary), 'write ("next", 0.05)')
        if weights is not None and not isinstance(weights, Mapping):
            raise declaring.refusal("weights= to be learners and their shares", shown(weights), 'write {"online": 0.1}')
        shadows = declaring.texts(shadow, "shadow")
        self.definition = RouteDefinition(champion, shadows, fallback, canary, tuple((weights or {}).items()))
        problem = next(_contradictions(self.definition), None)
        if problem is not None:
            raise declaring.refusal(*problem)


def misrouted(route: RouteDefinition, learners: Mapping[str, LearnerDefinition]) -> tuple[str, str, str] | None:
    """Return what was expected of the route of a model with these learners, what was got and how to mend it, or None.

    The same rules hold for a route that an author declares and for one that a deployment brings.
    """
    return next(_contradictions(route), None) or next(_strangers(route, learners), None)


def named_in(route: RouteDefinition) -> tuple[str, ...]:
    """Return every learner that the route names, each once, the champion first."""
    canary = () if route.canary is None else (route.canary[0],)
    fallback = (route.fallback,) if isinstance(route.fallback, str) else ()
    weighted = (name for name, _ in route.weights)
    return tuple(dict.fromkeys((route.champion, *canary, *weighted, *fallback, *route.shadow)))


def _contradictions(route: RouteDefinition) -> Iterator[tuple[str, str, str]]:
    """Yield what is wrong with the route, whatever the learners are."""
    if len({route.champion, *route.shadow}) < 1 + len(route.shadow):
        yield "each learner once", f"champion {route.champion!r}, shadow {list(route.shadow)}", ""
    fallback = route.fallback
    if isinstance(fallback, bool) or not isinstance(fallback, str | int | float | None) or fallback == "":
        yield "fallback= to be a learner or a number", shown(fallback), ""
    elif isinstance(fallback, int | float) and not math.isfinite(fallback):
        yield "fallback= to be a finite number", shown(fallback), ""
    elif fallback == route.champion:
        yield "fallback= to name another learner than the champion", shown(fallback), ""
    yield from _miscounted(route)


def _miscounted(route: RouteDefinition) -> Iterator[tuple[str, str, str]]:
    """Yield what is wrong with the shares."""
    if route.canary is not None and route.weights:
        yield "canary= or weights=", "both", "roll out with canary=, explore with weights="
    for name, share in (*(() if route.canary is None else (route.canary,)), *route.weights):
        if not isinstance(name, str) or name == route.champion:
            yield "shares of learners other than the champion", shown(name), "the champion answers the rest"
        elif isinstance(share, bool) or not isinstance(share, int | float) or not 0.0 <= share <= 1.0:
            yield f"the share of {name} to be a number from 0 to 1", shown(share), ""
            return
    total = math.fsum(share for _, share in route.weights)
    if total > 1.0:
        yield "shares of at most 1 together", f"{total:g}", ""


def _strangers(route: RouteDefinition, learners: Mapping[str, LearnerDefinition]) -> Iterator[tuple[str, str, str]]:
    """Yield what the route names that the model does not have, or that cannot do what it is named for."""
    for name in named_in(route):
        if name not in learners:
            yield f"route to name {listed(learners)}", repr(name), near(name, learners)
            return
    if isinstance(route.fallback, str) and _is_remote(route.fallback, learners):
        mend = "a fallback answers when servers do not: name a learner of this process, or a number"
        yield "fallback= to name a learner that scores in this process", repr(route.fallback), mend


def _is_remote(name: str, learners: Mapping[str, LearnerDefinition]) -> bool:
    learner = learners[name]
    return learner.kind in REMOTE or any(_is_remote(member, learners) for member in learner.members)
