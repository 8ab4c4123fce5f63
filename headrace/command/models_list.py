"""``headrace models list``: every declared model, its learners and its route."""

from __future__ import annotations

import sys
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from definitions.declared import ModelDefinition
from headrace.command.options import AsJson, settings_of
from headrace.command.voice import Voice
from headrace.session import load_definitions

_WIDTH = 120


def list_command(context: typer.Context, *, as_json: AsJson = False) -> None:
    """List the declared models; needs no server."""
    models = load_definitions(settings_of(context)).models
    Console(stderr=as_json, width=_WIDTH).print(_table(models))
    sys.stdout.flush()
    Voice(as_json).answer({"models": [_answer(model) for model in models]})


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
