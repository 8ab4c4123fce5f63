"""Clocks of a log in memory: this machine's, or one that only moves when told."""

from __future__ import annotations

import time


def wall_ms() -> int:
    """Return this machine's time, epoch ms."""
    return time.time_ns() // 1_000_000


class ManualClock:
    """A clock that stands still until it is moved.

    Example:
        >>> clock = ManualClock(1_000)
        >>> clock.advance(5)
        >>> clock()
        1005
    """

    def __init__(self, now_ms: int = 0) -> None:
        self._now_ms = now_ms

    def __call__(self) -> int:
        """Return the time, epoch ms."""
        return self._now_ms

    def advance(self, by_ms: int) -> None:
        """Move forward by ``by_ms``."""
        self.set(self._now_ms + by_ms)

    def set(self, now_ms: int) -> None:
        """Move to ``now_ms``.

        Raises:
            ValueError: that would be back in time.
        """
        if now_ms < self._now_ms:
            raise ValueError(f"cannot move the clock: expected {self._now_ms} or later, got {now_ms}")
        self._now_ms = now_ms
