"""Records that go aside instead of vanishing: unusable ones to the dead-letter topic, too late ones to the late topic.

A copy has the key, the bytes and the headers of its source, and headers that say where it was and why it is here. The
source position is its id: a copy that was sent twice, because a worker died in between, is recognised by it. What its
topic has no room for lies in the artefact store, and a header says where. `streams.dead_letters` has the table.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from operator import methodcaller

import msgspec

from agents.context import RoleContext
from agents.transport import Headers
from definitions.declared import EventDefinition, Source
from definitions.identity import event_digest
from streams import topics
from streams.artefacts import ArtefactStore
from streams.dead_letters import ADMIT, DECODE, printable, replay_of
from streams.derived import copied_from
from streams.errors import DecodeError
from streams.intake import FUTURE_TIME, DeadLetter
from streams.records import Partition, Record, RecordBatch, headers_of

_offset = methodcaller("offset")
_HEADER_BYTES = 10  # what a header's lengths take, at most


@dataclass(frozen=True, slots=True)
class _Copy:
    """What a record's copy is made of."""

    key: bytes | None
    value: bytes | None
    headers: Headers
    kept: Headers
    """What says where in the artefact store the rest lies."""


class Sending:
    """Records on their way to the log: work that does not depend on their arrival goes on meanwhile."""

    def __init__(
        self,
        what: str,
        topic: str,
        acknowledged: Sequence[Awaitable[int]] = (),
        note: Callable[[Sequence[object]], None] = lambda _: None,
    ) -> None:
        self.what = what
        """``dead_letters`` or ``late_records``."""
        self.topic = topic
        self._acknowledged = acknowledged
        self._note = note

    async def arrived(self) -> None:
        """Return when every record is acknowledged.

        Raises:
            LogUnavailable: one was not, in time.
        """
        if not self._acknowledged:
            return
        results = await asyncio.gather(*self._acknowledged, return_exceptions=True)
        self._note(results)
        for each in results:
            if isinstance(each, BaseException):
                raise each


class DeadLetters:
    """Sends what cannot be decoded to ``<namespace>.<topic>.dlq``."""

    def __init__(self, app: str, context: RoleContext) -> None:
        self._app = app.encode()
        self._context = context
        self._versions: dict[str, bytes] = {}
        """Event name to the digest of its definition: worked out once."""
        self._taken: dict[Partition, set[int]] = {}
        """Offsets whose letters were acknowledged while another one of their batch was not."""

    def send(self, event: EventDefinition, batch: RecordBatch, dead: Sequence[DeadLetter]) -> Sending:
        """Send the letters now; what is returned is awaited before the row that contains them advances.

        Those that were acknowledged in an attempt before are not sent again. Cost: 20 us a letter.
        """
        topic = topics.dead_letters(self._context.namespace, batch.partition.topic)
        if not dead:
            return Sending("dead_letters", topic)
        taken = self._taken.get(batch.partition, set())
        letters = [letter for letter in dead if letter.offset not in taken]
        records = _records_at(batch, [letter.offset for letter in letters])
        acknowledged = [self._send(topic, event, batch, *each) for each in zip(letters, records, strict=True)]
        return Sending(
            "dead_letters", topic, acknowledged, lambda results: self._note(batch.partition, letters, results)
        )

    def _note(self, partition: Partition, letters: Sequence[DeadLetter], results: Sequence[object]) -> None:
        """Remember which letters were acknowledged, until all of their batch are."""
        if any(isinstance(each, BaseException) for each in results):
            arrived = {letter.offset for letter, each in zip(letters, results, strict=True) if isinstance(each, int)}
            self._taken[partition] = self._taken.get(partition, set()) | arrived
        else:
            self._taken.pop(partition, None)

    def _send(
        self, topic: str, event: EventDefinition, batch: RecordBatch, letter: DeadLetter, record: Record
    ) -> Awaitable[int]:
        copy = _fitting("dlq", record, topics.value_room(event), self._context.artefacts)
        headers = [*copy.headers, *self._headers(event, batch, letter, record), *copy.kept]
        return self._context.log.producer().produce(topic, copy.value, key=copy.key, headers=headers)

    def _headers(
        self, event: EventDefinition, batch: RecordBatch, letter: DeadLetter, record: Record
    ) -> list[tuple[str, bytes]]:
        return [
            *source_headers("dlq", batch.partition, record),
            ("dlq.topic_id", batch.partition.topic_id.encode()),
            ("dlq.reason", letter.reason.encode()),
            ("dlq.stage", (ADMIT if letter.reason == FUTURE_TIME else DECODE).encode()),
            ("dlq.path", printable(letter.path)),
            ("dlq.message", printable(letter.message)),
            ("dlq.app", self._app),
            ("dlq.event", event.name.encode()),
            ("dlq.version", self._version_of(event)),
            *_history(record, is_copy=event.rekeyed is not None),
        ]

    def _version_of(self, event: EventDefinition) -> bytes:
        if event.name not in self._versions:
            self._versions[event.name] = event_digest(event).encode()
        return self._versions[event.name]


class DeadOutcomes:
    """Sends what is no outcome to ``<outcomes topic>.dlq``, in the same form."""

    def __init__(self, model_key: str, context: RoleContext) -> None:
        self._model = model_key.encode()
        self._context = context

    def send(self, batch: RecordBatch, record: Record, error: DecodeError) -> Awaitable[int]:
        """Send the record now; what is returned is awaited before the row that contains it advances."""
        topic = topics.dead_outcomes(batch.partition.topic)
        copy = _fitting("dlq", record, topics.REQUEST_MAX_BYTES, self._context.artefacts)
        why = [
            *source_headers("dlq", batch.partition, record),
            ("dlq.topic_id", batch.partition.topic_id.encode()),
            ("dlq.reason", error.reason.encode()),
            ("dlq.stage", DECODE.encode()),
            ("dlq.path", printable(error.path)),
            ("dlq.message", printable(str(error))),
            ("dlq.app", self._model),
            ("dlq.event", b"outcome"),
            *_history(record),
        ]
        return self._context.log.producer().produce(
            topic, copy.value, key=copy.key, headers=[*copy.headers, *why, *copy.kept]
        )


class LateRecords:
    """Sends what came too late for a view to ``<namespace>.<topic>.late``."""

    def __init__(self, app: str, context: RoleContext) -> None:
        self._app = app.encode()
        self._context = context

    def send(self, source: Source, batch: RecordBatch, offsets: Sequence[int]) -> Sending:
        """Send the records now; what is returned is awaited before the row of the source advances."""
        topic = topics.late_records(self._context.namespace, source.event.origin)
        records = _records_at(batch, offsets)
        return Sending("late_records", topic, [self._send(topic, source, batch, record) for record in records])

    def _send(self, topic: str, source: Source, batch: RecordBatch, record: Record) -> Awaitable[int]:
        copy = _fitting("late", record, topics.value_room(source.event), self._context.artefacts)
        why = [
            *source_headers("late", batch.partition, record),
            ("late.view", source.key.encode()),
            ("late.app", self._app),
        ]
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


def _history(record: Record, *, is_copy: bool = False) -> list[tuple[str, bytes]]:
    """Return the headers that say how often a record was refused before, since when, and what it is a copy of."""
    headers = headers_of(record)
    copied, replay = copied_from(headers) if is_copy else None, replay_of(headers)
    said = [] if copied is None else [("dlq.copied", copied.source_id.encode())]
    if replay is None or (copied is not None and not replay.is_of(copied)):
        return [*said, ("dlq.attempts", b"1"), ("dlq.first_seen", str(record.timestamp()[1]).encode())]
    return [
        *said,
        ("dlq.attempts", str(replay.attempts + 1).encode()),
        ("dlq.first_seen", str(replay.first_seen_ms).encode()),
        ("dlq.origin", printable(replay.origin)),
    ]


def _records_at(batch: RecordBatch, offsets: Sequence[int]) -> list[Record]:
    """Return the records of a batch at offsets that it has."""
    return [batch.records[bisect_left(batch.records, offset, key=_offset)] for offset in offsets]


def source_headers(prefix: str, partition: Partition, record: Record) -> list[tuple[str, bytes]]:
    """Return the headers of a copy that say where the record was, and when the log took it."""
    return [
        (f"{prefix}.topic", partition.topic.encode()),
        (f"{prefix}.partition", str(partition.index).encode()),
        (f"{prefix}.offset", str(record.offset()).encode()),
        (f"{prefix}.timestamp", str(record.timestamp()[1]).encode()),
    ]
