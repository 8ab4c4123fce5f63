"""Records that go aside instead of vanishing: unusable ones to the dead-letter topic, too late ones to the late topic.

A copy has the key, the bytes and the headers of its source, and headers that say where it was and why it is here. The
source position is its id: a copy that was sent twice, because a worker died in between, is recognised by it. What its
topic has no room for lies in the artefact store, and ``dlq.digest``, ``dlq.key_digest`` or ``dlq.headers_digest`` (a
JSON array of name and base64) says where.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass

import msgspec

from agents.context import RoleContext
from agents.transport import Headers
from definitions.declared import EventDefinition, Source
from streams import topics
from streams.artefacts import ArtefactStore
from streams.intake import DeadLetter
from streams.records import Record, RecordBatch, headers_of

_LARGEST_MESSAGE_BYTES = 512
_HEADER_BYTES = 10  # what a header's lengths take, at most


@dataclass(frozen=True, slots=True)
class _Copy:
    """What a record's copy is made of."""

    key: bytes | None
    value: bytes | None
    headers: Headers


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
        copy = _fitting("dlq", record, topics.value_room(event), self._context.artefacts)
        topic = topics.dead_letters(self._context.namespace, batch.partition.topic)
        headers = [*copy.headers, *self._headers(batch, letter, record)]
        return self._context.log.producer().produce(topic, copy.value, key=copy.key, headers=headers)

    def _headers(self, batch: RecordBatch, letter: DeadLetter, record: Record) -> list[tuple[str, bytes]]:
        return [
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

    async def send(self, source: Source, batch: RecordBatch, offsets: Sequence[int]) -> None:
        """Return when every record is acknowledged.

        Raises:
            LogUnavailable: one was not, in time.
        """
        await _acknowledged([self._send(source, batch, record) for record in _records_at(batch, offsets)])

    def _send(self, source: Source, batch: RecordBatch, record: Record) -> Awaitable[int]:
        copy = _fitting("late", record, topics.value_room(source.event), self._context.artefacts)
        topic = topics.late_records(self._context.namespace, batch.partition.topic)
        why = [*_source("late", batch, record), ("late.view", source.key.encode()), ("late.app", self._app)]
        return self._context.log.producer().produce(topic, copy.value, key=copy.key, headers=[*copy.headers, *why])


def _fitting(prefix: str, record: Record, value_room: int, artefacts: ArtefactStore) -> _Copy:
    """Return the record's own part of a copy; what there is no room for is kept by digest."""
    key, value, headers = record.key(), record.value(), headers_of(record)
    kept: list[tuple[str, bytes]] = []
    if value is not None and len(value) > value_room:
        kept.append((f"{prefix}.digest", artefacts.put(value).encode()))
        value = None
    headers_bytes = sum(len(name) + len(content or b"") + _HEADER_BYTES for name, content in headers)
    if headers_bytes + len(key or b"") > topics.BESIDE_ROOM_BYTES:
        if headers:
            kept.append((f"{prefix}.headers_digest", artefacts.put(msgspec.json.encode(headers)).encode()))
        if key is not None:
            kept.append((f"{prefix}.key_digest", artefacts.put(key).encode()))
        key, headers = None, ()
    return _Copy(key, value, [*headers, *kept])


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
