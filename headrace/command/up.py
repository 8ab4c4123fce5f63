"""``headrace up``: start the local Kafka and Redis in the background."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import typer

from headrace.command.options import AsJson, settings_of
from headrace.command.voice import Voice
from headrace.errors import ServerMissing
from headrace.servers import substrate
from streams.store.address import safe


def command(context: typer.Context, *, as_json: AsJson = False) -> None:
    """Start the local Kafka and Redis in the background; every other command finds them from here and from below.

    Servers that HEADRACE_KAFKA and HEADRACE_REDIS name are left alone.
    """
    voice = Voice(as_json)
    settings = settings_of(context)
    if settings.substrate == "in-process":
        raise ServerMissing("cannot start servers: substrate: expected auto or kafka, got in-process; nothing to start")
    chosen = substrate.provide(dataclasses.replace(settings, substrate="kafka"), Path.cwd(), say=voice.say)
    voice.say(chosen.line)
    voice.answer({"kafka": chosen.kafka, "redis": None if chosen.redis is None else safe(chosen.redis)})
