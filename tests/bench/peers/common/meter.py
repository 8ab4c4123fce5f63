"""How a peer says what it did: one JSON object a line on standard output, for ``tests.bench.processes.run_measured``.

On the path of every peer, in whatever environment it runs: nothing here may need more than the standard library.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time

_LOOK_EVERY = 256
MINUTE_MS = 60_000
WINDOWS_MS = (10 * MINUTE_MS, 60 * MINUTE_MS, 1_440 * MINUTE_MS)
"""Lengths of the windows that every peer keeps."""


class Meter:
    """Counts events from the first one on, and ends the process when it has seen all, or its time is over."""

    def __init__(self, events: int, seconds: float) -> None:
        self.events = events
        self.seconds = seconds
        self.seen = 0
        self._begun_s = 0.0

    def begin(self) -> None:
        """Note that the first event is about to be folded."""
        tell(say="begin")
        self._begun_s = time.perf_counter()

    def add(self) -> None:
        """Count one event. Cost: 0.1 us."""
        if self.seen == 0:
            self.begin()
        self.seen += 1
        if self.seen == self.events or (
            self.seen % _LOOK_EVERY == 0 and time.perf_counter() - self._begun_s > self.seconds
        ):
            self.end()

    def end(self) -> None:
        """Say how far it came, wait to be measured, and end the process as it is."""
        finish(self.seen, time.perf_counter() - self._begun_s)


def finish(events: int, seconds: float, **more: object) -> None:
    """Say what was done, wait to be measured, and end the process as it is."""
    tell(say="end", events=events, seconds=seconds, **more)
    sys.stdin.read()
    os._exit(0)


def tell(**said: object) -> None:
    """Say one object to whoever measures: on the descriptor, for there are peers that take ``sys.stdout`` over."""
    os.write(1, f"\n{json.dumps(said)}\n".encode())


def arguments() -> argparse.Namespace:
    """Return what every peer is told: where the events are, how many, and for how long."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kafka", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--events", type=int, required=True)
    parser.add_argument("--seconds", type=float, default=3_600.0)
    parser.add_argument("--kind", default="")
    return parser.parse_args()
