"""Server processes that outlive the command that started them, each known by a lock that it holds while it lives.

A child inherits the open file of its lock, so the kernel lets go of it at the child's end, however that came: no pid is
ever mistaken for another process that got its number later. Children lead their own session: Ctrl-C in the terminal
does not reach them.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from headrace.errors import ServerMissing

_POLL_S = 0.02

_children: dict[int, subprocess.Popen[bytes]] = {}
"""Children of this very process, kept so that they can be waited for."""


def spawn(command: Sequence[str], *, lock: Path, output: Path) -> int:
    """Start a process that holds ``lock`` while it lives and writes to ``output``; return its pid.

    Raises:
        ServerMissing: another process holds the lock, or the program cannot be run.
    """
    with lock.open("a") as held, output.open("ab") as written:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ServerMissing(f"cannot start {Path(command[0]).name}: {lock}: held by a living process") from None
        try:
            child = subprocess.Popen(  # noqa: S603  # the command line is ours
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=written,
                stderr=subprocess.STDOUT,
                pass_fds=(held.fileno(),),
                start_new_session=True,
            )
        except OSError as error:
            raise ServerMissing(f"cannot start {command[0]}: {error.strerror}") from error
        held.truncate(0)
        held.write(str(child.pid))
    _children[child.pid] = child
    return child.pid


def holder(lock: Path) -> int | None:
    """Return the pid of the living process that was started with ``lock``, None if there is none."""
    try:
        with lock.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(file.read() or 0) or None
    except FileNotFoundError:
        pass
    return None


def terminate(lock: Path, *, deadline_s: float) -> None:
    """End the process that holds ``lock``: SIGTERM, and SIGKILL if it still lives after ``deadline_s``."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        pid = holder(lock)
        if pid is None:
            break
        os.kill(pid, number)
        _wait_for_end(lock, deadline_s)
    for pid, child in list(_children.items()):
        if child.poll() is not None:
            del _children[pid]


def _wait_for_end(lock: Path, deadline_s: float) -> None:
    until = time.monotonic() + deadline_s
    while holder(lock) is not None and time.monotonic() < until:
        time.sleep(_POLL_S)


@contextmanager
def one_at_a_time(lock: Path) -> Iterator[None]:
    """Hold ``lock`` for the time of the block; wait for whoever holds it."""
    with lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
