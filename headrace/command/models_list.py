"""``headrace models list``: every declared model, its learners and its route; every graph, and what it asks."""

from __future__ import annotations

import sys
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from definitions.declared import GraphDefinition, ModelDefinition
from headrace.command.options import AsJson, settings_of
from headrace.command.voice import Voice
from headrace.session import load_definitions

_WIDTH = 120


def list_command(context: typer.Context, *, as_json: AsJson = False) -> None:
    """List the declared models, and the graphs that ask them; needs no server."""
    app = load_definitions(settings_of(context))
    console = Console(stderr=as_json, width=_WIDTH)
    console.print(_table(app.models))
    if app.graphs:
        console.print(_graph_table(app.graphs))
    sys.stdout.flush()
    Voice(as_json).answer(
        {
            "models": [_answer(model) for model in app.models],
            "graphs": [_answer_of_graph(graph) for graph in app.graphs],
        }
    )


def _answer(model: ModelDefinition) -> dict[str, Any]:
    return {
        "name": model.name,
        "version": model.version,
        "learners": {name: learner.kind for name, learner in model.learners.items()},
        "champion": model.route.champion,
        "inputs": len(model.inputs),
        "label": None if model.label is None else model.label.event.name,
        "owner": model.owner,
    }


def _table(models: tuple[ModelDefinition, ...]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("model", "learners", "champion", "label", "owner"):
        table.add_column(name, no_wrap=name == "model")
    table.add_column("inputs", justify="right")
    for model in models:
        learners = ", ".join(f"{name} ({learner.kind})" for name, learner in model.learners.items())
        label = "" if model.label is None else model.label.event.name
        table.add_row(model.key, learners, model.route.champion, label, model.owner, str(len(model.inputs)))
    return table


def _answer_of_graph(graph: GraphDefinition) -> dict[str, Any]:
    return {
        "name": graph.name,
        "version": graph.version,
        "candidates": graph.candidates.entity.name,
        "limit": graph.candidates.limit,
        "stages": [each.name for each in graph.stages],
        "models": [each.key for each in graph.models],
        "matrices": dict(graph.matrices),
        "views": [each.key for each in graph.views],
        "owner": graph.owner,
    }


def _graph_table(graphs: tuple[GraphDefinition, ...]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("graph", "candidates", "stages", "asks", "owner"):
        table.add_column(name, no_wrap=name == "graph")
    for graph in graphs:
        given = f"{graph.candidates.limit:,} of {graph.candidates.entity.name}"
        asks = ", ".join((*(each.key for each in graph.models), *(f"{each} (matrix)" for each in graph.matrices)))
        table.add_row(graph.key, given, " > ".join(each.name for each in graph.stages), asks, graph.owner)
    return table
