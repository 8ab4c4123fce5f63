"""What one request to a graph costs: the cells that its stages read of the candidates that are left, and its size.

A graph is costed as if filters and groups let every candidate pass: how many they hold back is not known offline.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from definitions.declared import GraphDefinition, Input, StageKind
from definitions.values import ValueType
from streams.costs import EntityCost, ViewCost

_ID_BYTES = 16
"""How long an id and a text are taken to be."""
_TYPE_BYTES = {ValueType.INT: 8, ValueType.FLOAT: 18, ValueType.BOOL: 5, ValueType.CATEGORY: _ID_BYTES + 2}
_PLACE_BYTES = len('{"id":"","score":0.1234567890123456},') + _ID_BYTES


@dataclass(frozen=True, slots=True)
class StageCost:
    """What one stage reads of the store, in one round trip; nothing where it reads nothing new."""

    stage: str
    candidates: int
    """How many come to it at most."""
    views: tuple[str, ...]
    """Those that are first read for it."""
    cells: int
    typical_bytes: int
    hot_bytes: int
    typical_ms: float
    hot_ms: float


@dataclass(frozen=True, slots=True)
class GraphCost:
    """What one request costs that brings as many candidates as it may."""

    graph: str
    stages: tuple[StageCost, ...]
    round_trips: int
    cells: int
    typical_bytes: int
    hot_bytes: int
    typical_ms: float
    hot_ms: float
    request_bytes: int
    """Ids and texts of 16 characters."""
    reply_bytes: int
    answered: int
    """Candidates in the answer, at most."""


def cost_of_graph(graph: GraphDefinition, reads: Sequence[Sequence[str]], views: Mapping[str, ViewCost]) -> GraphCost:
    """Return what a request to a graph costs.

    Args:
        graph: the graph.
        reads: per stage, the names of the views that are first read for it.
        views: their costs, by name.
    """
    stages, left = [], graph.candidates.limit
    for stage, names in zip(graph.stages, reads, strict=True):
        stages.append(_stage(graph, stage.name, left, [views[name] for name in names]))
        left = min(left, stage.count) if stage.kind is StageKind.TOP else left
    return GraphCost(
        graph=graph.key,
        stages=tuple(stages),
        round_trips=sum(bool(each.views) for each in stages),
        cells=sum(each.cells for each in stages),
        typical_bytes=sum(each.typical_bytes for each in stages),
        hot_bytes=sum(each.hot_bytes for each in stages),
        typical_ms=sum(each.typical_ms for each in stages),
        hot_ms=sum(each.hot_ms for each in stages),
        request_bytes=_inputs_bytes(graph.requests) + graph.candidates.limit * candidate_bytes(graph),
        reply_bytes=left * _PLACE_BYTES,
        answered=left,
    )


def candidate_bytes(graph: GraphDefinition) -> int:
    """Return the bytes that one candidate of a request takes."""
    inputs = graph.candidates.inputs
    around = len('{"id":,"inputs":{}},') if inputs else 1
    return around + _TYPE_BYTES[graph.candidates.entity.type] + _inputs_bytes(inputs)


def _inputs_bytes(inputs: Iterable[Input]) -> int:
    return sum(len(each.name) + len('"":,') + _value_bytes(each) for each in inputs)


def _value_bytes(each: Input) -> int:
    if each.type is ValueType.EMBEDDING:
        return (each.length or 0) * (_TYPE_BYTES[ValueType.FLOAT] + 1) + 1
    return _TYPE_BYTES[each.type]


def _stage(graph: GraphDefinition, name: str, candidates: int, read: Sequence[ViewCost]) -> StageCost:
    own = {view.name for view in graph.views if graph.is_of_candidates(view)}
    counts = [(each, candidates if each.view in own else 1) for each in read]

    def transferred(view: ViewCost, entity: EntityCost, count: int) -> int:
        return view.rows_bytes + count * (entity.read_bytes - view.rows_bytes)

    def took(view: ViewCost, entity: EntityCost, count: int) -> float:
        return view.rows_ms + count * (entity.read_ms - view.rows_ms)

    return StageCost(
        stage=name,
        candidates=candidates,
        views=tuple(each.view for each in read),
        cells=sum(count * each.cells for each, count in counts),
        typical_bytes=sum(transferred(each, each.typical, count) for each, count in counts),
        hot_bytes=sum(transferred(each, each.hot, count) for each, count in counts),
        typical_ms=sum(took(each, each.typical, count) for each, count in counts),
        hot_ms=sum(took(each, each.hot, count) for each, count in counts),
    )
