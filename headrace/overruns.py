"""What costs more than the budget allows, and what makes it cheaper."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from headrace.budget import Budget
from streams.costs import ModelCost, SourceCost, ViewCost
from streams.costs.rankings import GraphCost
from streams.topics import REQUEST_MAX_BYTES

NARROW_MS = 60_000
"""A declared disorder below this may be less than copiers of different partitions are apart, one of them restarted."""


@dataclass(frozen=True, slots=True)
class OverBudget:
    """One thing that costs more than it may."""

    what: str
    """``view origin_traffic``, ``model late.v1`` or ``graph ranking.v1``."""
    measure: str
    """Which entry of the budget; ``reply_bytes`` has a limit that no budget moves."""
    cost: float
    allowed: float
    mend: str

    @property
    def text(self) -> str:
        """The finding in one line."""
        expected = f"{self.measure} up to {self.allowed:g}"
        return f"over budget: {self.what}: expected {expected}, got {self.cost:.4g}; {self.mend}"


def over_budget(
    views: Sequence[ViewCost], models: Sequence[ModelCost], budget: Budget, graphs: Sequence[GraphCost] = ()
) -> Sequence[OverBudget]:
    """Return all that is over budget, views first."""
    by_name = {each.view: each for each in views}
    return [*_views(views, budget), *_models(models, by_name, budget), *_graphs(graphs, budget)]


def _views(views: Sequence[ViewCost], budget: Budget) -> Iterator[OverBudget]:
    for view in views:
        costs = {
            "typical_entity_bytes": view.typical.redis_bytes,
            "hot_entity_bytes": view.hot.redis_bytes,
            "read_ms": view.hot.read_ms,
        }
        for measure, cost in costs.items():
            allowed = getattr(budget, measure)
            if cost > allowed:
                yield OverBudget(f"view {view.view}", measure, cost, allowed, _mend(view))


def _models(models: Sequence[ModelCost], views: Mapping[str, ViewCost], budget: Budget) -> Iterator[OverBudget]:
    for model in models:
        read = [views[name] for name in model.views]
        if model.hot_ms > budget.read_ms and all(each.hot.read_ms <= budget.read_ms for each in read):
            dearest = max(read, key=lambda each: each.hot.read_ms)
            mend = f"read fewer views; the dearest is {dearest.view}: {_mend(dearest)}"
            yield OverBudget(f"model {model.model}", "read_ms", model.hot_ms, budget.read_ms, mend)


def _graphs(graphs: Sequence[GraphCost], budget: Budget) -> Iterator[OverBudget]:
    for graph in graphs:
        if graph.cells > budget.graph_cells:
            dearest = max(graph.stages, key=lambda each: each.cells)
            mend = (
                f"the dearest stage is {dearest.stage}, where {dearest.candidates} candidates read "
                f"{', '.join(dearest.views)}: narrow them by a .top(…) before it, of what the request or a matrix says"
            )
            yield OverBudget(f"graph {graph.graph}", "graph_cells", graph.cells, budget.graph_cells, mend)
        if graph.reply_bytes > REQUEST_MAX_BYTES:
            mend = f"end with a .top(…): the log takes no answer of {graph.answered} candidates"
            yield OverBudget(f"graph {graph.graph}", "reply_bytes", graph.reply_bytes, REQUEST_MAX_BYTES, mend)


def long_requests(graphs: Sequence[GraphCost]) -> Sequence[str]:
    """Return a line for each graph whose longest requests are likely to be refused as too large."""
    return [
        f"note: graph {each.graph}: a request with as many candidates as it takes, ids and texts of 16 characters, is "
        f"{each.request_bytes} bytes long; more than {REQUEST_MAX_BYTES} are refused as too_large"
        for each in graphs
        if each.request_bytes > REQUEST_MAX_BYTES
    ]


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
