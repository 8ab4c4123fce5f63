"""Keeps child processes running: one that ends is replaced, never healed, and all of them end when told.

A child's standard input is a pipe from here, so that children notice even the supervisor's sudden death. Children lead
their own session: a Ctrl-C reaches them once, as the SIGTERM that is sent from here.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 30.0
STEADY_S = 60.0
"""A child that lived this long has forgotten its earlier ends."""


@dataclass(slots=True)
class Supervisor:
    """Runs one command per name until ``stop`` is set.

    Args:
        commands: name to command line.
        environment: the children's environment.
        say: takes a line for people about each end and restart.
        hopeless: exit codes that a restart cannot mend; one such end ends everything.
        deadline_s: from SIGTERM to SIGKILL.
    """

    commands: Mapping[str, Sequence[str]]
    environment: Mapping[str, str]
    say: Callable[[str], None]
    hopeless: frozenset[int] = frozenset()
    deadline_s: float = 9.0
    logs: Path | None = None
    """A folder that takes what each child says, as ``<name>.log``; None leaves the children our own outputs."""
    restarts: dict[str, int] = field(default_factory=dict)
    """Name to how often it was replaced."""

    async def run(self, stop: asyncio.Event) -> int:
        """Keep every child running until ``stop`` is set; return 0, else the worst code.

        That is 1 where a child had to be killed or ended badly, and the child's own code where that is hopeless.
        """
        self.restarts = dict.fromkeys(self.commands, 0)
        codes = await asyncio.gather(*(self._keep(name, stop) for name in self.commands))
        return max(codes)

    async def _keep(self, name: str, stop: asyncio.Event) -> int:
        loop = asyncio.get_running_loop()
        wait_s = FIRST_WAIT_S
        while not stop.is_set():
            began = loop.time()
            child = await self._start(name)
            if not await _ended_by_itself(child, stop):
                return await self._end(name, child)
            code = await child.wait()
            if code in self.hopeless:
                stop.set()
                return code
            wait_s = FIRST_WAIT_S if loop.time() - began >= STEADY_S else wait_s
            self.say(f"{name} ended {_manner(code)}; starting it again in {wait_s:g} s")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), wait_s)
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)
            self.restarts[name] += 1
        return 0

    async def _start(self, name: str) -> Process:
        with contextlib.ExitStack() as opened:
            output = None if self.logs is None else opened.enter_context((self.logs / f"{name}.log").open("ab"))
            return await asyncio.create_subprocess_exec(
                *self.commands[name],
                stdin=PIPE,
                stdout=output,
                stderr=output,
                env=dict(self.environment),
                start_new_session=True,
            )

    async def _end(self, name: str, child: Process) -> int:
        with contextlib.suppress(ProcessLookupError):
            child.terminate()
        try:
            code = await asyncio.wait_for(child.wait(), self.deadline_s)
        except TimeoutError:
            self.say(f"{name} did not end within {self.deadline_s:g} s; killing it")
            child.kill()
            await child.wait()
            return 1
        if code in (0, -signal.SIGTERM):  # one that had not begun yet has nothing to drain
            return 0
        self.say(f"{name} ended {_manner(code)} while it was stopped")
        return 1


def role_command(name: str) -> list[str]:
    """Return the command line of a role's process."""
    return [sys.executable, "-m", "headrace.role", name]


async def _ended_by_itself(child: Process, stop: asyncio.Event) -> bool:
    """Wait for the child's end or for ``stop``; return whether the child ended unasked."""
    waiting = [asyncio.ensure_future(child.wait()), asyncio.ensure_future(stop.wait())]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waiting:
            each.cancel()
    return not stop.is_set()


def _manner(code: int) -> str:
    return f"by {signal.Signals(-code).name}" if code < 0 else f"with code {code}"
