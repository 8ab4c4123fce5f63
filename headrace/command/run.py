"""``headrace run ROLE…``: roles in the foreground, each in a process of its own that is replaced when it ends."""

from __future__ import annotations

import asyncio
import signal
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from headrace.command.ending import WRONG_USAGE
from headrace.command.options import AsJson, settings_of
from headrace.command.voice import Voice
from headrace.servers.substrate import Substrate, provide
from headrace.session import load_definitions, open_session
from headrace.settings import Settings, child_environment
from headrace.supervisor import Supervisor, role_command
from streams.topics import declared


class RoleName(StrEnum):
    """What can be run. The names are those of `headrace.settings.ROLES`."""

    FEATURES = "features"
    SCORING = "scoring"
    LEARNING = "learning"
    MONITORING = "monitoring"


def command(
    context: typer.Context,
    roles: Annotated[
        list[RoleName] | None, typer.Argument(metavar="ROLE...", help="Which to run; all of them if none is named.")
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Run roles in the foreground until SIGTERM or Ctrl-C, which drains them.

    Local servers are started first where none is configured or up. A role that ends by itself is started again.
    """
    voice = Voice(as_json)
    settings = settings_of(context)
    load_definitions(settings)
    names = tuple(dict.fromkeys(str(role) for role in roles or RoleName))
    substrate = provide(settings, Path.cwd(), say=voice.say)
    voice.say(substrate.line)
    code, restarts = asyncio.run(_run(names, settings, substrate, voice))
    voice.answer({"roles": names, "substrate": "in-process" if substrate.in_process else "kafka", "restarts": restarts})
    raise typer.Exit(code)


async def _run(names: tuple[str, ...], settings: Settings, substrate: Substrate, voice: Voice) -> tuple[int, int]:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with open_session(settings, substrate) as session:
        await session.log.create_topics(declared(session.app, session.namespace, settings.partitions))
        if substrate.in_process:
            from headrace.roles import serve  # noqa: PLC0415  # a second of learning libraries that a supervisor spares

            await serve(names, session, stop=stop, say=voice.say)
            return 0, 0
    supervisor = Supervisor(
        commands={name: role_command(name) for name in names},
        environment=child_environment(substrate.pinned(settings)),
        say=voice.say,
        hopeless=frozenset({WRONG_USAGE}),
    )
    code = await supervisor.run(stop)
    voice.say(f"stopped {', '.join(names)}")
    return code, sum(supervisor.restarts.values())
