"""``headrace gateway``: where it listens."""

from __future__ import annotations

import asyncio
import socket

import pytest

from headrace.command.gateway import listening_on, url_of
from headrace.errors import UsageError


async def test_what_is_answered_is_sent_at_once() -> None:
    """With Nagle's algorithm on, every answer would wait 40 ms for the caller's acknowledgement."""
    at_once = asyncio.get_running_loop().create_future()

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        given = writer.get_extra_info("socket")
        at_once.set_result(given.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    with listening_on("127.0.0.1", 0) as listening:
        async with await asyncio.start_server(answer, sock=listening):
            _, writer = await asyncio.open_connection(*listening.getsockname())
            assert await asyncio.wait_for(at_once, 5.0) == 1
            writer.close()
            await writer.wait_closed()


def test_an_address_that_is_taken_is_the_users_mistake() -> None:
    with listening_on("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        assert url_of(listening) == f"http://127.0.0.1:{port}"
        with pytest.raises(UsageError, match=rf"cannot listen: 127\.0\.0\.1:{port}: "):
            listening_on("127.0.0.1", port)


def test_an_address_of_another_machine_is_the_users_mistake() -> None:
    with pytest.raises(UsageError, match="name another --host or --port"):
        listening_on("192.0.2.1", 0)
