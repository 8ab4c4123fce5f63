"""Synchronous code that can be stopped in the middle: an await for calls that are not awaited.

The store's contract is synchronous, and a real store serves others between two links of one call. So each task of a
simulated process runs in a greenlet; where it touches the world, `pause` gives the event loop back, however deep the
call is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any, Generic, TypeVar

from greenlet import getcurrent, greenlet

Result = TypeVar("Result")


class Steppable(Generic[Result]):
    """A coroutine in which `pause` may be called. Await it."""

    def __init__(self, coroutine: Coroutine[Any, Any, Result]) -> None:
        self._coroutine = coroutine

    def __await__(self) -> Generator[Any, Any, Result]:
        """Run to the end, handing whatever is waited for to the event loop."""
        running = greenlet(self._run)
        yielded = running.switch()
        while not running.dead:
            try:
                sent = yield yielded
            except BaseException as error:  # noqa: BLE001  # thrown on, to where the coroutine waits
                yielded = running.throw(error)
            else:
                yielded = running.switch(sent)
        result: Result = yielded
        return result

    def _run(self) -> Result:
        loop, sent, error = getcurrent().parent, None, None
        assert loop is not None
        while True:
            try:
                yielded = self._coroutine.send(sent) if error is None else self._coroutine.throw(error)
            except StopIteration as end:
                found: Result = end.value
                return found
            sent, error = None, None
            try:
                sent = loop.switch(yielded)
            except BaseException as thrown:  # noqa: BLE001  # as above
                error = thrown


def can_pause() -> bool:
    """Return whether this code runs below a `Steppable`."""
    return getcurrent().parent is not None


def pause(until: asyncio.Future[Any]) -> Any:
    """Wait for a future in synchronous code below a `Steppable`; return its result or raise its exception."""
    loop, waiting = getcurrent().parent, until.__await__()
    assert loop is not None, "expected code below a Steppable"
    try:
        yielded = next(waiting)
        while True:
            loop.switch(yielded)
            yielded = next(waiting)
    except StopIteration as end:
        return end.value
