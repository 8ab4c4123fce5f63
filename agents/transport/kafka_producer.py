"""A producer on Kafka. How it is set up, `agents.transport.kafka_settings` says."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from agents.transport import Headers, LogUnavailable

_FLUSH_S = 0.01
"""How long records are sent without lingering before who waits for one of them is told."""

_UNHURRIED_S = 0.02
"""How often reports are taken that nobody awaits: each one taken at once would fight the event loop for the GIL."""

_ROOM_S = 5.0
_ANY_PARTITION = -1

_Report = Callable[[KafkaError | None, Message], None]


class _Sent:
    """A record on its way: called by the client library when its fate is known, awaited for its offset.

    Most are acknowledged before anybody looks; only who looks sooner gets a future to wait for.
    """

    __slots__ = ("_error", "_is_known", "_offset", "_producer", "_topic", "_waiter")

    def __init__(self, producer: KafkaProducer, topic: str) -> None:
        self._producer = producer
        self._topic = topic
        self._is_known = False
        self._offset = 0
        self._error: BufferError | KafkaException | None = None
        self._waiter: asyncio.Future[None] | None = None

    def __call__(self, error: KafkaError | None, message: Message) -> None:
        if error is None:
            self._offset = message.offset() or 0
            self._is_known = True
        else:
            self.fail(KafkaException(error))
        # Whoever sets the waiter looks behind that whether the fate is known: one of the two sees the other.
        if self._waiter is not None:
            self._producer.wake(self, self._waiter)

    def __await__(self) -> Generator[Any, None, int]:
        if not self._is_known:
            if self._waiter is None or self._waiter.cancelled():
                self._waiter = asyncio.get_running_loop().create_future()
            with self._producer.hurried_by(self):
                if not self._is_known:
                    yield from self._waiter
        if self._error is not None:
            raise self._producer.unavailable(self._topic, self._error)
        return self._offset

    def fail(self, error: BufferError | KafkaException) -> None:
        """Note that the record will not arrive."""
        self._error, self._is_known = error, True


class KafkaProducer:
    """Sends records; a `agents.transport.Producer`. A thread of its own takes the acknowledgements.

    `produce` may be called by any running event loop; `send` by any thread.
    """

    def __init__(self, bootstrap: str, properties: Mapping[str, Any]) -> None:
        self._bootstrap = bootstrap
        self._client = Producer(dict(properties))
        self._known: deque[asyncio.Future[None]] = deque()
        self._waiting: set[_Sent] = set()
        self._waking = False
        self._closing = False
        self._hurry = threading.Event()
        self._thread = threading.Thread(target=self._take_acknowledgements, name="kafka-producer", daemon=True)
        self._thread.start()
        self.failed = 0
        """How many records sent without waiting could not be delivered."""

    def produce(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None = None,
        headers: Headers = (),
        partition: int | None = None,
    ) -> Awaitable[int]:
        """Send one record; await the result for its offset. Cost: 2 us, and 1 us when it is acknowledged.

        It may linger for company until somebody waits for a record of this producer. While the queue is full this
        blocks, for 5 s at most: that is the back pressure of whoever sends without waiting.
        """
        sent = _Sent(self, topic)
        try:
            self._send(topic, value, key, headers, partition, sent)
        except (BufferError, KafkaException) as error:
            sent.fail(error)
        return sent

    def send(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None = None,
        headers: Headers = (),
        partition: int | None = None,
    ) -> None:
        """Send one record without waiting; a failed delivery is counted."""
        try:
            self._send(topic, value, key, headers, partition, self._counted)
        except (BufferError, KafkaException):
            self.failed += 1

    async def flush(self, timeout_s: float) -> int:
        """Wait until everything sent is acknowledged; return how many records are not yet."""
        until_s = time.monotonic() + timeout_s
        while len(self._client) and time.monotonic() < until_s:
            self._hurry.set()
            await asyncio.sleep(0.001)
        return len(self._client)

    def close(self) -> None:
        """End the thread. What is not flushed is lost."""
        self._closing = True
        self._hurry.set()
        self._thread.join()

    def _send(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None,
        headers: Headers,
        partition: int | None,
        report: _Report,
    ) -> None:
        given: dict[str, Any] = {"key": key, "on_delivery": report}
        if headers:
            given["headers"] = list(headers)
        where = _ANY_PARTITION if partition is None else partition
        until_s = 0.0
        while True:
            try:
                self._client.produce(topic, value, partition=where, **given)
            except BufferError:
                now_s = time.monotonic()
                until_s = until_s or now_s + _ROOM_S
                if now_s >= until_s:
                    raise
                self._hurry.set()
                time.sleep(0.001)
            else:
                return

    def _counted(self, error: KafkaError | None, message: Message) -> None:  # noqa: ARG002  # the library's signature
        if error is not None:
            self.failed += 1

    @contextmanager
    def hurried_by(self, sent: _Sent) -> Iterator[None]:
        """Let nothing linger as long as the block lasts, and take reports at once."""
        self._waiting.add(sent)
        self._hurry.set()
        try:
            yield
        finally:
            self._waiting.discard(sent)

    def wake(self, sent: _Sent, waiter: asyncio.Future[None]) -> None:
        """Let who waits for a record know that its fate is known. Called by the thread."""
        self._known.append(waiter)
        self._waiting.discard(sent)

    def unavailable(self, topic: str, error: BufferError | KafkaException) -> LogUnavailable:
        """Return what is raised to who waits for a record that did not arrive."""
        why = error.args[0].name().lstrip("_").lower() if isinstance(error, KafkaException) else "queue full"
        return LogUnavailable(
            f"cannot send: {topic}: expected kafka at {self._bootstrap} to acknowledge, got {why}; "
            "check the broker with `headrace doctor`"
        )

    def _take_acknowledgements(self) -> None:
        while not self._closing:
            if not self._waiting:
                self._hurry.wait(_UNHURRIED_S)
                self._hurry.clear()
            if self._waiting:
                self._client.flush(_FLUSH_S)
            else:
                self._client.poll(0)
            self._wake()

    def _wake(self) -> None:
        """Have the event loop resume who waits: once for all that is known now, not for each record."""
        while self._known and self._known[0].get_loop().is_closed():
            self._known.popleft()
        if self._known and not self._waking:
            self._waking = True
            self._known[0].get_loop().call_soon_threadsafe(self._resume)

    def _resume(self) -> None:
        # Reset first: what becomes known now wakes the loop again.
        self._waking = False
        while self._known:
            waiter = self._known.popleft()
            if not waiter.done():
                waiter.set_result(None)
