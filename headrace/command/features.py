"""``headrace features``: what the online store knows of an entity, and which features there are."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from definitions.declared import Feature, Field, Source, ViewDefinition
from definitions.values import Value, ValueType, shown
from headrace.command.features_backfill import backfill_command
from headrace.command.features_compare import compare_command
from headrace.command.features_list import list_command
from headrace.command.features_switch import drop_command, switch_command
from headrace.command.options import AsJson, settings_of
from headrace.command.voice import Voice
from headrace.errors import UsageError
from headrace.servers.substrate import existing
from headrace.session import load_definitions, open_store
from streams.entities import asked_key
from streams.reading import FeatureReader, Served
from streams.records import Partition
from streams.store import OnlineStore
from streams.versions import read_in_force

group = typer.Typer(no_args_is_help=True, help="What the online store knows.")

group.command("list")(list_command)
group.command("backfill")(backfill_command)
group.command("compare")(compare_command)
group.command("switch")(switch_command)
group.command("drop")(drop_command)

AsOf = Annotated[str | None, typer.Option("--as-of", help="Epoch ms or RFC 3339 with offset; default: now.")]


@group.callback()
def _features() -> None:
    """What the online store knows."""


@group.command("get")
def get_command(
    context: typer.Context,
    view: Annotated[str, typer.Argument(metavar="VIEW", help="The view's name: origin_traffic.")],
    entity: Annotated[str, typer.Argument(metavar="ENTITY", help="The entity; its parts with commas: JFK,LAX.")],
    as_of: AsOf = None,
    version: Annotated[int | None, typer.Option(help="Which version; default: the one in force.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Show an entity's features at a time, with their ages and how far they contain the log."""
    voice, settings = Voice(as_json), settings_of(context)
    app = load_definitions(settings)
    versions = app.versions(view)
    as_of_ms = time.time_ns() // 1_000_000 if as_of is None else read_time(as_of)
    store = open_store(existing(settings, Path.cwd()), settings.namespace_of(app.name))
    try:
        definition = version_read(store, versions) if version is None else app.view(view, version)
        asked = read_entity(definition, entity)
        reader = FeatureReader([definition])
        question = reader.question([asked])
        answer = store.read(question)
    finally:
        store.close()
    served = reader.serve(question, answer, 0, as_of_ms)
    rows = [stored.row for found in answer.rows for stored in found.values()]
    newest = [row.newest_ms for row in rows if row.newest_ms is not None]
    for line in _lines(definition, served, as_of_ms, max(newest, default=None)):
        voice.say(line)
    voice.answer(_answer(definition, asked, served, as_of_ms))


def version_read(store: OnlineStore, versions: Sequence[ViewDefinition]) -> ViewDefinition:
    """Return the version in force, the oldest declared where the one in force is not declared here."""
    key = read_in_force(store, versions).key
    return next((each for each in versions if each.key == key), versions[0])


def read_entity(view: ViewDefinition, text: str) -> dict[str, str | int]:
    """Return the entity that the command line names, typed as the view's events declare it.

    Raises:
        UsageError: it has another number of parts than the view's key, or a part of another type.
    """
    parts = [text] if len(view.entity) == 1 else _parts(text)
    if len(parts) != len(view.entity):
        raise UsageError(
            f"cannot read entity: {text!r}: expected {','.join(view.entity_names)}, got {len(parts)} parts"
        )
    return {each.name: _typed(each, part) for each, part in zip(view.entity, parts, strict=True)}


def read_time(text: str) -> int:
    """Return a time of the command line as epoch ms.

    Raises:
        UsageError: it is neither epoch ms nor RFC 3339 with offset.
    """
    if text.isdecimal():
        return int(text)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise UsageError(f"cannot read --as-of: expected epoch ms or RFC 3339 with offset, got {text!r}")
    return int(at.timestamp() * 1_000)


def _parts(text: str) -> list[str]:
    if text.startswith("["):
        try:
            found = json.loads(text)
        except ValueError:
            found = None
        if isinstance(found, list):
            return [str(each) for each in found]
    return text.split(",")


def _typed(named: Field, part: str) -> str | int:
    if named.type is not ValueType.INT:
        return part
    try:
        return int(part)
    except ValueError:
        raise UsageError(f"cannot read entity: {named.name}: expected a whole number, got {part!r}") from None


def _answer(view: ViewDefinition, asked: Mapping[str, str | int], served: Served, as_of_ms: int) -> dict[str, object]:
    return {
        "view": view.name,
        "version": view.version,
        "entity": asked_key(view.entity_names, asked),
        "as_of": as_of_ms,
        "values": _own(view, served.values),
        "ages": _own(view, served.ages_ms()),
        "features_as_of": served.as_of_ms,
        "positions": [
            _position(source, name, after)
            for source in view.sources
            for name, after in served.positions[source.key].items()
        ],
        "absent": bool(served.absent),
        "unanswerable": [name.removeprefix(f"{view.name}.") for name in served.unanswerable],
    }


def _position(source: Source, name: str, after: int) -> dict[str, object]:
    topic_id, _, index = name.rpartition("/")
    partition = Partition(source.event.topic, int(index), topic_id)
    return {"topic": partition.topic, "partition": partition.index, "next": after}


def _own(view: ViewDefinition, named: Mapping[str, Value]) -> dict[str, Value]:
    return {each.name: named.get(f"{view.name}.{each.name}") for each in view.features}


def _lines(view: ViewDefinition, served: Served, as_of_ms: int, newest_ms: int | None) -> Sequence[str]:
    """Return the answer as people read it."""
    lines = [f"{view.key} as of {_shown(as_of_ms)}"]
    if served.absent:
        lines.append("  not known: no event in the longest window")
    values, ages, unanswerable = _own(view, served.values), _own(view, served.ages_ms()), set(served.unanswerable)
    for each in view.features:
        name = each.name
        age = "" if ages[name] is None else f"  ({ages[name]} ms old)"
        lost = f"{view.name}.{name}" in unanswerable
        said = "unanswerable: older than what is kept, or its events have not been read"
        lines.append(f"  {name} = {said if lost else value_line(each, values[name])}{age}")
    contained = "nothing yet" if served.as_of_ms is None else _shown(served.as_of_ms)
    lines.append(f"contains what the broker had at: {contained}")
    if newest_ms is not None:
        lines.append(f"newest event: {_shown(newest_ms)}")
    return lines


def value_line(feature: Feature, value: Value) -> str:
    """Return a value as people read it: with its unit, a time as such, the first numbers of an embedding."""
    if feature.type is ValueType.TIME and isinstance(value, int):
        return _shown(value)
    unit = f" {feature.unit}" if feature.unit and value is not None else ""
    return f"{shown(value) if isinstance(value, list) else value}{unit}"


def _shown(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1_000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
