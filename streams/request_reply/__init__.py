"""The rules of asking for a score over a topic and getting one answer: headers, bodies, statuses, deadlines.

The header names are Spring's, so that its ``ReplyingKafkaTemplate`` works unchanged. The budget of a request counts
from the record's LogAppendTime, a clock that neither side sets; "now" is always an argument. `reader.RequestReader`
turns a record into a `Request` or a `Rejection`; an `Unroutable` one names no address that may be written to, and can
only be counted. `writer` is the caller's side. ``docs/wire-format.md`` is the same for people who write a client.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from definitions.requests import CandidateValues
from definitions.values import Value
from streams.messages import ScoreReply

CORRELATION_ID = "kafka_correlationId"
REPLY_TOPIC = "kafka_replyTopic"
REPLY_PARTITION = "kafka_replyPartition"
TIMEOUT_MS = "headrace-timeout-ms"
TRACEPARENT = "traceparent"

CORRELATION_ID_MAX_BYTES = 64
TIMEOUT_MAX_MS = 60_000

_PARTITION = struct.Struct(">i")
_TRACEPARENT = re.compile(
    rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-[!-~]{1,32})?\Z"
)


class Status(StrEnum):
    """How a request ended: exactly one of these."""

    OK = "ok"
    DEGRADED = "degraded"
    REJECTED = "rejected"
    ERROR = "error"
    EXPIRED = "expired"


class Reason(StrEnum):
    """Why a request did not end as ``ok``."""

    INVALID = "invalid"
    TOO_LARGE = "too_large"
    OVERLOADED = "overloaded"
    DEADLINE = "deadline"
    MODEL_UNAVAILABLE = "model_unavailable"
    FEATURES_STALE = "features_stale"
    FEATURES_UNAVAILABLE = "features_unavailable"
    INTERNAL = "internal"


class ReplyTo(msgspec.Struct, frozen=True):
    """The address of a reply, as the request's headers give it."""

    topic: str
    correlation_id: bytes
    partition: int | None = None
    traceparent: bytes | None = None
    """As W3C Trace Context writes it; one that is not well formed is left out, as it asks."""

    def headers(self) -> list[tuple[str, bytes]]:
        """Return the headers of the reply: the correlation id, and the trace it belongs to."""
        headers = [(CORRELATION_ID, self.correlation_id)]
        return headers if self.traceparent is None else [*headers, (TRACEPARENT, self.traceparent)]


class Request(msgspec.Struct, frozen=True):
    """A request that can be answered: typed, complete, and with a deadline."""

    request_id: str
    """The request's position, ``topic/partition@offset``."""
    reply_to: ReplyTo
    appended_ms: int
    deadline_ms: int
    at_ms: int
    """The event time asked about."""
    entities: Mapping[str, str | int | None]
    inputs: Mapping[str, Value]
    """The values that the request itself brings, by input name."""
    label_key: str | None
    candidates: CandidateValues | None = None
    """What is to be ranked, where a graph is asked."""

    @property
    def traceparent(self) -> str | None:
        """The trace that the request belongs to, None where its header names none."""
        header = self.reply_to.traceparent
        return None if header is None else header.decode()

    def remaining_ms(self, now_ms: int) -> int:
        """Return what is left of the budget; zero or less means that the caller has gone."""
        return self.deadline_ms - now_ms


@dataclass(frozen=True, slots=True)
class Rejection:
    """A record that is no valid request, but says where its reply goes."""

    request_id: str
    reply_to: ReplyTo
    reason: Reason
    message: str
    """For people: what was wrong, and at which ``$.path``."""

    def reply(self) -> ScoreReply:
        """Return the terminal answer."""
        return ScoreReply(request_id=self.request_id, status=Status.REJECTED, reason=self.reason, message=self.message)


@dataclass(frozen=True, slots=True)
class Unroutable:
    """A record that names no address to reply to, or none that may be written to."""

    request_id: str
    reason: str
    """``no_correlation_id``, ``bad_correlation_id``, ``no_reply_topic`` or ``reply_topic_not_allowed``."""


def correlation_id_of(headers: Sequence[tuple[str, bytes]] | None) -> bytes | None:
    """Return the correlation id among a record's headers, None if there is none."""
    for name, value in headers or ():
        if name == CORRELATION_ID:
            return value
    return None


def well_formed(traceparent: bytes | None) -> bytes | None:
    """Return a ``traceparent`` header where it names a trace, None where it does not."""
    return traceparent if traceparent is not None and _TRACEPARENT.match(traceparent) else None


def partition_bytes(index: int) -> bytes:
    """Return a partition as its header holds it: 4 bytes, big-endian."""
    return _PARTITION.pack(index)


def partition_of(header: bytes | None) -> int | None:
    """Return the partition that a header names, None where it is absent or not 4 bytes of a number from 0 on."""
    if header is None or len(header) != _PARTITION.size:
        return None
    index: int = _PARTITION.unpack(header)[0]
    return index if index >= 0 else None
