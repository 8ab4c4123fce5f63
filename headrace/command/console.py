"""``headrace console``: every feature and how it is used, live on one web page."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from headrace.command.options import settings_of
from headrace.command.voice import Voice
from headrace.errors import ServerMissing
from headrace.servers.substrate import existing
from headrace.session import load_definitions, open_store
from marketplace import Entry, entries, measured


def command(
    context: typer.Context,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8600,
) -> None:
    """Show every feature and how it is used, live on one web page, until interrupted."""
    try:
        from marketplace import console  # noqa: PLC0415  # an optional extra, and two seconds of imports
    except ModuleNotFoundError as missing:
        raise ServerMissing(
            f"cannot show the console: expected the package {missing.name}, got none; pip install 'headrace[console]'"
        ) from missing
    settings = settings_of(context)
    app = load_definitions(settings)
    store = open_store(existing(settings, Path.cwd()), settings.namespace_of(app.name))

    def read() -> Sequence[Entry]:
        return entries(app, measured(app, store, now_ms=time.time_ns() // 1_000_000))

    Voice(as_json=False).say(f"console: http://{host}:{port} (Ctrl-C ends it)")
    console.serve(app.name, entries(app, {}), read, host=host, port=port)
