"""The front door: ``import headrace as hr`` gives authors and callers every public name.

Authors declare with `Event`, `Features`, `Model`, `Label` and `Route`; aggregates, what a model reads (`request`,
`lookup`, `named`, `asked_at`) and learners are functions beside them; `Unit` and `Length` belong in annotations.
`Graph` ranks `candidates` by what is `predicted` of them, by a `dot` product or by an expression. A
service that needs scores uses `ScoringClient`, or `SyncScoringClient` without an event loop; they are loaded when they
are first named.
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
from definitions.annotations import Length, Unit
from definitions.candidates import candidates, dot, predicted
from definitions.errors import DefinitionError, HeadraceError
from definitions.events import Event
from definitions.features import Features
from definitions.graphs import Graph
from definitions.inputs import lookup, named, request
from definitions.labels import Label
from definitions.learners import ensemble, onnx, open_inference, python, river, tensorflow_serving, xgboost
from definitions.models import Model
from definitions.personal import personal
from definitions.routes import Route
from definitions.times import asked_at, hour, weekday
from headrace.searching import search

if TYPE_CHECKING:
    from agents.client import ScoringClient
    from agents.client.blocking import SyncScoringClient

__all__ = [
    "DefinitionError",
    "Event",
    "Features",
    "Graph",
    "HeadraceError",
    "Label",
    "Length",
    "Model",
    "Route",
    "ScoringClient",
    "SyncScoringClient",
    "Unit",
    "asked_at",
    "candidates",
    "count",
    "decayed_count",
    "decayed_mean",
    "distinct",
    "dot",
    "ensemble",
    "first",
    "hour",
    "last",
    "last_k",
    "lookup",
    "max",
    "mean",
    "min",
    "named",
    "onnx",
    "open_inference",
    "personal",
    "predicted",
    "python",
    "quantile",
    "ratio",
    "request",
    "river",
    "search",
    "std",
    "sum",
    "tensorflow_serving",
    "top_k",
    "variance",
    "weekday",
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
