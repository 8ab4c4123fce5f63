"""``headrace publish TOPIC FILE``: JSON lines to an event topic, keyed as the event's definition says."""

from __future__ import annotations

import asyncio
import difflib
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, BinaryIO

import msgspec
import typer

from agents.fetch_schemas import SchemaRegistry
from agents.transport import Producer
from definitions.declared import AppDefinition, EventDefinition
from headrace.command.ending import FOUND_A_PROBLEM
from headrace.command.options import AsJson, settings_of
from headrace.command.voice import Voice
from headrace.errors import UsageError
from headrace.servers.substrate import existing
from headrace.session import open_schemas, open_session
from headrace.settings import Settings
from streams.codecs import decoder_of
from streams.codecs.framed import FramedDecoder, Unreadable
from streams.entities import entity_key
from streams.errors import DecodeError
from streams.topics import declared

_IN_FLIGHT = 5_000
_TOLD = 10
_STANDARD_INPUT = Path("-")

_Encoded = tuple[bytes, bytes | None]
"""A line and its record."""


@dataclass(slots=True)
class Published:
    """What became of the lines."""

    published: int = 0
    without_key: int = 0
    refused: int = 0
    """Lines that its codec has no record for; JSON has one for every line."""


def command(
    context: typer.Context,
    topic: Annotated[str, typer.Argument(metavar="TOPIC", help="An event's topic.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="One JSON object per line; - reads standard input.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Publish JSON lines to an event topic, keyed as the event's definition says.

    On a JSON topic the bytes go out as they are. A line whose key cannot be read goes out without one: the features
    role makes it a dead letter. On an Avro or Protobuf topic each line is written under the newest schema of the
    registry's subject TOPIC-value; a line that does not fit it stays here, and the exit code is 1.
    """
    voice = Voice(as_json)
    result = asyncio.run(_publish(context, topic, file, voice))
    keyless = f", {result.without_key} of them without a readable key" if result.without_key else ""
    refused = f", refused {result.refused} lines" if result.refused else ""
    voice.say(f"published {result.published} records to {topic}{keyless}{refused}")
    voice.answer(
        {
            "topic": topic,
            "published": result.published,
            "without_key": result.without_key,
            "refused": result.refused,
        }
    )
    if result.refused:
        raise typer.Exit(FOUND_A_PROBLEM)


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


async def _publish(context: typer.Context, topic: str, file: Path, voice: Voice) -> Published:
    settings = settings_of(context)
    async with open_session(settings, existing(settings, Path.cwd())) as session:
        event = _event_of(session.app, topic)
        encode = _encode_of(event, settings)
        topics = declared(session.app, session.namespace, settings.partitions)
        await session.log.create_topics([each for each in topics if each.name == topic])
        with _lines_of(file) as lines:
            return await _send(session.log.producer(), event, _encoded(encode, lines, voice))


async def _send(producer: Producer, event: EventDefinition, lines: Iterable[_Encoded]) -> Published:
    result = Published()
    waiting = []
    for line, value in lines:
        if value is None:
            result.refused += 1
            continue
        key = key_of(event, line)
        waiting.append(producer.produce(event.topic, value, key=key))
        result.published += 1
        result.without_key += key is None
        if len(waiting) == _IN_FLIGHT:
            await asyncio.gather(*waiting)
            waiting.clear()
    await asyncio.gather(*waiting)
    return result


def _encoded(encode: Callable[[bytes], bytes] | None, lines: Iterable[bytes], voice: Voice) -> Iterator[_Encoded]:
    """Yield each line and its record, None for one that does not fit; the first few of those are told."""
    refused = 0
    for number, line in enumerate(lines, start=1):
        try:
            yield line, line if encode is None else encode(line)
        except DecodeError as error:
            refused += 1
            if refused <= _TOLD:
                voice.say(f"cannot publish: line {number}: {error}")
            yield line, None


def _encode_of(event: EventDefinition, settings: Settings) -> Callable[[bytes], bytes] | None:
    """Return what writes a line's record, None where the line is the record.

    Raises:
        CodecMissing: the codec needs a package or a registry.
        UsageError: the registry has no schema for the topic, or not one of the codec.
        RegistryUnavailable: it does not answer.
    """
    schemas = open_schemas(settings)
    decoder = decoder_of(event, schemas)
    if not isinstance(decoder, FramedDecoder) or settings.schema_registry is None:
        return None
    from streams.codecs.writing import encoder_of  # noqa: PLC0415  # needs the packages of the extra

    subject = f"{event.topic}-value"
    found = SchemaRegistry(settings.schema_registry).latest(subject)
    if found is None or found.schema.kind != decoder.kind:
        got = "none" if found is None else f"one of {found.schema.kind}"
        raise UsageError(
            f"cannot publish: subject {subject}: expected an {event.codec} schema, got {got}; register one"
        )
    try:
        return encoder_of(event, found.schema, found.id)
    except Unreadable as error:
        raise UsageError(f"cannot publish: subject {subject}, schema {found.id}: {error}") from error


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
