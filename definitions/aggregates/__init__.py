"""The statistics of a view: ``hr.count()``, ``hr.mean(Departed.delay_min)`` and their windows, ``.over("1h", "24h")``.

A window's features are fixed by the attribute that holds it: ``flights = hr.count().over("1h")`` gives ``flights_1h``.
A statistic that gives several values, or one per group, gives a feature for each: ``recent_1h_1``, ``flights_1h_UA``.

`definitions.aggregates.kinds` has the authors' functions, `definitions.aggregates.windows` what they return.
"""

from definitions.aggregates.kinds import (
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
from definitions.aggregates.windows import Aggregation, DeclaredWindows, Windowed, WindowTerm, feature_name

__all__ = [
    "Aggregation",
    "DeclaredWindows",
    "WindowTerm",
    "Windowed",
    "count",
    "decayed_count",
    "decayed_mean",
    "distinct",
    "feature_name",
    "first",
    "last",
    "last_k",
    "max",
    "mean",
    "min",
    "quantile",
    "ratio",
    "std",
    "sum",
    "top_k",
    "variance",
]
