"""``headrace features list``: the catalogue of every feature, filtered by what is declared and by what was measured."""

from __future__ import annotations

import dataclasses
import shutil
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from headrace.command.options import AsJson, settings_of
from headrace.command.voice import Voice
from headrace.servers.substrate import existing
from headrace.session import load_definitions, open_store
from headrace.settings import Settings
from marketplace import Entry, Filter, entries, measured

_WIDE_ENOUGH = 120


def list_command(  # noqa: PLR0913, PLR0917  # a command's options
    context: typer.Context,
    text: Annotated[str, typer.Argument(metavar="[TEXT]", help="A part of the name, the recipe or a tag.")] = "",
    kind: Annotated[str, typer.Option("--type", help="int, float, bool, category, time or embedding.")] = "",
    entity: Annotated[str, typer.Option(help="The entity it describes, as in: origin, dest.")] = "",
    owner: Annotated[str, typer.Option(help="Who answers for it.")] = "",
    model: Annotated[str, typer.Option(help="The model or graph that reads it, as in late.v1.")] = "",
    min_missing: Annotated[float | None, typer.Option(min=0, max=1, help="Served missing at least this often.")] = None,
    min_reads: Annotated[float | None, typer.Option(min=0, help="Read at least this often, per minute.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """List every feature: what it is, who reads it, and what was measured from live traffic."""
    voice, settings = Voice(as_json), settings_of(context)
    wanted = Filter(text, kind, entity, owner, model, min_missing, min_reads)
    known = _catalogue(settings)
    kept = [entry for entry in known if wanted.keeps(entry)]
    console = Console(stderr=as_json, width=max(_WIDE_ENOUGH, shutil.get_terminal_size().columns))
    console.print(_table(kept))
    voice.say(f"{len(kept)} of {len(known)} features")
    voice.answer({"features": [_answer(entry) for entry in kept]})
    sys.stdout.flush()


def _catalogue(settings: Settings) -> tuple[Entry, ...]:
    app = load_definitions(settings)
    store = open_store(existing(settings, Path.cwd()), settings.namespace_of(app.name))
    try:
        return entries(app, measured(app, store, now_ms=time.time_ns() // 1_000_000))
    finally:
        store.close()


def _answer(entry: Entry) -> dict[str, Any]:
    missing_ratio = entry.served.missing_ratio if entry.served else None
    return {**dataclasses.asdict(entry), "reads_per_min": entry.reads_per_min, "missing_ratio": missing_ratio}


def _table(kept: list[Entry]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("feature", "what it is", "type", "entity", "owner", "read by"):
        table.add_column(name, no_wrap=name == "feature")
    for name in ("reads/min", "served", "missing", "mean or top"):
        table.add_column(name, justify="right")
    for entry in kept:
        served = entry.served
        measures = (
            ("", "", "", "")
            if served is None
            else (
                f"{served.reads_per_min:.1f}",
                str(served.n),
                "" if served.missing_ratio is None else f"{served.missing_ratio:.1%}",
                served.centre,
            )
        )
        table.add_row(
            entry.name, entry.recipe, entry.shown_type, entry.entity, entry.owner, ", ".join(entry.models), *measures
        )
    return table
