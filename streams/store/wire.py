"""One connection to Redis: all commands out, then their replies back in order, nothing ever sent twice."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import hiredis
import redis
import redis.connection
from redis.backoff import NoBackoff
from redis.exceptions import MasterDownError, NoPermissionError
from redis.retry import Retry

from streams.errors import StoreUnavailable
from streams.store.address import Address, shown

Command = Sequence[str | bytes | int]
Asked = TypeVar("Asked")

GREETING_S = 1.0
"""How long connecting and greeting may take: a server that hangs accepts connections and then says nothing."""

HANDSHAKE_S = 0.1
"""What connecting over TLS may take though its caller has less time: else a reader would begin anew for ever."""

_READ_BYTES = 256 * 1024
_PART_BYTES = 128 * 1024
_INCOMPLETE = object()
"""What the parser returns where a reply has not come whole."""

_TLS_FILES = {"ca": "ssl_ca_certs", "cert": "ssl_certfile", "key": "ssl_keyfile"}

_WHAT_TO_DO: tuple[tuple[type[Exception], str, str], ...] = (
    (redis.TimeoutError, "", "is it overloaded or frozen?"),
    (redis.OutOfMemoryError, "", "give Redis more memory, nothing may be evicted"),
    (redis.BusyLoadingError, "", "wait, Redis is reading its data"),
    (redis.ReadOnlyError, "", "name the primary in the URL, or name every server that may become it"),
    (MasterDownError, "", "wait for the primary"),
    (NoPermissionError, "", "give the user the rights that streams/store/redis.py lists"),
    (redis.AuthenticationError, "", "put the right user and password in the URL"),
    (redis.ResponseError, "WRONGTYPE", "choose a namespace that nobody else writes to"),
    (redis.ResponseError, "MISCONF", "give Redis room on its disk"),
    (redis.ResponseError, "BUSY", "wait, Redis is running somebody's script"),
    (redis.ResponseError, "NOREPLICAS", "bring the replicas back"),
    (redis.ResponseError, "Function not found", "nothing, the next call loads it again"),
    (
        Exception,
        "CERTIFICATE_VERIFY_FAILED",
        "renew the server's certificate, or name its authority as ?ca= in the URL",
    ),
    (Exception, "[SSL", "does the server speak TLS, and take this client's certificate?"),
    (Exception, "", "is it up, and is the URL right?"),
)
"""What can come instead of a reply, and what to do about it. Each means that the store is unavailable."""


class Wire:
    """A lazily opened connection to the primary. Whatever goes wrong closes it; the next call opens a new one.

    Replaces the client library's pipeline, which costs several times the CPU per command and may retry: the library
    connects, and what goes over the socket then is packed and parsed by hiredis itself.
    """

    def __init__(
        self, address: Address, greeting: Sequence[Command], welcome: Callable[[Sequence[Any]], object]
    ) -> None:
        """Name the candidates. After every connect ``greeting`` is sent; ``welcome`` judges replies, errors included.

        What a server answers, or that it does not, sends the next connect to the candidate behind it.
        """
        self._candidates = deque((shown(server), _connection(address, server)) for server in address.servers)
        self._greeting = greeting
        self._welcome = welcome
        self._open = False
        self._patience_s = HANDSHAKE_S if address.tls else 0.0
        self._buffer = bytearray(_READ_BYTES)
        self._parser = _parser()

    @property
    def address(self) -> str:
        """The candidate that is spoken to, or would be next."""
        return self._candidates[0][0]

    @property
    def _connection(self) -> Any:  # its methods are not typed
        return self._candidates[0][1]

    def ask(
        self, commands: Sequence[Asked], timeout_s: float, pack: Callable[[Asked], bytes] | None = None
    ) -> list[Any]:
        """Send the commands and return their replies in order, integers and bytes.

        Many are sent in parts: the server works on those before while the next ones are packed.

        Args:
            commands: what to ask.
            timeout_s: how long all of it may take.
            pack: makes a command of each of them; left out where they are commands.

        Raises:
            StoreUnavailable: a reply is missing or an error; it is not known which commands had an effect.
        """
        return self._ask(_parts(map(pack or packed, commands)), len(commands), timeout_s)  # type: ignore[arg-type]

    def ask_packed(self, commands: Sequence[bytes], timeout_s: float) -> list[Any]:
        """Do the same with commands that are `packed` already, in one write."""
        return self._ask((b"".join(commands),), len(commands), timeout_s)

    def _ask(self, parts: Iterable[bytes], count: int, timeout_s: float) -> list[Any]:
        if not count:
            return []
        deadline = time.monotonic() + timeout_s
        try:
            if not self._open:
                self._connect(deadline)
                deadline = max(deadline, time.monotonic() + self._patience_s)
            return self._exchange(parts, count, deadline)
        except (redis.RedisError, OSError) as error:
            explained = StoreUnavailable(self._explain(error))
            self.close()
            self._candidates.rotate(-1)
            raise explained from error
        except BaseException:
            # Replies to what was sent may still come: nobody may take them for his own.
            self.close()
            raise

    def close(self) -> None:
        """Close the connection; the next call opens it again."""
        self._open = False
        self._connection.disconnect()

    def _connect(self, deadline: float) -> None:
        """Try each candidate once, as time allows; the last one's failure is raised."""
        for left in range(len(self._candidates) - 1, -1, -1):
            timeout_s = max(0.001, self._patience_s, min(deadline - time.monotonic(), GREETING_S))
            try:
                self._meet(timeout_s)
            except (redis.RedisError, OSError):
                if not left or time.monotonic() >= deadline:
                    raise
                self._connection.disconnect()
                self._candidates.rotate(-1)
            else:
                self._open = True
                return

    def _meet(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        self._connection.disconnect()
        self._connection.socket_connect_timeout = timeout_s
        self._connection.socket_timeout = timeout_s
        self._connection.connect()
        self._parser = _parser()
        self._welcome([self._greet(command, deadline) for command in self._greeting])

    def _exchange(self, parts: Iterable[bytes], count: int, deadline: float) -> list[Any]:
        sock = self._connection._sock  # noqa: SLF001  # the library hands it to nobody
        buffer, parser = self._buffer, self._parser
        replies: list[Any] = []
        try:
            for part in parts:
                sock.settimeout(max(0.001, deadline - time.monotonic()))
                sock.sendall(part)
            while True:
                received = sock.recv_into(buffer)
                if not received:
                    raise redis.ConnectionError("Connection closed by server.")
                parser.feed(buffer, 0, received)
                while (reply := parser.gets()) is not _INCOMPLETE:
                    if isinstance(reply, Exception):
                        raise reply
                    replies.append(reply)
                if len(replies) >= count:
                    return replies
                sock.settimeout(max(0.001, deadline - time.monotonic()))
        except TimeoutError as error:
            raise redis.TimeoutError("Timeout reading from socket") from error

    def _greet(self, command: Command, deadline: float) -> Any:
        try:
            return self._exchange((packed(command),), 1, deadline)[0]
        except redis.ResponseError as error:
            return error

    def _explain(self, error: Exception) -> str:
        said = str(error) or type(error).__name__
        mend = next(mend for kind, start, mend in _WHAT_TO_DO if isinstance(error, kind) and start in said)
        return f"cannot use the online store: {self.address}: {said}; {mend}"


def packed(command: Command) -> bytes:
    """Return a command as the server reads it. Cost: 0.5 us."""
    pack: Callable[[tuple[str | bytes | int, ...]], bytes] = hiredis.pack_command  # type: ignore[assignment]
    return pack(tuple(command))  # its stub knows one word


def _parts(commands: Iterable[bytes]) -> Iterator[bytes]:
    """Yield commands joined to parts that are worth a write."""
    part, size = list[bytes](), 0
    for command in commands:
        part.append(command)
        size += len(command)
        if size >= _PART_BYTES:
            yield b"".join(part)
            part, size = [], 0
    if part:
        yield b"".join(part)


def _parser() -> Any:
    kinds: Any = redis.connection  # its classes are not typed
    return hiredis.Reader(
        protocolError=redis.InvalidResponse, replyError=kinds.DefaultParser.parse_error, notEnoughData=_INCOMPLETE
    )


def _connection(address: Address, server: tuple[str, int]) -> Any:
    """Return a connection that is not open yet, retries nothing and tells nobody its credentials."""
    host, port = server
    common: dict[str, Any] = {
        "db": address.db,
        "username": address.user,
        "password": address.password,
        "protocol": 2,
        "retry": Retry(NoBackoff(), 0),
        "socket_read_size": _READ_BYTES,
    }
    kinds: Any = redis.connection  # its classes are not typed
    if not port:
        return kinds.UnixDomainSocketConnection(path=host, **common)
    if not address.tls:
        return kinds.Connection(host=host, port=port, **common)
    files = {_TLS_FILES[name]: path for name, path in address.files}
    return kinds.SSLConnection(host=host, port=port, **files, **common)
