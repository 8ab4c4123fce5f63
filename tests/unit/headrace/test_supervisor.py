"""The supervisor: what ends is replaced, what is told to end does, and nothing outlives it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from headrace.supervisor import Supervisor

_DEADLINE_S = 20.0

WAITS = "import signal; signal.signal(signal.SIGTERM, lambda *_: exit(0)); print('up', flush=True); signal.pause()"
ENDS = "print('up', flush=True); raise SystemExit(7)"
DEAF = (
    "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True)\nwhile True: signal.pause()"
)


def supervisor(program: str, output: Path, said: list[str], hopeless: frozenset[int] = frozenset()) -> Supervisor:
    command = ["sh", "-c", 'exec "$0" -c "$1" >> "$2"', sys.executable, program, str(output)]
    return Supervisor({"role": command}, environment={}, say=said.append, hopeless=hopeless)


@asynccontextmanager
async def running(supervised: Supervisor, stop: asyncio.Event) -> AsyncIterator[asyncio.Task[int]]:
    task = asyncio.create_task(supervised.run(stop))
    try:
        yield task
    finally:
        stop.set()
        await task


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(_DEADLINE_S):
        while not condition():  # noqa: ASYNC110  # another process makes it true
            await asyncio.sleep(0.01)


def starts(output: Path) -> int:
    return output.read_text().count("up") if output.exists() else 0


async def test_a_child_that_is_told_to_end_drains_and_the_code_is_0(tmp_path: Path) -> None:
    output, stop, said = tmp_path / "out", asyncio.Event(), list[str]()

    async with running(supervisor(WAITS, output, said), stop) as task:
        await until(lambda: starts(output) == 1)
        stop.set()
        code = await asyncio.wait_for(task, _DEADLINE_S)

    assert code == 0
    assert said == []


async def test_a_child_that_ends_is_started_again_and_said_in_one_line(tmp_path: Path) -> None:
    output, stop, said = tmp_path / "out", asyncio.Event(), list[str]()
    supervised = supervisor(ENDS, output, said)

    async with running(supervised, stop):
        await until(lambda: starts(output) == 2)
        await until(lambda: len(said) == 2)

    assert said == [
        "role ended with code 7; starting it again in 0.5 s",
        "role ended with code 7; starting it again in 1 s",
    ]
    assert supervised.restarts["role"] >= 1


async def test_an_end_that_no_restart_can_mend_ends_everything_with_its_code(tmp_path: Path) -> None:
    output, stop, said = tmp_path / "out", asyncio.Event(), list[str]()

    async with running(supervisor(ENDS, output, said, frozenset({7})), stop) as task:
        code = await asyncio.wait_for(task, _DEADLINE_S)

    assert code == 7
    assert starts(output) == 1


async def test_a_deaf_child_is_killed_at_the_deadline_and_the_code_is_1(tmp_path: Path) -> None:
    output, stop, said = tmp_path / "out", asyncio.Event(), list[str]()
    supervised = supervisor(DEAF, output, said)
    supervised.deadline_s = 0.2

    async with running(supervised, stop) as task:
        await until(lambda: starts(output) == 1)
        stop.set()
        code = await asyncio.wait_for(task, _DEADLINE_S)

    assert code == 1
    assert said == ["role did not end within 0.2 s; killing it"]
