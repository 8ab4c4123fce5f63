"""``headrace check``: definitions checked and costed offline, no server needed."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from definitions.declared import AppDefinition, GraphDefinition
from headrace.command.ending import FOUND_A_PROBLEM
from headrace.command.options import AsJson, settings_of
from headrace.command.voice import Voice
from headrace.overruns import OverBudget, long_requests, narrow_disorder, over_budget
from headrace.session import load_definitions
from online_models.graphs.plan import Plan
from streams.candidates import narrowed
from streams.costs import EntityCost, ModelCost, ViewCost, cost_of_model, cost_of_view
from streams.costs.rankings import GraphCost, StageCost, cost_of_graph

_WIDE_ENOUGH = 130
_MOST_PARTITIONS = 1024


def command(
    context: typer.Context,
    partitions: Annotated[
        int | None, typer.Option(min=1, max=_MOST_PARTITIONS, help="Of each event's topic; default: the setting, 4.")
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Check the definitions, and tell what each view and each request costs: memory, bytes and time.

    Needs no server. A view, a model or a graph that is over budget is refused with exit code 1; the budget is
    [tool.headrace.budget].
    """
    voice, settings = Voice(as_json), settings_of(context)
    app = load_definitions(settings)
    number = settings.partitions if partitions is None else partitions
    views, models, graphs = _costs(app, number, settings.namespace_of(app.name))
    over = over_budget(list(views.values()), models, settings.budget, graphs)
    console = Console(stderr=as_json, width=max(_WIDE_ENOUGH, shutil.get_terminal_size().columns))
    if views:
        console.print(_view_table(list(views.values())))
    if models:
        console.print(_model_table(models))
    if graphs:
        console.print(_graph_table(graphs))
    sys.stdout.flush()
    notes = [*narrow_disorder(list(views.values())), *long_requests(graphs)]
    for line in (*(each.text for each in over), *notes):
        voice.say(line)
    voice.say(_summary(app, number, over))
    voice.answer(
        {
            "ok": not over,
            "app": app.name,
            "partitions": number,
            "budget": dataclasses.asdict(settings.budget),
            "views": [{**dataclasses.asdict(each), "key": key, "cells": each.cells} for key, each in views.items()],
            "models": [dataclasses.asdict(each) for each in models],
            "graphs": [dataclasses.asdict(each) for each in graphs],
            "over_budget": [dataclasses.asdict(each) for each in over],
            "notes": notes,
        }
    )
    if over:
        raise typer.Exit(FOUND_A_PROBLEM)


def _costs(
    app: AppDefinition, partitions: int, namespace: str
) -> tuple[dict[str, ViewCost], list[ModelCost], list[GraphCost]]:
    views = {view.key: cost_of_view(view, partitions, namespace=namespace) for view in app.views}
    graphs = [_graph_cost(graph, partitions, namespace) for graph in app.graphs]
    return views, [cost_of_model(model, views) for model in app.models], graphs


def _graph_cost(graph: GraphDefinition, partitions: int, namespace: str) -> GraphCost:
    """Return what a graph costs, which finalises of its views what it reads."""
    views = {
        view.name: cost_of_view(narrowed(view, graph.reads), partitions, namespace=namespace) for view in graph.views
    }
    return cost_of_graph(graph, Plan.of(graph).reads, views)


def _view_table(views: Sequence[ViewCost]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("view", "event"):
        table.add_column(name, no_wrap=True)
    for name in ("partitions", "cell", "in Redis", "read", "time"):
        table.add_column(name, justify="right", no_wrap=True)
    for view in views:
        for source in view.sources:
            first = source is view.sources[0]
            cell = f"{_bytes(source.typical_cell_bytes)} to {_bytes(source.hot_cell_bytes)}"
            whole = _entities(view.typical, view.hot) if first else ("", "", "")
            table.add_row(view.view if first else "", source.event, str(source.partitions), cell, *whole)
    return table


def _entities(typical: EntityCost, hot: EntityCost) -> tuple[str, str, str]:
    """Return memory, bytes read and time, each of a typical entity to that of a hot one."""
    return (
        f"{_bytes(typical.redis_bytes)} to {_bytes(hot.redis_bytes)}",
        f"{_bytes(typical.read_bytes)} to {_bytes(hot.read_bytes)}",
        f"{typical.read_ms:.2f} to {hot.read_ms:.2f} ms",
    )


def _model_table(models: Sequence[ModelCost]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("model", no_wrap=True)
    for name in ("round trips", "cells", "read a request", "time a request"):
        table.add_column(name, justify="right", no_wrap=True)
    for each in models:
        read = f"{_bytes(each.typical_bytes)} to {_bytes(each.hot_bytes)}"
        time = f"{each.typical_ms:.2f} to {each.hot_ms:.2f} ms"
        table.add_row(each.model, str(each.round_trips), str(each.cells), read, time)
    return table


def _graph_table(graphs: Sequence[GraphCost]) -> Table:
    """Return what requests cost with as many candidates as they may bring, of each graph and its stages that read."""
    table = Table(box=None, pad_edge=False)
    table.add_column("graph", no_wrap=True)
    for name in ("candidates", "cells", "read a request", "time a request", "its size", "its reply's"):
        table.add_column(name, justify="right", no_wrap=True)
    for graph in graphs:
        sizes = (_bytes(graph.request_bytes), _bytes(graph.reply_bytes))
        table.add_row(graph.graph, "", *_fetched(graph), *sizes)
        for each in graph.stages:
            if each.views:
                table.add_row(f"  {each.stage}", f"{each.candidates:,}", *_fetched(each), "", "")
    return table


def _fetched(cost: GraphCost | StageCost) -> tuple[str, str, str]:
    """Return cells, bytes and time, each of the last two of typical entities to that of hot ones."""
    return (
        f"{cost.cells:,}",
        f"{_bytes(cost.typical_bytes)} to {_bytes(cost.hot_bytes)}",
        f"{cost.typical_ms:.1f} to {cost.hot_ms:.1f} ms",
    )


def _bytes(count: int) -> str:
    number = float(count)
    for unit in ("B", "KiB", "MiB"):
        if number < 1024 or unit == "MiB":  # noqa: PLR2004  # what a KiB is
            break
        number /= 1024
    return f"{number:.0f} {unit}" if number >= 10 or unit == "B" else f"{number:.1f} {unit}"  # noqa: PLR2004


def _summary(app: AppDefinition, partitions: int, over: Sequence[OverBudget]) -> str:
    declared = f"{len(app.events)} events, {len(app.views)} views, {len(app.models)} models"
    declared += f", {len(app.graphs)} graphs" if app.graphs else ""
    verdict = f"{len(over)} over budget" if over else "within budget"
    return f"{app.name}: {declared}: {verdict}, typical entity to hot, at {partitions} partitions a topic"
