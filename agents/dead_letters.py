"""Records that go aside instead of vanishing: unusable ones to the dead-letter topic, too late ones to the late topic.

A copy has the key, the bytes and the headers of its source, and headers that say where it was and why it is here. The
source position is its id: a copy that was sent twice, because a worker died in between, is recognised by it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence

from agents.context import RoleContext
from agents.transport import Headers
from definitions.declared import EventDefinition, ViewDefinition
from streams import topics
from streams.intake import DeadLetter
from streams.records import Record, RecordBatch

_LARGEST_MESSAGE_BYTES = 512
_ROOM_BYTES = 1024 * 1024


class DeadLetters:
    """Sends what cannot be decoded to ``<namespace>.<topic>.dlq``, and waits for the broker to have it."""

    def __init__(self, app: str, context: RoleContext) -> None:
        self._app = app.encode()
        self._context = context

    async def send(self, event: EventDefinition, batch: RecordBatch, dead: Sequence[DeadLetter]) -> None:
        """Return when every letter is acknowledged.

        Raises:
            LogUnavailable: one was not, in time.
        """
        records = _records_at(batch, [letter.offset for letter in dead])
        await _acknowledged([self._send(event, batch, *each) for each in zip(dead, records, strict=True)])

    def _send(self, event: EventDefinition, batch: RecordBatch, letter: DeadLetter, record: Record) -> Awaitable[int]:
        value, headers = record.value(), self._headers(batch, letter, record)
        if value is not None and len(value) > max(event.max_bytes, _ROOM_BYTES):
            headers.append(("dlq.digest", self._context.artefacts.put(value).encode()))
            value = None
        topic = topics.dead_letters(self._context.namespace, batch.partition.topic)
        return self._context.log.producer().produce(topic, value, key=record.key(), headers=headers)

    def _headers(self, batch: RecordBatch, letter: DeadLetter, record: Record) -> list[tuple[str, bytes]]:
        return [
            *(record.headers() or ()),
            *_source("dlq", batch, record),
            ("dlq.reason", letter.reason.encode()),
            ("dlq.path", _printable(letter.path)),
            ("dlq.message", _printable(letter.message)),
            ("dlq.app", self._app),
        ]


class LateRecords:
    """Sends what came too late for a view to ``<namespace>.<topic>.late``, and waits for the broker to have it."""

    def __init__(self, app: str, context: RoleContext) -> None:
        self._app = app.encode()
        self._context = context

    async def send(self, view: ViewDefinition, batch: RecordBatch, offsets: Sequence[int]) -> None:
        """Return when every record is acknowledged.

        Raises:
            LogUnavailable: one was not, in time.
        """
        topic = topics.late_records(self._context.namespace, batch.partition.topic)
        producer = self._context.log.producer()
        await _acknowledged(
            [
                producer.produce(topic, record.value(), key=record.key(), headers=self._headers(view, batch, record))
                for record in _records_at(batch, offsets)
            ]
        )

    def _headers(self, view: ViewDefinition, batch: RecordBatch, record: Record) -> Headers:
        source = _source("late", batch, record)
        return [*(record.headers() or ()), *source, ("late.view", view.key.encode()), ("late.app", self._app)]


def _records_at(batch: RecordBatch, offsets: Sequence[int]) -> list[Record]:
    if not offsets:
        return []
    wanted = set(offsets)
    return [record for record in batch.records if record.offset() in wanted]


def _source(prefix: str, batch: RecordBatch, record: Record) -> list[tuple[str, bytes]]:
    return [
        (f"{prefix}.topic", batch.partition.topic.encode()),
        (f"{prefix}.partition", str(batch.partition.index).encode()),
        (f"{prefix}.offset", str(record.offset()).encode()),
        (f"{prefix}.timestamp", str(record.timestamp()[1]).encode()),
    ]


def _printable(text: str) -> bytes:
    shown = "".join(each if each.isprintable() else "?" for each in text)
    return shown.encode("utf-8", "replace")[:_LARGEST_MESSAGE_BYTES].decode("utf-8", "ignore").encode()


async def _acknowledged(sent: Sequence[Awaitable[int]]) -> None:
    if sent:
        await asyncio.gather(*sent)
