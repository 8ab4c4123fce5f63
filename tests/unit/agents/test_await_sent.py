"""Waiting for many records at once: what one failure tells is enough."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from agents.await_sent import arrived
from agents.transport import LogUnavailable


async def test_it_returns_when_the_last_one_is_acknowledged() -> None:
    loop = asyncio.get_running_loop()
    sent: list[asyncio.Future[int]] = [loop.create_future() for _ in range(3)]
    waits = asyncio.ensure_future(arrived(sent))

    for number in (2, 0):
        sent[number].set_result(number)
        await asyncio.sleep(0)
        assert not waits.done()
    sent[1].set_result(1)

    await waits


async def test_the_first_failure_is_raised_and_no_other_is_reported_as_unseen() -> None:
    loop = asyncio.get_running_loop()
    reported: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, said: reported.append(said))
    sent: list[asyncio.Future[int]] = [loop.create_future() for _ in range(4)]
    sent[0].set_result(0)
    for number in (1, 2):
        sent[number].set_exception(LogUnavailable(f"cannot send: {number}"))

    with pytest.raises(LogUnavailable, match="cannot send: 1"):
        await arrived(sent)
    sent[3].set_exception(LogUnavailable("cannot send: 3"))
    await asyncio.sleep(0)
    sent.clear()
    gc.collect()

    assert reported == []
