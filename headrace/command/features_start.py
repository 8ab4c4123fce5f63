"""``headrace features start VIEW``: lets a view that was declared later read its events from the log's beginning."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from headrace.command.options import AsJson, settings_of
from headrace.command.voice import Voice
from headrace.errors import UsageError
from headrace.servers.substrate import existing
from headrace.session import open_session
from headrace.settings import Settings
from streams.store import Row, RowKey


def start_command(
    context: typer.Context,
    view: Annotated[str, typer.Argument(metavar="VIEW", help="The view's name: origin_traffic.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Start a view that waits because its events were read before it was declared.

    Its rows are created at the oldest record that the log still has, only where there are none. Running features roles
    notice within a second, and read what the view lacks; the other views skip what they contain.
    """
    voice = Voice(as_json)
    started, found = asyncio.run(_start(settings_of(context), view))
    voice.say(f"{view}: started in {started} of {found} partitions")
    voice.answer({"view": view, "started": started, "partitions": found})


async def _start(settings: Settings, name: str) -> tuple[int, int]:
    async with open_session(settings, existing(settings, Path.cwd())) as session:
        view = session.app.view(name)
        found = {source: await session.log.partitions(source.event.topic) for source in view.sources}
        for source, partitions in found.items():
            if not partitions:
                topic = source.event.topic
                raise UsageError(f"cannot start {name}: {topic}: expected a topic, got none; run `headrace run`")
        keys = [RowKey(source.key, partition) for source, partitions in found.items() for partition in partitions]
        missing = [stored is None for stored in session.store.read_rows(keys)]
        bounds = await session.log.bounds([key.partition for key in keys])
        for key, is_missing, (first, _) in zip(keys, missing, bounds, strict=True):
            if is_missing:
                session.store.create_row(key, Row(next=first, first=first))
        return sum(missing), len(keys)
