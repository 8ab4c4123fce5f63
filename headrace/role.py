"""``python -m headrace.role NAME``: the process of one role, as the supervisor starts it.

It drains and ends on SIGTERM, and when its standard input ends: then its supervisor is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

from headrace.command.ending import end_with_a_line
from headrace.command.voice import Voice
from headrace.roles import KINDS, serve
from headrace.servers.substrate import existing
from headrace.session import open_session
from headrace.settings import Settings, read_settings

_STANDS_BACK = 5
"""How nice a role is whose work no caller waits for: where the processors are full, answers go first."""

_SESSION = Path("/proc/self/autogroup")


def main() -> None:
    """Run the role that the command line names, with the settings of the environment."""
    end_with_a_line(lambda: asyncio.run(_run(sys.argv[1])))


async def _run(name: str) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_reader(sys.stdin.fileno(), _end_with_the_supervisor, stop)
    if not KINDS[name].is_awaited:
        stand_back()
    settings = suited(read_settings(Path.cwd()), name)
    async with open_session(settings, existing(settings, Path.cwd())) as session:
        await serve([name], session, stop=stop, say=Voice(as_json=True).say)


def stand_back() -> None:
    """Let the processes that somebody waits for go first.

    Where Linux shares the processors among sessions first, a process is nice to others of its session alone: the
    session that a role leads has to be nice too.
    """
    os.nice(_STANDS_BACK)
    if os.getsid(0) == os.getpid() and _SESSION.exists():
        with contextlib.suppress(OSError):
            _SESSION.write_text(str(_STANDS_BACK))


def suited(settings: Settings, role: str) -> Settings:
    """Return the settings with what the producers of a role do best with, under what the user chose."""
    linger_ms = KINDS[role].linger_ms
    if linger_ms is None:
        return settings
    return replace(settings, kafka_properties={"linger.ms": str(linger_ms), **settings.kafka_properties})


def _end_with_the_supervisor(stop: asyncio.Event) -> None:
    if not os.read(sys.stdin.fileno(), 1024):
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        stop.set()


if __name__ == "__main__":
    main()
