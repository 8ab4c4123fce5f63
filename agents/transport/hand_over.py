"""From a thread that reads to the event loop that works: a bounded queue that wakes at most one waiter."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from typing import Generic, TypeVar

Item = TypeVar("Item")


class HandOver(Generic[Item]):
    """A queue with one writing thread and one reading task, bounded by the weight of what lies in it.

    The bound is kept by the writer, which asks `full` and waits in `wait_for_room`; so a late burst is never lost.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, most: int) -> None:
        self._loop = loop
        self._most = most
        self._items: deque[tuple[Item, int]] = deque()
        self._room = threading.Event()
        self._waiter: asyncio.Future[None] | None = None
        # Two counters, each with one writer: no lock is needed to compare them.
        self._weight_in = 0
        self._weight_out = 0
        self._failure: Exception | None = None

    def put(self, item: Item, weight: int) -> None:
        """Add an item. Called by the thread. Cost: 1 us, and a wake-up of the loop if it sleeps."""
        self._items.append((item, weight))
        self._weight_in += weight
        self._wake()

    def fail(self, error: Exception) -> None:
        """Let the reader raise ``error`` once the queue is empty. Called by the thread."""
        self._failure = error
        self._wake()

    def full(self, share: float = 1.0) -> bool:
        """Return whether more than ``share`` of the bound lies in the queue."""
        return self._weight_in - self._weight_out > self._most * share

    def wait_for_room(self, timeout_s: float) -> None:
        """Sleep until the reader took something, or the time is over. Called by the thread."""
        self._room.clear()
        if self.full():
            self._room.wait(timeout_s)

    def take(self) -> Item | None:
        """Return the oldest item, None if there is none. Called by the loop.

        Raises:
            Exception: the one that `fail` was given.
        """
        if not self._items:
            if self._failure is not None:
                raise self._failure
            return None
        item, weight = self._items.popleft()
        self._weight_out += weight
        if not self._room.is_set():
            self._room.set()
        return item

    async def next(self, timeout_s: float) -> Item | None:
        """Return the oldest item, None if none came in time. Called by the loop."""
        item = self.take()
        if item is not None or timeout_s <= 0:
            return item
        waiter = self._waiter = self._loop.create_future()
        timer = self._loop.call_later(timeout_s, _resolve, waiter)
        try:
            # The thread may have put something before it could see the waiter.
            if not self._items and self._failure is None:
                await waiter
        finally:
            self._waiter = None
            timer.cancel()
        return self.take()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(_resolve, waiter)


def _resolve(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
