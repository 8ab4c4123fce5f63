"""`agents.transport.hand_over`: nothing is lost between the thread and the loop, and the loop is woken."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from agents.transport.hand_over import HandOver


def over(most: int = 10) -> HandOver[int]:
    return HandOver(asyncio.get_running_loop(), most)


async def test_items_come_in_order_and_none_when_there_are_none() -> None:
    queue = over()
    queue.put(1, 1)
    queue.put(2, 1)
    assert [queue.take(), await queue.next(0), await queue.next(0), await queue.next(0.001)] == [1, 2, None, None]


async def test_a_sleeping_loop_is_woken_by_the_thread() -> None:
    queue = over()
    thread = threading.Timer(0.02, queue.put, (7, 1))
    thread.start()
    began_s = time.monotonic()
    assert await queue.next(30) == 7
    assert time.monotonic() - began_s < 5
    thread.join()


async def test_every_item_of_a_busy_thread_arrives_once() -> None:
    queue, count = over(100), 20_000

    def write() -> None:
        for number in range(count):
            while queue.full():
                queue.wait_for_room(0.1)
            queue.put(number, 1)

    thread = threading.Thread(target=write)
    thread.start()
    found = []
    while len(found) < count:
        item = await queue.next(5)
        assert item is not None
        found.append(item)
    thread.join()
    assert found == list(range(count))


async def test_a_full_queue_says_so_until_something_is_taken() -> None:
    queue = over(10)
    queue.put(1, 6)
    assert not queue.full()
    queue.put(2, 6)
    assert queue.full()
    assert queue.full(0.5)
    queue.take()
    assert not queue.full()
    assert queue.full(0.5)


async def test_a_failure_is_raised_after_what_came_before_it() -> None:
    queue = over()
    queue.put(1, 1)
    queue.fail(ZeroDivisionError("told"))
    assert await queue.next(1) == 1
    for _ in range(2):
        with pytest.raises(ZeroDivisionError, match="told"):
            await queue.next(1)


async def test_a_failure_wakes_a_sleeping_loop() -> None:
    queue = over()
    thread = threading.Timer(0.02, queue.fail, (ZeroDivisionError("told"),))
    thread.start()
    with pytest.raises(ZeroDivisionError):
        await queue.next(30)
    thread.join()
