"""``headrace repair TOPIC [PARTITION]``: what does not fit between a source topic and its rows, and the way on."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from agents.repair_topic import examine, repair
from definitions.declared import AppDefinition, EventDefinition
from headrace.command.ending import FOUND_A_PROBLEM
from headrace.command.options import AsJson, settings_of
from headrace.command.voice import Voice
from headrace.errors import UsageError
from headrace.servers.substrate import existing
from headrace.session import open_session
from streams.repairs import ACCEPT_LOSS, RESTART, Fault


def command(
    context: typer.Context,
    topic: Annotated[str, typer.Argument(metavar="TOPIC", help="An event's topic.")],
    partition: Annotated[int | None, typer.Argument(metavar="[PARTITION]", help="One partition; default: all.")] = None,
    accept_loss: Annotated[  # noqa: FBT002  # a flag
        bool, typer.Option(ACCEPT_LOSS, help="Go on with the log as it is; what is gone is counted as lost.")
    ] = False,
    restart: Annotated[  # noqa: FBT002
        bool, typer.Option(RESTART, help="Give the state up and read the log again from its oldest record.")
    ] = False,
    *,
    as_json: AsJson = False,
) -> None:
    """Tell what does not fit between a source topic and its rows; with an option, go on in that way.

    Without one nothing is changed, and the exit code is 1 where something is wrong. Running roles notice within 5 s.
    """
    if accept_loss and restart:
        raise UsageError(f"cannot repair: {topic}: expected one way, got {ACCEPT_LOSS} and {RESTART}; choose one")
    way = ACCEPT_LOSS if accept_loss else RESTART if restart else None
    voice = Voice(as_json)
    faults, lost = asyncio.run(_repair(context, topic, partition, way))
    for fault in faults:
        voice.say(fault.message if way is None else f"{_where(fault)}: was {fault.reason}: {fault.found}")
    if way is not None:
        voice.say(f"{topic}: repaired by {way}; {lost} records are counted as lost")
    elif not faults:
        voice.say(f"{topic}: rows and log fit")
    found = [
        {"partition": each.partition.index, "reason": each.reason, "found": each.found, "message": each.message}
        for each in faults
    ]
    voice.answer({"topic": topic, "way": way, "faults": found, "lost": lost})
    if faults and way is None:
        raise typer.Exit(FOUND_A_PROBLEM)


def event_of(app: AppDefinition, topic: str) -> EventDefinition:
    """Return the event that is published to a topic.

    Raises:
        UsageError: none is.
    """
    for event in app.events:
        if event.topic == topic:
            return event
    known = ", ".join(event.topic for event in app.events) or "none, for no event is declared"
    raise UsageError(f"cannot use {topic}: expected the topic of an event, got another; there is {known}")


def _read_event(app: AppDefinition, topic: str) -> EventDefinition:
    """Return the event of a topic that the features role reads: published to, or a copy."""
    return next((each for each in app.copies if each.topic == topic), None) or event_of(app, topic)


async def _repair(
    context: typer.Context, topic: str, partition: int | None, way: str | None
) -> tuple[list[Fault], int]:
    settings = settings_of(context)
    async with open_session(settings, existing(settings, Path.cwd())) as session:
        event = _read_event(session.app, topic)
        examined = await examine(session.app, event, session.log, session.store)
        if partition is not None and partition >= len(examined.partitions):
            raise UsageError(
                f"cannot repair: {topic}: expected a partition below {len(examined.partitions)}, got {partition}"
            )
        faults = [each for each in examined.faults if partition is None or each.partition.index == partition]
        lost = 0 if way is None else await repair(examined, way, session.log, session.store, partition)
    return faults, lost


def _where(fault: Fault) -> str:
    return f"{fault.partition.topic}[{fault.partition.index}]"
