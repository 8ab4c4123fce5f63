"""``headrace gateway``: scores over HTTP, by the Open Inference Protocol v2, for callers without Kafka."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agents.client import ScoringClient
from agents.transport import LogUnavailable
from definitions.declared import AppDefinition
from headrace.command.options import AsJson, settings_of
from headrace.command.voice import Voice
from headrace.errors import ServerMissing, UsageError
from headrace.servers.substrate import existing
from headrace.session import load_definitions, open_log
from headrace.settings import Settings

if TYPE_CHECKING:
    from agents.serve_gateway import GatewayServer

_BACKLOG = 1_024
_LOOK_S = 0.5


def command(
    context: typer.Context,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on, 0 for any.")] = 8700,
    *,
    as_json: AsJson = False,
) -> None:
    """Answer for scores over HTTP, by the Open Inference Protocol v2, until SIGTERM or Ctrl-C, which drains it.

    Requests go over the topic to the scoring role, which has to run; a release need not be there yet.
    """
    try:
        import agents.serve_gateway  # noqa: F401, PLC0415  # an optional extra
    except ModuleNotFoundError as missing:
        raise ServerMissing(
            f"cannot open the gateway: expected the package {missing.name}, got none; pip install 'headrace[gateway]'"
        ) from missing
    voice = Voice(as_json)
    settings = settings_of(context)
    app = load_definitions(settings)
    with listening_on(host, port) as listening:
        asyncio.run(_serve(settings, app, voice, listening=listening))


async def _serve(settings: Settings, app: AppDefinition, voice: Voice, *, listening: socket.socket) -> None:
    async with _opened(settings, app) as (client, server):
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, setattr, server, "should_exit", True)
        url = url_of(listening)
        voice.say(f"gateway: {url}/v2 (Ctrl-C ends it)")
        voice.answer({"url": url, "models": [model.key for model in app.models]})
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        while not (await asyncio.wait({serving}, timeout=_LOOK_S))[0]:
            server.should_exit = server.should_exit or not client.is_reading
        await serving
        if not client.is_reading:
            raise LogUnavailable("cannot go on: the gateway no longer hears replies; start it again")


def url_of(listening: socket.socket) -> str:
    """Return where a socket is asked over HTTP."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def listening_on(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises:
        UsageError: the address is taken, or none of this machine.
    """
    # Named as TCP: an event loop sends at once (no Nagle, which costs 40 ms an answer) only on sockets that say so.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        raise UsageError(f"cannot listen: {host}:{port}: {error.strerror}; name another --host or --port") from error
    return listening


@asynccontextmanager
async def _opened(settings: Settings, app: AppDefinition) -> AsyncIterator[tuple[ScoringClient, GatewayServer]]:
    from agents.serve_gateway import Gateway, GatewayServer  # noqa: PLC0415  # see above

    log = open_log(settings, existing(settings, Path.cwd()))
    namespace = settings.namespace_of(app.name)
    try:
        async with ScoringClient(namespace, log=log) as client:
            yield client, GatewayServer(Gateway(namespace, app.models, client, log))
    finally:
        await log.close()
