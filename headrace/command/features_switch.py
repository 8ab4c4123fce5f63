"""``headrace features switch VIEW --to 2`` (or ``--back``), and ``drop``: which version of a view readers read."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated

import typer

from definitions.declared import ViewDefinition
from headrace.command.bars import bars
from headrace.command.ending import FOUND_A_PROBLEM
from headrace.command.options import AsJson
from headrace.command.past import Past, open_past
from headrace.command.voice import Voice
from headrace.errors import UsageError
from streams.switching import Standing, drop, refuse_unreadable, standings, switch, topics_of
from streams.versions import InForce, read_in_force

_ATTEMPTS = 40
_PAUSE_S = 0.05


def switch_command(
    context: typer.Context,
    view: Annotated[str, typer.Argument(metavar="VIEW", help="The view's name: origin_traffic.")],
    to: Annotated[int | None, typer.Option(help="The version to put in force.")] = None,
    *,
    back: Annotated[bool, typer.Option("--back", help="The version that was in force before.")] = False,
    as_json: AsJson = False,
) -> None:
    """Put a version of a view in force for everybody who reads it, while they read.

    Refused, with exit code 1, unless running features roles keep the version current in every partition, and every
    model that follows the view can be read in it.
    """
    if (to is None) is not back:
        raise UsageError("cannot switch: expected one of --to N and --back, got " + ("both" if back else "none"))
    voice = Voice(as_json)
    with open_past(context) as past:
        versions = past.app.versions(view)
        held = read_in_force(past.store, versions)
        wanted = past.app.view(view, to) if to is not None else _before(versions, held)
        refuse_unreadable(past.app, wanted)
        is_news = held.key != wanted.key or not held.generation
        lacking = [each for each in _stand(past, wanted) if not each.is_ready] if is_news else []
        if is_news and not lacking:
            held = switch(past.store, held, wanted)
    for each in lacking:
        voice.say(_line(each))
    voice.say(f"not switched: {wanted.key} is not current" if lacking else f"in force: {wanted.key}")
    voice.answer(
        {
            "view": view,
            "in_force": held.key,
            "before": held.before,
            "generation": held.generation,
            "lacking": [_answer(each) for each in lacking],
        }
    )
    if lacking:
        raise typer.Exit(FOUND_A_PROBLEM)


def drop_command(
    context: typer.Context,
    view: Annotated[str, typer.Argument(metavar="VIEW", help="The view's name: origin_traffic.")],
    version: Annotated[int, typer.Option(help="The version to remove from the store.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Remove what the store holds of a version that nobody reads. Afterwards its class can go from the module."""
    voice = Voice(as_json)
    with open_past(context) as past, bars() as tell:
        definition = past.app.view(view, version)
        removed = drop(past.store, past.app, definition, lambda done, total: tell("cells", done, total))
    voice.say(f"{definition.key}: removed, with {removed} cells")
    voice.answer({"view": view, "version": version, "cells": removed})


def _before(versions: Sequence[ViewDefinition], held: InForce) -> ViewDefinition:
    for each in versions:
        if each.key == held.before:
            return each
    raise UsageError(f"cannot switch back: expected {held.before} among the declared versions, got it not; declare it")


def _stand(past: Past, view: ViewDefinition) -> Sequence[Standing]:
    """Return where the version stands; what seems to lack may just be being written, and is looked at again."""
    partitions = {topic: past.history.partitions(topic) for topic in topics_of(view)}
    for _ in range(_ATTEMPTS):
        found = standings(past.store, view, partitions)
        if found and all(each.is_ready for each in found):
            break
        time.sleep(_PAUSE_S)
    return found


def _line(lacking: Standing) -> str:
    where = f"{lacking.topic}[{lacking.partition}]"
    if lacking.next is None:
        return f"{where}: no row; run `headrace features backfill`"
    if lacking.next < lacking.live:
        return f"{where}: {lacking.live - lacking.next} records behind; run `headrace features backfill`"
    return f"{where}: no features role that runs keeps it current"


def _answer(lacking: Standing) -> dict[str, object]:
    place = {"topic": lacking.topic, "partition": lacking.partition}
    return {**place, "next": lacking.next, "live": lacking.live, "kept": lacking.is_kept}
