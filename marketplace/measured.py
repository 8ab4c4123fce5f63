"""What was measured of each feature: the monitoring role's counts of live traffic, read from the store."""

from __future__ import annotations

from collections.abc import Mapping

from definitions.declared import AppDefinition
from marketplace.catalogue import Served
from streams.counts import ServedInput, read_minutes, read_served
from streams.store import OnlineStore

RECENT_MIN = 10
"""Reads per minute are the mean of this many whole minutes before now."""


def measured(app: AppDefinition, store: OnlineStore, *, now_ms: int) -> Mapping[str, Served]:
    """Return what was served of each feature, by ``view.feature``, over all models that read it.

    Args:
        app: what is declared.
        store: where the monitoring role keeps its counts.
        now_ms: the end of the minutes that count as recent.

    Raises:
        StoreUnavailable: the store did not answer.
    """
    served: dict[str, ServedInput] = {}
    reads: dict[str, float] = {}
    for model in app.models:
        per_min = sum(read_minutes(store, model.key, now_ms=now_ms)[-RECENT_MIN:]) / RECENT_MIN
        found = read_served(store, model.key)
        for name in (put.name for put in model.inputs if put.view is not None and put.name in found):
            served[name] = found[name].plus(served[name]) if name in served else found[name]
            reads[name] = reads.get(name, 0.0) + per_min
    return {name: _served(each, reads[name]) for name, each in served.items()}


def _served(each: ServedInput, reads_per_min: float) -> Served:
    return Served(
        n=each.n,
        missing=each.missing,
        mean=each.mean,
        minimum=each.least,
        maximum=each.greatest,
        top=tuple(sorted(each.top.items(), key=lambda item: (-item[1], item[0]))),
        reads_per_min=reads_per_min,
    )
