"""The algorithms that authors name in a model: ``hr.river(...)``, ``hr.xgboost(...)``, and the route among them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from definitions.declared import LearnerDefinition, RouteDefinition
from definitions.declaring import Declaring, author_line
from definitions.values import Scalar, shown


class Learner:
    """An algorithm, before the attribute that holds it names it."""

    __slots__ = ("_factory", "_parameters", "kind", "where")

    def __init__(
        self,
        kind: str,
        *,
        factory: Callable[[], object] | None = None,
        parameters: Mapping[str, Scalar] | None = None,
    ) -> None:
        self.kind = kind
        self.where = author_line()
        self._factory = factory
        self._parameters = dict(parameters or {})

    def __repr__(self) -> str:
        return f"hr.{self.kind}(…)"

    def definition(self, name: str) -> LearnerDefinition:
        """Return the learner as data, under the name of its attribute."""
        return LearnerDefinition(name, self.kind, self._factory, self._parameters)


class Route:
    """Which learner answers (``champion``), and which are scored beside it without being answered (``shadow``)."""

    __slots__ = ("definition", "where")

    def __init__(self, *, champion: str = "", shadow: Sequence[str] = ()) -> None:
        self.where = author_line()
        declaring = Declaring("route", self.where)
        if not isinstance(champion, str) or not champion:
            raise declaring.refusal("champion= to name a learner", shown(champion), 'write champion="offline"')
        shadows = declaring.texts(shadow, "shadow")
        if len({champion, *shadows}) < 1 + len(shadows):
            raise declaring.refusal("each learner once", f"champion {champion!r}, shadow {list(shadows)}")
        self.definition = RouteDefinition(champion, shadows)


def river(factory: Callable[[], object]) -> Learner:
    """Learn online, one example at a time, with the River estimator that ``factory`` builds.

    The factory is called for every fresh start, so it has to build a new estimator each time:
    ``hr.river(lambda: StandardScaler() | LogisticRegression())``.
    """
    if not callable(factory):
        mend = "write hr.river(lambda: …)"
        raise Declaring("learner", author_line()).refusal("a function that builds an estimator", shown(factory), mend)
    return Learner("river", factory=factory)


def xgboost(**parameters: Scalar) -> Learner:
    """Learn offline, on history, with XGBoost's own ``parameters``."""
    for name, value in parameters.items():
        plain = (
            value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and not math.isnan(value))
        )
        if not plain:
            declaring = Declaring("learner", author_line())
            raise declaring.refusal(f"parameter {name} to be a number, a text, a bool or None", shown(value))
    return Learner("xgboost", parameters=parameters)
