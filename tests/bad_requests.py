"""Requests as nobody should send them, and what each is answered: one table, for the log in memory and for Kafka."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from streams.request_reply import CORRELATION_ID, REPLY_PARTITION, REPLY_TOPIC, TIMEOUT_MS

QUESTION: Mapping[str, Any] = {
    "model": "late",
    "entities": {"origin": "JFK"},
    "inputs": {"distance": 2475.0, "carrier": "UA"},
    "label_key": "F1",
    "at": 1_360_000_000_000,
}
GOOD = json.dumps(QUESTION).encode()
MEGABYTE = "x" * 1_000_000
WIRE_MAX_BYTES = 8 * 1024 * 1024
"""What the topic has to take for all of these to reach the role."""

Headers = Mapping[str, bytes | None]


@dataclass(frozen=True)
class Bad:
    """A request, good but for what is given. A header of None is left out."""

    value: bytes | None = GOOD
    headers: Headers = field(default_factory=dict)


def body(**changes: Any) -> bytes:
    """Return the bytes of the good request with some of its fields changed."""
    return json.dumps({**QUESTION, **changes}).encode()


def origin(name: object) -> bytes:
    """Return the bytes of the good request about another entity."""
    return body(entities={"origin": name})


REJECTED: Mapping[str, tuple[Bad, str, str]] = {
    "an unknown model": (Bad(body(model="punctual")), "invalid", "$.model"),
    "no JSON": (Bad(b"hello"), "invalid", "$"),
    "no bytes": (Bad(b""), "invalid", "$"),
    "JSON cut short": (Bad(GOOD[:-1]), "invalid", "$"),
    "invalid UTF-8": (Bad(GOOD.replace(b"JFK", b"J\xff")), "invalid", "$"),
    "a tombstone": (Bad(None), "invalid", "$"),
    "no object": (Bad(b"[]"), "invalid", "$"),
    "no entity": (Bad(body(entities={})), "invalid", "$.entities.origin"),
    "an entity without a name": (Bad(origin("")), "invalid", "$.entities.origin"),
    "an entity that is a number": (Bad(origin(7)), "invalid", "$.entities.origin"),
    "no label key": (Bad(body(label_key=None)), "invalid", "$.label_key"),
    "a label key of 10 kB": (Bad(body(label_key="F" * 10_000)), "invalid", "$.label_key"),
    "a megabyte of text": (Bad(origin(MEGABYTE)), "invalid", "$.entities.origin"),
    "a megabyte of model": (Bad(body(model=MEGABYTE)), "invalid", "$.model"),
    "control characters in the model": (Bad(body(model="late\n\x1b[31m{}")), "invalid", "$.model"),
    "more than a mebibyte": (Bad(body(more="x" * 1024 * 1024)), "too_large", "$"),
    "5 MB": (Bad(body(more="x" * 5_000_000)), "too_large", "$"),
    "5 MB of nothing": (Bad(b" " * 5_000_000), "too_large", "$"),
    "NaN": (Bad(GOOD.replace(b"2475.0", b"NaN")), "invalid", "$"),
    "an infinity": (Bad(GOOD.replace(b"2475.0", b"1e999")), "invalid", "$.inputs[...]"),
    "a number beyond a model's": (Bad(GOOD.replace(b"2475.0", b"1e39")), "invalid", "$.inputs.distance"),
    "a mistyped input": (Bad(GOOD.replace(b"2475.0", b'"far"')), "invalid", "$.inputs.distance"),
    "10,000 features for one": (
        Bad(body(inputs={"distance": [1.0] * 10_000, "carrier": "UA"})), "invalid", "$.inputs.distance",
    ),
    "nested 10,000 deep": (Bad(b'{"more": ' + b"[" * 10_000 + b"]" * 10_000 + b"}"), "invalid", "$"),
    "a naive time": (Bad(body(at="2013-02-04T17:46:40")), "invalid", "$.at"),
    "a time before all": (Bad(body(at=-1)), "invalid", "$.at"),
    "no budget": (Bad(headers={TIMEOUT_MS: b"0"}), "invalid", f"$headers.{TIMEOUT_MS}"),
    "a budget in the past": (Bad(headers={TIMEOUT_MS: b"-1000"}), "invalid", f"$headers.{TIMEOUT_MS}"),
    "a budget of a day": (Bad(headers={TIMEOUT_MS: b"86400000"}), "invalid", f"$headers.{TIMEOUT_MS}"),
    "a budget of 10 kB": (Bad(headers={TIMEOUT_MS: b"1" * 10_000}), "invalid", f"$headers.{TIMEOUT_MS}"),
}  # fmt: skip
"""Name to (the request, the reason, the path that the message names). The status is ``rejected``."""

SERVED: Mapping[str, Bad] = {
    "an unknown entity": Bad(origin("nowhere")),
    "control characters in the entity": Bad(origin('JFK\n\x00\x1b[31m"},{')),
    "control characters in the label key": Bad(body(label_key="F1\r\nF2\x00")),
    "10,000 features that nobody asked for": Bad(
        body(inputs={**QUESTION["inputs"], **{f"feature_{number}": 1.0 for number in range(10_000)}})
    ),
    "an input without a value": Bad(body(inputs={"distance": None, "carrier": None})),
    "a correlation id of control characters": Bad(headers={CORRELATION_ID: b"\n\x00\xff"}),
    "a trace of 10 kB": Bad(headers={"traceparent": b"0" * 10_000}),
}
"""What is odd, and yet asks something: it gets its score."""

UNROUTABLE: Mapping[str, tuple[Bad, str]] = {
    "no correlation id": (Bad(headers={CORRELATION_ID: None}), "no_correlation_id"),
    "an empty correlation id": (Bad(headers={CORRELATION_ID: b""}), "no_correlation_id"),
    "a correlation id of 65 bytes": (Bad(headers={CORRELATION_ID: b"x" * 65}), "bad_correlation_id"),
    "a correlation id of 10 kB": (Bad(headers={CORRELATION_ID: b"x" * 10_000}), "bad_correlation_id"),
    "no reply topic": (Bad(headers={REPLY_TOPIC: None}), "no_reply_topic"),
    "a reply topic that is an event topic": (Bad(headers={REPLY_TOPIC: b"%s.departed"}), "reply_topic_not_allowed"),
    "a reply topic of ours": (Bad(headers={REPLY_TOPIC: b"%s.late.v1.outcomes"}), "reply_topic_not_allowed"),
    "a reply topic that only begins so": (Bad(headers={REPLY_TOPIC: b"%s.repliesandmore"}), "reply_topic_not_allowed"),
    "a reply topic of another namespace": (Bad(headers={REPLY_TOPIC: b"other.replies"}), "reply_topic_not_allowed"),
    "a reply topic that is no UTF-8": (Bad(headers={REPLY_TOPIC: b"%s.replies\xff"}), "reply_topic_not_allowed"),
    "nothing at all": (
        Bad(b"", {CORRELATION_ID: None, REPLY_TOPIC: None, REPLY_PARTITION: None, TIMEOUT_MS: None}),
        "no_correlation_id",
    ),
}
"""What names no address that may be written to: counted by this reason. ``%s`` stands for the namespace."""


def headers_of(bad: Bad, namespace: str, good: Mapping[str, bytes]) -> list[tuple[str, bytes]]:
    """Return the headers to send: those of a good request, but for the bad one's own."""
    name = namespace.encode()
    given = {**good, **{key: value and value.replace(b"%s", name) for key, value in bad.headers.items()}}
    return [(key, value) for key, value in given.items() if value is not None]
