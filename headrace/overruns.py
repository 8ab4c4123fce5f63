"""What costs more than the budget allows, and what makes it cheaper."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from headrace.budget import Budget
from streams.costs import ModelCost, SourceCost, ViewCost

NARROW_MS = 60_000
"""A declared disorder below this may be less than copiers of different partitions are apart, one of them restarted."""


@dataclass(frozen=True, slots=True)
class OverBudget:
    """One thing that costs more than it may."""

    what: str
    """``view origin_traffic`` or ``model late.v1``."""
    measure: str
    """Which entry of the budget."""
    cost: float
    allowed: float
    mend: str

    @property
    def text(self) -> str:
        """The finding in one line."""
        expected = f"{self.measure} up to {self.allowed:g}"
        return f"over budget: {self.what}: expected {expected}, got {self.cost:.4g}; {self.mend}"


def over_budget(views: Sequence[ViewCost], models: Sequence[ModelCost], budget: Budget) -> Sequence[OverBudget]:
    """Return all that is over budget, views first."""
    return [*_views(views, budget), *_models(models, {each.view: each for each in views}, budget)]


def _views(views: Sequence[ViewCost], budget: Budget) -> Iterator[OverBudget]:
    for view in views:
        costs = {
            "typical_entity_bytes": view.typical.redis_bytes,
            "hot_entity_bytes": view.hot.redis_bytes,
            "read_ms": view.hot.read_ms,
        }
        for measure, allowed in asdict(budget).items():
            if costs[measure] > allowed:
                yield OverBudget(f"view {view.view}", measure, costs[measure], allowed, _mend(view))


def _models(models: Sequence[ModelCost], views: Mapping[str, ViewCost], budget: Budget) -> Iterator[OverBudget]:
    for model in models:
        read = [views[name] for name in model.views]
        if model.hot_ms > budget.read_ms and all(each.hot.read_ms <= budget.read_ms for each in read):
            dearest = max(read, key=lambda each: each.hot.read_ms)
            mend = f"read fewer views; the dearest is {dearest.view}: {_mend(dearest)}"
            yield OverBudget(f"model {model.model}", "read_ms", model.hot_ms, budget.read_ms, mend)


def _mend(view: ViewCost) -> str:
    """Return what makes the view cheaper, by its dearest source."""
    dearest = max(view.sources, key=_state)
    window, tiles = max(dearest.tiles.items(), key=lambda each: each[1])
    coarser = f"give window {window} of {dearest.event}, {tiles} tiles, a longer every=, or leave windows out"
    if dearest.partitions == 1:
        return coarser
    spread = f"an entity's events lie in {dearest.partitions} partitions: key= the event by the entity"
    return f"{spread}, say rekey=True in the view, or {coarser}"


def narrow_disorder(views: Sequence[ViewCost]) -> Sequence[str]:
    """Return a line for each rekeyed source that may find events late which are not late where they were published."""
    return [
        f"note: view {view.view}: it reads {source.event} as copies, where different partitions interleave; with a "
        f"disorder= of {source.disorder_ms / 1_000:g} s some may count as late that are not late at the source"
        for view in views
        for source in view.sources
        if source.rekeyed and source.disorder_ms < NARROW_MS
    ]


def _state(source: SourceCost) -> int:
    return source.partitions * source.hot_cell_bytes
