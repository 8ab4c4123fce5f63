"""``headrace publish TOPIC FILE``: JSON lines to an event topic, keyed as the event's definition says."""

from __future__ import annotations

import asyncio
import difflib
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, BinaryIO

import msgspec
import typer

from agents.transport import Producer
from definitions.declared import AppDefinition, EventDefinition
from headrace.command.options import AsJson, settings_of
from headrace.command.voice import Voice
from headrace.errors import UsageError
from headrace.servers.substrate import existing
from headrace.session import open_session
from streams.entities import entity_key
from streams.topics import declared

_IN_FLIGHT = 5_000
_STANDARD_INPUT = Path("-")


@dataclass(slots=True)
class Published:
    """What became of the lines."""

    published: int = 0
    without_key: int = 0


def command(
    context: typer.Context,
    topic: Annotated[str, typer.Argument(metavar="TOPIC", help="An event's topic.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="One JSON object per line; - reads standard input.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Publish JSON lines to an event topic, keyed as the event's definition says.

    The bytes go out as they are. A line whose key cannot be read goes out without one: the features role makes it a
    dead letter.
    """
    voice = Voice(as_json)
    result = asyncio.run(_publish(context, topic, file))
    keyless = f", {result.without_key} of them without a readable key" if result.without_key else ""
    voice.say(f"published {result.published} records to {topic}{keyless}")
    voice.answer({"topic": topic, "published": result.published, "without_key": result.without_key})


def key_of(event: EventDefinition, line: bytes) -> bytes | None:
    """Return the record key of an event's JSON, None if it cannot be read. Cost: 1-2 us.

    Example:
        An event with ``key=("origin", "dest")`` and ``{"origin": "JFK", "dest": "LAX"}`` gives ``["JFK","LAX"]``.
    """
    try:
        values = msgspec.json.decode(line)
        found = [values[name] for name in event.key]
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError):
        return None
    if not all(isinstance(value, str | int) and not isinstance(value, bool) for value in found):
        return None
    return entity_key(found).encode()


async def _publish(context: typer.Context, topic: str, file: Path) -> Published:
    settings = settings_of(context)
    async with open_session(settings, existing(settings, Path.cwd())) as session:
        event = _event_of(session.app, topic)
        topics = declared(session.app, session.namespace, settings.partitions)
        await session.log.create_topics([each for each in topics if each.name == topic])
        with _lines_of(file) as lines:
            return await _send(session.log.producer(), event, lines)


async def _send(producer: Producer, event: EventDefinition, lines: Iterable[bytes]) -> Published:
    result = Published()
    waiting = []
    for line in lines:
        key = key_of(event, line)
        waiting.append(producer.produce(event.topic, line, key=key))
        result.published += 1
        result.without_key += key is None
        if len(waiting) == _IN_FLIGHT:
            await asyncio.gather(*waiting)
            waiting.clear()
    await asyncio.gather(*waiting)
    return result


def _event_of(app: AppDefinition, topic: str) -> EventDefinition:
    events = {event.topic: event for event in app.events}
    if topic not in events:
        (near,) = difflib.get_close_matches(topic, events, n=1, cutoff=0.0) or ["none, for no event is declared"]
        raise UsageError(f"cannot publish: {topic}: expected the topic of an event, got none; did you mean {near}?")
    return events[topic]


@contextmanager
def _lines_of(file: Path) -> Iterator[Iterable[bytes]]:
    """Yield the file's lines without their ends, empty ones left out; a bar on standard error follows the reading."""
    if file == _STANDARD_INPUT:
        yield _stripped(sys.stdin.buffer)
        return
    try:
        opened = file.open("rb")
    except OSError as error:
        raise UsageError(f"cannot publish: {file}: {error.strerror}") from error
    from rich.console import Console  # noqa: PLC0415  # a tenth of a second that standard input spares
    from rich.progress import wrap_file  # noqa: PLC0415

    size = file.stat().st_size
    with opened, wrap_file(opened, total=size, description=file.name, console=Console(stderr=True)) as watched:
        yield _stripped(watched)


def _stripped(file: BinaryIO) -> Iterator[bytes]:
    return (line for each in file if (line := each.rstrip(b"\r\n")))
