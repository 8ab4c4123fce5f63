"""Reads partitions of Kafka by position, in no group."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Sequence

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from agents.transport import LogUnavailable
from agents.transport.hand_over import HandOver
from agents.transport.kafka_settings import KafkaSettings
from streams.records import Partition, Record

_MOST_MESSAGES = 5_000
_MOST_QUEUED = 100_000
_POLL_S = 0.05

Found = list[tuple[Partition, Record]]


class KafkaTail(threading.Thread):
    """A reader of partitions; a `agents.transport.Tail`. Made by `agents.transport.kafka.KafkaLog.tail`."""

    def __init__(self, settings: KafkaSettings, positions: Sequence[tuple[Partition, int]]) -> None:
        super().__init__(name="kafka-tail", daemon=True)
        self._loop = asyncio.get_running_loop()
        self._address = settings.bootstrap
        self._partitions = {(partition.topic, partition.index): partition for partition, _ in positions}
        self._unheard = set(self._partitions)
        self._heard = asyncio.Event()
        self._ended = asyncio.Event()
        self._out: HandOver[Found] = HandOver(self._loop, _MOST_QUEUED)
        self._stopping = False
        self._consumer = Consumer(settings.of_tail(f"headrace-tail-{uuid.uuid4().hex}"))
        self._consumer.assign([TopicPartition(each.topic, each.index, position) for each, position in positions])

    async def ready(self, timeout_s: float) -> None:
        """Return when every partition has answered.

        Raises:
            LogUnavailable: one has not in time.
        """
        self.start()
        try:
            if self._unheard:
                async with asyncio.timeout(timeout_s):
                    await self._heard.wait()
        except TimeoutError:
            await self.stop()
            raise LogUnavailable(
                f"cannot read: kafka at {self._address}: expected an answer in {timeout_s:.0f} s, got none; "
                "check the broker with `headrace doctor`"
            ) from None

    async def poll(self, timeout_s: float) -> Sequence[tuple[Partition, Record]]:
        """Return what has come, in order within each partition; empty if nothing came in time."""
        found = await self._out.next(timeout_s)
        return () if found is None else found

    async def stop(self) -> None:
        """Stop reading."""
        self._stopping = True
        await self._ended.wait()
        self.join()

    def run(self) -> None:
        """Poll until stopped."""
        try:
            while not self._stopping:
                if self._out.full():
                    self._out.wait_for_room(_POLL_S)
                    continue
                message = self._consumer.poll(_POLL_S)
                if message is not None:
                    self._hand([message, *self._consumer.consume(_MOST_MESSAGES, 0)])
        except Exception as error:  # noqa: BLE001  # belongs to the event loop that reads
            self._out.fail(error)
        finally:
            self._consumer.close()
            self._tell(self._ended)

    def _hand(self, messages: Sequence[Message]) -> None:
        found: Found = []
        for message in messages:
            key = (message.topic() or "", message.partition() or 0)
            error = message.error()
            if error is None:
                found.append((self._partitions[key], message))  # type: ignore[arg-type]
            elif error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001  # the library's own name
                raise LogUnavailable(
                    f"cannot read: {key[0]}[{key[1]}]: expected a position inside the log, got another"
                )
            elif error.fatal():
                raise KafkaException(error)
            if self._unheard and (error is None or error.code() == KafkaError._PARTITION_EOF):  # noqa: SLF001
                self._unheard.discard(key)
                if not self._unheard:
                    self._tell(self._heard)
        if found:
            self._out.put(found, len(found))

    def _tell(self, event: asyncio.Event) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(event.set)
