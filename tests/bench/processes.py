"""What a process and its children cost, by ``/proc``: processor seconds and resident memory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_TICKS_A_S = os.sysconf("SC_CLK_TCK")
_LONGEST_END_S = 20.0
_LONGEST_RUN_S = 600.0
_ERRORS = "errors.log"


def descent(pid: int) -> list[int]:
    """Return the process and all that descend from it."""
    found, left = [], [pid]
    while left:
        each = left.pop()
        found.append(each)
        with suppress(OSError):
            for task in Path(f"/proc/{each}/task").iterdir():
                left += [int(child) for child in (task / "children").read_text().split()]
    return found


def cpu_s(pid: int) -> float:
    """Return the processor seconds, user and system, of a process and its descent, ended children included."""
    ticks = 0
    for each in descent(pid):
        with suppress(OSError):
            after_name = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(int(part) for part in after_name[11:15])
    return ticks / _TICKS_A_S


def peak_rss_mb(pid: int) -> float:
    """Return the highest resident memory so far, MB, summed over a process and its descent."""
    kb = 0
    for each in descent(pid):
        with suppress(OSError):
            lines = Path(f"/proc/{each}/status").read_text().splitlines()
            kb += sum(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    return kb * 1024 / 1e6


@dataclass(frozen=True, slots=True)
class Cost:
    """What a measured process did between its first record and its last."""

    events: int
    seconds: float
    cpu_s: float
    rss_mb: float
    said: Mapping[str, Any]
    """What it said of itself at the end."""

    @property
    def per_s(self) -> float:
        """Events per second."""
        return self.events / self.seconds

    @property
    def cpu_s_per_100k(self) -> float:
        """Processor seconds per 100,000 events."""
        return self.cpu_s / self.events * 100_000


def run_measured(command: Sequence[str], *, cwd: Path, environment: Mapping[str, str] | None = None) -> Cost:
    """Run a process that says ``{"say": "begin"}`` and ``{"say": "end", "events": N, "seconds": S, ...}``, one a line.

    It lives until its standard input ends, so that what it cost can be read; for ten minutes at most.

    Raises:
        RuntimeError: it ended before it said so.
    """
    with _started(command, cwd, environment) as process, _killed_after(_LONGEST_RUN_S, process):
        assert process.stdout is not None
        at_begin_s: float | None = None
        for line in process.stdout:
            told = _told(line)
            if told.get("say") == "begin":
                at_begin_s = cpu_s(process.pid)
            elif told.get("say") == "end" and at_begin_s is not None:
                used_s = cpu_s(process.pid) - at_begin_s
                return Cost(int(told["events"]), float(told["seconds"]), used_s, peak_rss_mb(process.pid), told)
    last = (cwd / _ERRORS).read_text(errors="replace").strip().splitlines()[-1:]
    raise RuntimeError(
        f"cannot measure {Path(command[1]).parent.name}: it ended early or did not end: {''.join(last)[:300]}"
    )


@contextmanager
def _started(
    command: Sequence[str], cwd: Path, environment: Mapping[str, str] | None
) -> Iterator[subprocess.Popen[str]]:
    """Run a process in a session of its own; its end is the end of all that it started."""
    with (cwd / _ERRORS).open("ab") as errors:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(_LONGEST_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def _killed_after(seconds: float, process: subprocess.Popen[str]) -> Iterator[None]:
    timer = threading.Timer(seconds, process.kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _told(line: str) -> dict[str, Any]:
    """Return the object in a line, or nothing: peers print what they like."""
    with suppress(ValueError):
        found = json.loads(line)
        if isinstance(found, dict):
            return found
    return {}
