"""One connection to Redis: commands out in one write, replies back in order, nothing ever sent twice."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.connection import ConnectionPool
from redis.exceptions import MasterDownError, NoPermissionError
from redis.retry import Retry

from streams.errors import StoreError, StoreUnavailable

Command = Sequence[str | bytes | int]

GREETING_S = 1.0
"""How long connecting and greeting may take: a server that hangs accepts connections and then says nothing."""

_READ_BYTES = 256 * 1024

_WHAT_TO_DO: tuple[tuple[type[Exception], str, str], ...] = (
    (redis.TimeoutError, "", "is it overloaded or frozen?"),
    (redis.OutOfMemoryError, "", "give Redis more memory, nothing may be evicted"),
    (redis.BusyLoadingError, "", "wait, Redis is reading its data"),
    (redis.ReadOnlyError, "", "point at the primary, not at a replica"),
    (MasterDownError, "", "wait for the primary"),
    (NoPermissionError, "", "allow the user FUNCTION, FCALL, hash commands, UNLINK, SCAN and INFO"),
    (redis.AuthenticationError, "", "put the right user and password in the URL"),
    (redis.ResponseError, "WRONGTYPE", "choose a namespace that nobody else writes to"),
    (redis.ResponseError, "MISCONF", "give Redis room on its disk"),
    (redis.ResponseError, "BUSY", "wait, Redis is running somebody's script"),
    (redis.ResponseError, "NOREPLICAS", "bring the replicas back"),
    (redis.ResponseError, "Function not found", "nothing, the next call loads it again"),
    (Exception, "", "is it up, and is the URL right?"),
)
"""What can come instead of a reply, and what to do about it. Each means that the store is unavailable."""


class Wire:
    """A lazily opened connection. Whatever goes wrong closes it; the next call opens a new one.

    Replaces the client library's pipeline, which costs several times the CPU per command and may retry.
    """

    def __init__(self, url: str, greeting: Sequence[Command], welcome: Callable[[Sequence[Any]], None]) -> None:
        """Name the server. After every connect ``greeting`` is sent; ``welcome`` judges replies, errors included."""
        pool = ConnectionPool.from_url(url, protocol=2, retry=Retry(NoBackoff(), 0), socket_read_size=_READ_BYTES)
        self._connection: Any = pool.make_connection()  # its methods are not typed
        self._greeting = greeting
        self._welcome = welcome
        self._open = False
        self.address = url.rsplit("@", 1)[-1]

    def ask(self, commands: Sequence[Command], timeout_s: float) -> list[Any]:
        """Send the commands in one write and return their replies in order, integers and bytes.

        Raises:
            StoreUnavailable: a reply is missing or an error; it is not known which commands had an effect.
        """
        deadline = time.monotonic() + timeout_s
        try:
            if not self._open:
                self._connect(min(timeout_s, GREETING_S))
            return self._exchange(commands, deadline)
        except (redis.RedisError, OSError) as error:
            self.close()
            raise StoreUnavailable(self._explain(error)) from error
        except StoreError:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection; the next call opens it again."""
        self._open = False
        self._connection.disconnect()

    def _connect(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        self._connection.disconnect()
        self._connection.socket_connect_timeout = timeout_s
        self._connection.socket_timeout = timeout_s
        self._connection.connect()
        self._welcome([self._greet(command, deadline) for command in self._greeting])
        self._open = True

    def _exchange(self, commands: Sequence[Command], deadline: float) -> list[Any]:
        connection, now = self._connection, time.monotonic
        connection.send_packed_command(connection.pack_commands(commands), check_health=False)
        read = connection.read_response
        return [read(timeout=max(0.001, deadline - now())) for _ in commands]

    def _greet(self, command: Command, deadline: float) -> Any:
        try:
            return self._exchange([command], deadline)[0]
        except redis.ResponseError as error:
            return error

    def _explain(self, error: Exception) -> str:
        said = str(error) or type(error).__name__
        mend = next(mend for kind, start, mend in _WHAT_TO_DO if isinstance(error, kind) and said.startswith(start))
        return f"cannot use the online store: {self.address}: {said}; {mend}"
