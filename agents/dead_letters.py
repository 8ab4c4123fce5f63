"""Records that go aside instead of vanishing: unusable ones to the dead-letter topic, too late ones to the late topic.

A copy has the key, the bytes and the headers of its source, and headers that say where it was and why it is here. The
source position is its id: a copy that was sent twice, because a worker died in between, is recognised by it. What its
topic has no room for lies in the artefact store, and a header says where. `streams.dead_letters` has the table.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass

import msgspec

from agents.context import RoleContext
from agents.transport import Headers
from definitions.declared import EventDefinition, Source
from definitions.identity import event_digest
from streams import topics
from streams.artefacts import ArtefactStore
from streams.dead_letters import ADMIT, DECODE, printable, replay_of
from streams.intake import FUTURE_TIME, DeadLetter
from streams.records import Partition, Record, RecordBatch, headers_of

_HEADER_BYTES = 10  # what a header's lengths take, at most


@dataclass(frozen=True, slots=True)
class _Copy:
    """What a record's copy is made of."""

    key: bytes | None
    value: bytes | None
    headers: Headers
    kept: Headers
    """What says where in the artefact store the rest lies."""


class DeadLetters:
    """Sends what cannot be decoded to ``<namespace>.<topic>.dlq``, and waits for the broker to have it."""

    def __init__(self, app: str, context: RoleContext) -> None:
        self._app = app.encode()
        self._context = context
        self._taken: dict[Partition, set[int]] = {}
        """Offsets whose letters were acknowledged while another one of their batch was not."""

    async def send(self, event: EventDefinition, batch: RecordBatch, dead: Sequence[DeadLetter]) -> None:
        """Return when every letter is acknowledged. Those that were, in an attempt before, are not sent again.

        Raises:
            LogUnavailable: one was not, in time.
        """
        if not dead:
            return
        taken = self._taken.setdefault(batch.partition, set())
        letters = [letter for letter in dead if letter.offset not in taken]
        records = _records_at(batch, [letter.offset for letter in letters])
        sent = [self._send(event, batch, *each) for each in zip(letters, records, strict=True)]
        results = await asyncio.gather(*sent, return_exceptions=True)
        refused = [each for each in results if isinstance(each, BaseException)]
        if refused:
            taken |= {letter.offset for letter, each in zip(letters, results, strict=True) if isinstance(each, int)}
            raise refused[0]
        del self._taken[batch.partition]

    def _send(self, event: EventDefinition, batch: RecordBatch, letter: DeadLetter, record: Record) -> Awaitable[int]:
        copy = _fitting("dlq", record, topics.value_room(event), self._context.artefacts)
        topic = topics.dead_letters(self._context.namespace, batch.partition.topic)
        headers = [*copy.headers, *self._headers(event, batch, letter, record), *copy.kept]
        return self._context.log.producer().produce(topic, copy.value, key=copy.key, headers=headers)

    def _headers(
        self, event: EventDefinition, batch: RecordBatch, letter: DeadLetter, record: Record
    ) -> list[tuple[str, bytes]]:
        replay = replay_of(record)
        first_seen_ms = record.timestamp()[1] if replay is None else replay.first_seen_ms
        origin = [] if replay is None else [("dlq.origin", printable(replay.origin))]
        return [
            *_source("dlq", batch, record),
            ("dlq.topic_id", batch.partition.topic_id.encode()),
            ("dlq.reason", letter.reason.encode()),
            ("dlq.stage", (ADMIT if letter.reason == FUTURE_TIME else DECODE).encode()),
            ("dlq.path", printable(letter.path)),
            ("dlq.message", printable(letter.message)),
            ("dlq.app", self._app),
            ("dlq.event", event.name.encode()),
            ("dlq.version", event_digest(event).encode()),
            ("dlq.attempts", str(1 if replay is None else replay.attempts + 1).encode()),
            ("dlq.first_seen", str(first_seen_ms).encode()),
            *origin,
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
        topic = topics.late_records(self._context.namespace, source.event.origin)
        why = [*_source("late", batch, record), ("late.view", source.key.encode()), ("late.app", self._app)]
        return self._context.log.producer().produce(
            topic, copy.value, key=copy.key, headers=[*copy.headers, *why, *copy.kept]
        )


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
    return _Copy(key, value, headers, kept)


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


async def _acknowledged(sent: Sequence[Awaitable[int]]) -> None:
    if sent:
        await asyncio.gather(*sent)
