"""The front door: ``import headrace as hr`` gives authors and callers every public name.

Authors declare with `Event`, `Features`, `Model`, `Label` and `Route`; aggregates, `request` and learners are
functions beside them. A service that needs scores uses `ScoringClient`, or `SyncScoringClient`
without an event loop; they are loaded when they are first named.
Knows: every room. Never known by any: nothing imports the front door but the author's own module.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from definitions.aggregates import (
    count,
    decayed_count,
    decayed_mean,
    distinct,
    first,
    last,
    last_k,
    max,  # noqa: A004  # authors write hr.max
    mean,
    min,  # noqa: A004
    quantile,
    ratio,
    std,
    sum,  # noqa: A004
    top_k,
    variance,
)
from definitions.errors import DefinitionError, HeadraceError
from definitions.events import Event
from definitions.features import Features
from definitions.labels import Label
from definitions.learners import Route, river, xgboost
from definitions.models import Model, request

if TYPE_CHECKING:
    from agents.client import ScoringClient
    from agents.client.blocking import SyncScoringClient

__all__ = [
    "DefinitionError",
    "Event",
    "Features",
    "HeadraceError",
    "Label",
    "Model",
    "Route",
    "ScoringClient",
    "SyncScoringClient",
    "count",
    "decayed_count",
    "decayed_mean",
    "distinct",
    "first",
    "last",
    "last_k",
    "max",
    "mean",
    "min",
    "quantile",
    "ratio",
    "request",
    "river",
    "std",
    "sum",
    "top_k",
    "variance",
    "xgboost",
]


def __dir__() -> list[str]:
    return sorted(__all__)


if not TYPE_CHECKING:  # else every misspelt name would be right for a type checker

    def __getattr__(name: str) -> object:
        """Load the scoring client when it is asked for: it brings the log's driver, which authors do not need."""
        if name == "ScoringClient":
            from agents.client import ScoringClient  # noqa: PLC0415

            return ScoringClient
        if name == "SyncScoringClient":
            from agents.client.blocking import SyncScoringClient  # noqa: PLC0415

            return SyncScoringClient
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
