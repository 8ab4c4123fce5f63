"""A producer on Kafka. How it is set up, `agents.transport.kafka_settings` says."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from agents.transport import Headers, LogUnavailable

_POLL_S = 0.1
_UNHURRIED_S = 0.02
"""How often reports are taken that nobody awaits: each one taken at once would fight the event loop for the GIL."""

_ROOM_S = 5.0
_ANY_PARTITION = -1

_Report = Callable[[KafkaError | None, Message], None]


class KafkaProducer:
    """Sends records; a `agents.transport.Producer`. A thread of its own takes the acknowledgements.

    `produce` may be called by any running event loop; `send` by any thread.
    """

    def __init__(self, bootstrap: str, properties: Mapping[str, Any]) -> None:
        self._bootstrap = bootstrap
        self._client = Producer(dict(properties))
        self._acknowledged: deque[tuple[asyncio.Future[int], KafkaError | None, Message]] = deque()
        self._waking = False
        self._closing = False
        self._hurry = threading.Event()
        self._asked = self._answered = 0
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
        """Send one record now; await the result for its offset. Cost: 3 us, and as much when it is acknowledged.

        While the queue is full it blocks, for 5 s at most: that is the back pressure of whoever sends without waiting.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[int] = loop.create_future()

        def acknowledged(error: KafkaError | None, message: Message) -> None:
            self._answered += 1
            self._acknowledged.append((done, error, message))

        try:
            self._send(topic, value, key, headers, partition, acknowledged)
        except (BufferError, KafkaException) as error:
            done.set_exception(self._unavailable(topic, error))
        else:
            self._asked += 1
            # Waking takes a lock. The thread that clears it looks at what was asked behind that.
            if not self._hurry.is_set():
                self._hurry.set()
        return done

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

    def _take_acknowledgements(self) -> None:
        while not self._closing:
            if self._asked == self._answered:
                self._hurry.wait(_UNHURRIED_S)
                self._hurry.clear()
            self._client.poll(0 if self._asked == self._answered else _POLL_S)
            self._wake()

    def _wake(self) -> None:
        """Have the event loop resolve what was acknowledged: once for all of a poll, not for each record."""
        while self._acknowledged and self._acknowledged[0][0].get_loop().is_closed():
            self._acknowledged.popleft()
        if self._acknowledged and not self._waking:
            self._waking = True
            self._acknowledged[0][0].get_loop().call_soon_threadsafe(self._resolve)

    def _resolve(self) -> None:
        # Reset first: an acknowledgement that comes now wakes the loop again.
        self._waking = False
        while self._acknowledged:
            done, error, message = self._acknowledged.popleft()
            if done.done():
                continue
            if error is None:
                done.set_result(message.offset() or 0)
            else:
                done.set_exception(self._unavailable(message.topic() or "", KafkaException(error)))

    def _unavailable(self, topic: str, error: BufferError | KafkaException) -> LogUnavailable:
        why = error.args[0].name().lstrip("_").lower() if isinstance(error, KafkaException) else "queue full"
        return LogUnavailable(
            f"cannot send: {topic}: expected kafka at {self._bootstrap} to acknowledge, got {why}; "
            "check the broker with `headrace doctor`"
        )
