"""The identity of graphs: a hash of what decides their answers.

It covers the candidates, every column with the expressions, views, models and matrices behind it, and the stages;
owner, text, timeout, the way of evaluation and what is logged are outside, because they decide no answer.
"""

from __future__ import annotations

from definitions.declared import Dot, GraphColumn, GraphDefinition, Input, Predicted
from definitions.expressions import ASKED_AT, names_of
from definitions.identity import Canonical, canonical_expression, canonical_feature, digest_of


def graph_digest(graph: GraphDefinition) -> str:
    """Return the hash of what decides the graph's answers, 12 hex digits."""
    return digest_of(canonical_graph(graph))


def canonical_graph(graph: GraphDefinition) -> Canonical:
    """Return what decides the graph's answers, as plain values."""
    candidates = graph.candidates
    return {
        "candidates": [candidates.entity.name, str(candidates.entity.type), candidates.limit],
        "columns": {name: _column(graph, each) for name, each in graph.columns.items()},
        "stages": [
            {
                "kind": str(each.kind),
                "reads": None if each.column is None else _read(graph, each.column),
                "count": each.count,
                "descending": each.descending,
            }
            for each in graph.stages
        ],
    }


def _column(graph: GraphDefinition, column: GraphColumn) -> Canonical:
    made = column.made
    if isinstance(made, Predicted):
        return {"model": made.model, "digest": graph.model(made.model).digest, "learner": made.learner}
    if isinstance(made, Dot):
        return {"matrix": made.matrix, "length": graph.matrices[made.matrix], "vector": _read(graph, made.vector)}
    reads = {name: _read(graph, name) for name in sorted(names_of(made))}
    return {"expression": canonical_expression(made), "reads": reads}


def _read(graph: GraphDefinition, name: str) -> object:
    """Return what is behind a name: a column, an input of the request or of candidates, a feature of a view."""
    if name == ASKED_AT or name in graph.columns:
        return name
    for who, inputs in (("candidate", graph.candidates.inputs), ("request", graph.requests)):
        found = next((each for each in inputs if each.name == name), None)
        if found is not None:
            return _input(who, found)
    view_name, _, feature = name.partition(".")
    view = next(each for each in graph.views if each.name == view_name)
    return {"view": view.key, "feature": feature, "expression": canonical_feature(view, feature)}


def _input(who: str, given: Input) -> Canonical:
    return {"of": who, "name": given.name, "type": str(given.type), "length": given.length}
