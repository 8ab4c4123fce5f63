"""What each stage of a graph needs to have worked out, worked out once per graph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from definitions.declared import Dot, GraphColumn, GraphDefinition, Input, ModelDefinition, Predicted, StageDefinition
from definitions.expressions import ASKED_AT
from definitions.values import ValueType
from online_models.graphs.columns import ColumnExpression


@dataclass(frozen=True, slots=True)
class Asked:
    """A model as a graph asks it: its vector, and the name of the column behind each place of it."""

    model: str
    learner: str | None
    inputs: tuple[Input, ...]
    names: tuple[str, ...]
    personal: frozenset[str] = frozenset()
    """Those of its learners that keep coefficients per entity."""


Made = ColumnExpression | Asked | Dot


@dataclass(frozen=True, slots=True)
class StagePlan:
    """A stage, what it needs, and what those behind it still need."""

    definition: StageDefinition
    needs: tuple[str, ...]
    """Everything that has to be there, each behind what it is made of."""
    kept: frozenset[str]
    """What is needed behind the stage, or is logged."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A graph, ready to be run."""

    graph: GraphDefinition
    stages: tuple[StagePlan, ...]
    made: Mapping[str, Made]
    """Columns that are worked out, by name; all others are read from requests or from the store."""
    types: Mapping[str, ValueType]
    views: Mapping[str, str]
    """Feature to the view that it is read from."""
    request_features: frozenset[str]
    """Features of the request's own entities."""
    logged: tuple[str, ...] = ()
    """What is kept of those that are left to be logged: all that stages need, but what the request itself carries."""

    @classmethod
    def of(cls, graph: GraphDefinition) -> Plan:
        """Return the plan of a graph. Cost: 10 us an operation of its expressions."""
        types = _types(graph)
        columns = {**{each.name: each for model in graph.models for each in _hidden(model)}, **graph.columns}
        types |= {name: each.type for name, each in columns.items()}
        made = {name: _made(graph, each, types) for name, each in columns.items()}
        needs = [_behind(made, [] if each.column is None else [each.column]) for each in graph.stages]
        if graph.eager:
            needs[0] = tuple(dict.fromkeys(name for each in needs for name in each))
        kept = [frozenset(name for each in needs[number:] for name in each) for number in range(1, len(needs) + 1)]
        carried = {ASKED_AT, *(each.name for each in graph.requests)}
        needed = dict.fromkeys(name for each in needs for name in each if name not in carried)
        logged = tuple(needed) if graph.logged else ()
        kept = [each.union(logged) for each in kept]
        names = {view.name: view for view in graph.views}
        views = {name: name.partition(".")[0] for name in graph.reads}
        return cls(
            graph,
            tuple(map(StagePlan, graph.stages, needs, kept)),
            made,
            types,
            views,
            frozenset(name for name, view in views.items() if not graph.is_of_candidates(names[view])),
            logged,
        )

    @property
    def tops(self) -> list[int | None]:
        """Per stage, how many candidates of a request it lets pass, None where it depends on them."""
        return [each.count if each.kind == "top" else None for each in self.graph.stages]

    @property
    def reads(self) -> list[tuple[str, ...]]:
        """Per stage, the views that are read when candidates come to it: each once, where it is first needed."""
        seen: set[str] = set()
        found = []
        for stage in self.stages:
            views = dict.fromkeys(self.views[name] for name in stage.needs if name in self.views)
            found.append(tuple(view for view in views if view not in seen))
            seen |= views.keys()
        return found


def _types(graph: GraphDefinition) -> dict[str, ValueType]:
    """Return the type of everything that is read: inputs and features."""
    inputs = (*graph.requests, *graph.candidates.inputs)
    features = {f"{view.name}.{each.name}": each.type for view in graph.views for each in view.features}
    return {ASKED_AT: ValueType.TIME, **{each.name: each.type for each in inputs}, **features}


def _hidden(model: ModelDefinition) -> Iterable[GraphColumn]:
    """Yield the expressions of a model's vector as columns of its own."""
    for each in model.inputs:
        if each.expression is not None:
            yield GraphColumn(_name(model, each), each.type, each.expression)


def _name(model: ModelDefinition, each: Input) -> str:
    return each.name if each.expression is None else f"{model.name}/{each.name}"


def _made(graph: GraphDefinition, column: GraphColumn, types: Mapping[str, ValueType]) -> Made:
    made = column.made
    if isinstance(made, Dot):
        return made
    if isinstance(made, Predicted):
        model = graph.model(made.model)
        personal = frozenset(each.name for each in model.personal)
        return Asked(
            model.name, made.learner, model.inputs, tuple(_name(model, each) for each in model.inputs), personal
        )
    return ColumnExpression(made, column.type, types)


def parts_of(made: Made) -> Sequence[str]:
    """Return what a column is made of, by name."""
    if isinstance(made, Dot):
        return (made.vector,)
    return made.names if isinstance(made, Asked) else sorted(made.reads)


def _behind(made: Mapping[str, Made], names: Iterable[str]) -> tuple[str, ...]:
    """Return names and all that is behind them, each behind what it is made of."""
    found: dict[str, None] = {}

    def put(name: str) -> None:
        if name in found:
            return
        for part in parts_of(made[name]) if name in made else ():
            put(part)
        found[name] = None

    for name in names:
        put(name)
    return tuple(found)
