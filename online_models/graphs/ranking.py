"""Which candidates are better than others: by score, and of equal scores by their place in the request.

Every function takes the rows of one request: their scores or values, NaN for none, and their places in the request.
One without a score is behind all that have one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from definitions.values import Value
from online_models.graphs.columns import Numbers, Rows


def best(scores: Numbers, places: Rows, count: int) -> Rows:
    """Return the rows of the ``count`` best, the best first. Cost: 0.1 ms for 500 of 10,000."""
    rank = np.where(np.isnan(scores), np.inf, -scores)
    rows = np.arange(len(rank)) if count >= len(rank) else _cut(rank, places, count)
    return rows[np.lexsort((places[rows], rank[rows]))]


def _cut(rank: Numbers, places: Rows, count: int) -> Rows:
    """Return the rows of the ``count`` least ranks, in no order; of equal ranks those with the least places."""
    if count <= 0:
        return np.empty(0, dtype=np.intp)
    last = np.partition(rank, count - 1)[count - 1]
    sure = np.flatnonzero(rank < last)
    equal = np.flatnonzero(rank == last)
    missing = count - len(sure)
    if missing < len(equal):
        equal = equal[np.argsort(places[equal], kind="stable")[:missing]]
    return np.concatenate((sure, equal))


def in_order(values: Numbers, places: Rows, *, descending: bool) -> Rows:
    """Return all rows, ordered by a value; those without one last."""
    rank = np.where(np.isnan(values), np.inf, -values if descending else values)
    return np.lexsort((places, rank))


def best_of_groups(keys: Sequence[Value], scores: Numbers, places: Rows, at_most: int) -> Rows:
    """Return the rows of the best of each group, in their own order; those without a key all stay.

    Cost: 0.1 us a row.
    """
    seen: dict[Value, int] = {}
    kept: list[int] = []
    for row in best(scores, places, len(keys)).tolist():
        key = keys[row]
        if key is not None:
            count = seen.get(key, 0)
            if count >= at_most:
                continue
            seen[key] = count + 1
        kept.append(row)
    return np.sort(np.array(kept, dtype=np.intp))


def shares(counts: Sequence[int], total: int) -> list[int]:
    """Return how many rows of each request fit where ``total`` do: none gets more than it has, or more than needed.

    Example:
        >>> shares([10, 500, 500], 210)
        [10, 100, 100]
    """
    given = [0] * len(counts)
    left = total
    waiting = sorted(range(len(counts)), key=lambda each: counts[each])
    for number, request in enumerate(waiting):
        given[request] = min(counts[request], left // (len(waiting) - number))
        left -= given[request]
    return given
