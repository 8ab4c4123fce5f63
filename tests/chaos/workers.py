"""The features processes of a scenario: started, killed, replaced; what each says is in a file of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.chaos.stage import DEADLINE_S, ChaosError, Stage

_BEGUN = "metrics and health on"
_CLEAN = (0, -signal.SIGTERM)
"""How a process ends that was told to; by the signal itself where it had not begun yet."""


class Workers:
    """Keeps a number of features processes running. A context: none outlives it."""

    def __init__(self, stage: Stage, count: int = 3) -> None:
        self.stage = stage
        self.kills = 0
        self._count = count
        self._started = 0
        self.running: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        """Start them, and wait until each has begun."""
        self.refill()
        try:
            self.stage.until(lambda: self.said().count(_BEGUN) == self._count, "every worker begun")
        except ChaosError:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End those that still run, and do not ask how."""
        for process in self.running:
            process.send_signal(signal.SIGCONT)
            process.kill()
            _wait(process)

    def refill(self) -> None:
        """Replace those that ended."""
        for process in self.running:
            if process.poll() is not None:
                _wait(process)
        self.running = [process for process in self.running if process.poll() is None]
        while len(self.running) < self._count:
            self.start()

    def start(self, *crash: str) -> subprocess.Popen[bytes]:
        """Start one; with a point and a hit it kills itself there."""
        with self.log(self._started).open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *self._command(crash)],
                cwd=self.stage.folder,
                env=dict(self.stage.environment),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._started += 1
        self.running.append(process)
        return process

    def _command(self, crash: Sequence[str]) -> Sequence[str]:
        """Return the module and the arguments of a process."""
        return ["tests.chaos.crash", *crash] if crash else ["headrace.role", "features"]

    def until_begun(self, newest: subprocess.Popen[bytes]) -> None:
        """Wait until the process that was started last has begun, or has ended."""
        log = self.log(self._started - 1)
        self.stage.until(lambda: newest.poll() is not None or _BEGUN in log.read_text(), "a worker begun")

    def log(self, number: int) -> Path:
        """Return the file that takes what a process says."""
        return self.stage.folder / f"worker-{number}.log"

    def said(self) -> str:
        """Return what all of them said."""
        return "\n".join(self.log(number).read_text() for number in range(self._started))

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """Kill -9 one, and wait for its end."""
        process.kill()
        _wait(process)
        self.kills += 1

    def end(self, process: subprocess.Popen[bytes]) -> int:
        """End one as an operator does; return 0 if that went well, else its code."""
        process.terminate()
        code = _wait(process)
        self.running = [each for each in self.running if each is not process]
        return 0 if code in _CLEAN else code

    def check_alive(self) -> None:
        """Refuse a scenario in which a process ended by itself.

        Raises:
            ChaosError: one did.
        """
        codes = [process.returncode for process in self.running if process.poll() is not None]
        if codes:
            raise ChaosError(f"{self.stage.name}: a worker ended by itself with {codes}: {self.said()[-2_000:]}")

    def end_all(self) -> None:
        """End all as an operator does.

        Raises:
            ChaosError: one did not end well.
        """
        for process in self.running:
            process.terminate()
        codes = [self.end(process) for process in list(self.running)]
        if any(codes):
            raise ChaosError(
                f"{self.stage.name}: expected every worker to end with 0, got {codes}: {self.said()[-2_000:]}"
            )


def _wait(process: subprocess.Popen[bytes]) -> int:
    """Wait for a process's end; close what leads to it."""
    code = process.wait(DEADLINE_S)
    if process.stdin is not None:
        process.stdin.close()
    return code


def chain_breaks(stage: Stage) -> int:
    """Return how many writes of a scenario's processes were refused because another mark was in the row."""
    return sum(log.read_text().count("another mark is in the row") for log in stage.folder.glob("worker-*.log"))
