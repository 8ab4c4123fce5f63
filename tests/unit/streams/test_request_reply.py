"""What a requests topic may bring, and what is made of it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from definitions.declared import (
    EventDefinition,
    Field,
    Input,
    LabelDefinition,
    ModelDefinition,
    RouteDefinition,
    Source,
    ViewDefinition,
)
from definitions.expressions import Name
from definitions.values import ValueType
from streams.messages import ScoreReply, ScoreRequest
from streams.records import LOG_APPEND_TIME, Partition
from streams.request_reply import (
    CORRELATION_ID,
    REPLY_PARTITION,
    REPLY_TOPIC,
    TIMEOUT_MS,
    TRACEPARENT,
    Reason,
    Rejection,
    ReplyTo,
    Request,
    Unroutable,
    correlation_id_of,
)
from streams.request_reply.reader import RequestReader
from streams.request_reply.writer import encode_request, request_headers

APPENDED_MS = 1_360_000_000_000
REQUESTS = Partition("demo.late.requests", 2, "id")
EVENT = EventDefinition(
    name="Departed",
    topic="departed",
    fields=(
        Field("flight", ValueType.CATEGORY),
        Field("tail", ValueType.CATEGORY, nullable=True),
        Field("gate", ValueType.INT),
        Field("departed_at", ValueType.TIME),
    ),
    id="flight",
    at="departed_at",
    key=("flight",),
    disorder_ms=0,
)
VIEW = ViewDefinition(
    name="tail_history",
    version=1,
    entity=(Field("tail", ValueType.CATEGORY, nullable=True), Field("gate", ValueType.INT)),
    sources=(Source(EVENT, ("tail", "gate"), ()),),
    features=(),
    digest="0" * 12,
)
LATE = ModelDefinition(
    name="late",
    version=1,
    inputs=(
        Input("tail_history.flights_1h", ValueType.INT, view="tail_history", feature="flights_1h"),
        Input("distance", ValueType.FLOAT),
        Input("carrier", ValueType.CATEGORY),
        Input("stops", ValueType.INT),
        Input("is-holiday", ValueType.BOOL),
    ),
    views=(VIEW,),
    learners={},
    route=RouteDefinition("offline"),
    digest="1" * 12,
    label=LabelDefinition(EVENT, "flight", Name("delay"), within_ms=1),
    timeout_ms=700,
)
BODY: dict[str, Any] = {
    "model": "late",
    "entities": {"tail": "N14228", "gate": 12},
    "inputs": {"distance": 2475, "carrier": "UA", "stops": 0, "is-holiday": False},
    "label_key": "F1",
}
TRACE = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
HEADERS = ((CORRELATION_ID, b"c1"), (REPLY_TOPIC, b"demo.replies"), (REPLY_PARTITION, b"\0\0\0\x05"))


@dataclass(frozen=True)
class Sent:
    """A record as a caller could have sent it."""

    body: Any = field(default_factory=lambda: BODY)
    sent_headers: tuple[tuple[str, bytes | None], ...] | None = HEADERS
    stamp: tuple[int, int] = (LOG_APPEND_TIME, APPENDED_MS)

    def value(self) -> bytes | None:
        return self.body if isinstance(self.body, bytes | None) else json.dumps(self.body).encode()

    def key(self) -> bytes | None:
        return None

    def offset(self) -> int:
        return 17

    def timestamp(self) -> tuple[int, int]:
        return self.stamp

    def headers(self) -> Any:
        return self.sent_headers if self.sent_headers is None else list(self.sent_headers)


def read(sent: Sent, model: ModelDefinition = LATE) -> Request | Rejection | Unroutable:
    return RequestReader(model, reply_prefix="demo.replies").read(sent, REQUESTS, taken_ms=APPENDED_MS + 5)


def with_header(name: str, value: bytes | None) -> Sent:
    return Sent(sent_headers=(*(each for each in HEADERS if each[0] != name), (name, value)))


def changed(part: str, name: str, value: object) -> Sent:
    return Sent({**BODY, part: {**BODY[part], name: value}})


def without(part: str, name: str) -> Sent:
    return Sent({**BODY, part: {key: value for key, value in BODY[part].items() if key != name}})


def rejection(sent: Sent, model: ModelDefinition = LATE) -> Rejection:
    found = read(sent, model)
    assert isinstance(found, Rejection), found
    return found


def request(sent: Sent, model: ModelDefinition = LATE) -> Request:
    found = read(sent, model)
    assert isinstance(found, Request), found
    return found


def test_a_request_is_read_whole() -> None:
    assert read(with_header(TIMEOUT_MS, b"250")) == Request(
        request_id="demo.late.requests/2@17",
        reply_to=ReplyTo("demo.replies", b"c1", 5),
        appended_ms=APPENDED_MS,
        deadline_ms=APPENDED_MS + 250,
        at_ms=APPENDED_MS,
        entities={"tail": "N14228", "gate": 12},
        inputs={"distance": 2475.0, "carrier": "UA", "stops": 0, "is-holiday": False},
        label_key="F1",
    )


def test_headers_of_a_request_are_read_as_they_were_written() -> None:
    reply_to = ReplyTo("demo.replies", b"\x00\xff", 1027, TRACE)
    found = request(Sent(sent_headers=tuple(request_headers(reply_to, 321))))
    assert found.reply_to == reply_to
    assert found.deadline_ms == APPENDED_MS + 321
    assert correlation_id_of(found.reply_to.headers()) == b"\x00\xff"
    assert (TRACEPARENT, TRACE) in found.reply_to.headers()


def test_the_budget_counts_from_the_time_the_broker_gave() -> None:
    found = request(Sent())
    assert found.deadline_ms == APPENDED_MS + 700
    assert found.remaining_ms(APPENDED_MS + 699) == 1
    assert found.remaining_ms(APPENDED_MS + 700) == 0


def test_a_time_that_the_client_gave_is_no_clock() -> None:
    found = request(Sent(stamp=(1, 123)))
    assert (found.appended_ms, found.deadline_ms) == (APPENDED_MS + 5, APPENDED_MS + 705)


@pytest.mark.parametrize(
    ("at", "at_ms"),
    [
        (None, APPENDED_MS),
        (1_357_000_000_123, 1_357_000_000_123),
        ("2013-01-01T00:26:40.123Z", 1_357_000_000_123),
        ("2012-12-31T19:26:40.123-05:00", 1_357_000_000_123),
    ],
)
def test_the_event_time_asked_about_is_given_or_the_append_time(at: object, at_ms: int) -> None:
    assert request(Sent({**BODY, "at": at})).at_ms == at_ms


def test_null_is_a_value_that_is_not_there() -> None:
    body = {
        **BODY,
        "entities": {"tail": None, "gate": 12},
        "inputs": dict.fromkeys(BODY["inputs"]),
    }
    found = request(Sent(body))
    assert found.entities == {"tail": None, "gate": 12}
    assert found.inputs == dict.fromkeys(BODY["inputs"])


def test_an_entity_that_may_be_null_may_be_left_out() -> None:
    assert request(without("entities", "tail")).entities == {"tail": None, "gate": 12}


def test_a_number_as_label_key_is_its_text() -> None:
    assert request(Sent({**BODY, "label_key": 77})).label_key == "77"


def test_unknown_fields_are_ignored() -> None:
    body = {**BODY, "candidates": [1], "inputs": {**BODY["inputs"], "more": {}}}
    assert request(Sent(body)) == request(Sent())


def test_a_model_without_label_needs_no_label_key() -> None:
    body = {key: value for key, value in BODY.items() if key != "label_key"}
    assert request(Sent(body), replace(LATE, label=None)).label_key is None


def test_a_model_that_needs_nothing_may_be_asked_with_nothing() -> None:
    bare = replace(LATE, label=None, views=(), inputs=())
    assert request(Sent({"model": "late"}), bare).inputs == {}


@pytest.mark.parametrize(
    ("sent", "path"),
    [
        (Sent(None), "$"),
        (Sent(b""), "$"),
        (Sent(b"{"), "$"),
        (Sent(b"[]"), "$"),
        (Sent(b"\xff\xfe"), "$"),
        (Sent(json.dumps(BODY).replace("UA", "U\\ud800").encode()), "$"),
        (Sent(json.dumps(BODY).encode().replace(b"UA", b"\xff")), "$"),
        (Sent(b'{"model":"late","zz":' + b"[" * 100_000), "$"),
        (changed("inputs", "distance", float("nan")), "$"),
        (Sent(json.dumps(BODY).replace("2475", "1e999").encode()), "$.inputs[...]"),
        (Sent({**BODY, "model": "other"}), "$.model"),
        (Sent({**BODY, "model": 1}), "$.model"),
        (Sent({key: value for key, value in BODY.items() if key != "model"}), "$.model"),
        (Sent({**BODY, "entities": []}), "$.entities"),
        (Sent({key: value for key, value in BODY.items() if key != "entities"}), "$.entities.gate"),
        (changed("entities", "gate", None), "$.entities.gate"),
        (changed("inputs", "distance", 1e39), "$.inputs.distance"),
        (without("entities", "gate"), "$.entities.gate"),
        (changed("entities", "tail", 1), "$.entities.tail"),
        (changed("entities", "tail", ""), "$.entities.tail"),
        (changed("entities", "tail", "x" * 1_025), "$.entities.tail"),
        (changed("entities", "gate", 1.5), "$.entities.gate"),
        (changed("entities", "gate", True), "$.entities.gate"),
        (without("inputs", "carrier"), "$.inputs.carrier"),
        (changed("inputs", "distance", "far"), "$.inputs.distance"),
        (changed("inputs", "distance", True), "$.inputs.distance"),
        (changed("inputs", "carrier", 7), "$.inputs.carrier"),
        (changed("inputs", "stops", 1.5), "$.inputs.stops"),
        (changed("inputs", "is-holiday", 1), "$.inputs.is-holiday"),
        (Sent({**BODY, "label_key": None}), "$.label_key"),
        (Sent({**BODY, "label_key": ""}), "$.label_key"),
        (Sent({**BODY, "label_key": 1.5}), "$.label_key"),
        (Sent({**BODY, "at": "yesterday"}), "$.at"),
        (Sent({**BODY, "at": "2013-01-01T00:00:00"}), "$.at"),
        (Sent({**BODY, "at": "1901-01-01T00:00:00Z"}), "$.at"),
        (Sent({**BODY, "at": -1}), "$.at"),
        (with_header(REPLY_PARTITION, b"5"), "$headers.kafka_replyPartition"),
        (with_header(REPLY_PARTITION, b"\xff\xff\xff\xff"), "$headers.kafka_replyPartition"),
        (with_header(TIMEOUT_MS, b""), "$headers.headrace-timeout-ms"),
        (with_header(TIMEOUT_MS, b"0"), "$headers.headrace-timeout-ms"),
        (with_header(TIMEOUT_MS, b"-5"), "$headers.headrace-timeout-ms"),
        (with_header(TIMEOUT_MS, b"soon"), "$headers.headrace-timeout-ms"),
        (with_header(TIMEOUT_MS, b"60001"), "$headers.headrace-timeout-ms"),
        (with_header(TIMEOUT_MS, b"9" * 1_000), "$headers.headrace-timeout-ms"),
    ],
)
def test_what_is_wrong_is_rejected_with_its_path(sent: Sent, path: str) -> None:
    found = rejection(sent)
    assert found.reason == Reason.INVALID
    assert found.message.startswith(f"cannot read request: {path}: ")
    assert len(found.message) < 200
    reply = found.reply()
    assert (reply.status, reply.reason, reply.message) == ("rejected", "invalid", found.message)
    assert found.reply_to.correlation_id == b"c1"


def test_a_body_over_the_limit_is_too_large() -> None:
    found = rejection(Sent(b"[" + b"0" * 1024 * 1024 + b"]"))
    assert found.reason == Reason.TOO_LARGE


def test_a_megabyte_of_text_inside_the_limit_is_invalid() -> None:
    assert "$.inputs.carrier" in rejection(changed("inputs", "carrier", "x" * 1_000_000)).message


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (Sent(sent_headers=None), "no_correlation_id"),
        (Sent(sent_headers=()), "no_correlation_id"),
        (with_header(CORRELATION_ID, None), "no_correlation_id"),
        (with_header(CORRELATION_ID, b""), "no_correlation_id"),
        (with_header(CORRELATION_ID, b"x" * 65), "bad_correlation_id"),
        (with_header(REPLY_TOPIC, None), "no_reply_topic"),
        (with_header(REPLY_TOPIC, b""), "no_reply_topic"),
        (with_header(REPLY_TOPIC, b"demo.departed"), "reply_topic_not_allowed"),
        (with_header(REPLY_TOPIC, b"other.replies"), "reply_topic_not_allowed"),
        (with_header(REPLY_TOPIC, b"demo.replies/../x"), "reply_topic_not_allowed"),
        (with_header(REPLY_TOPIC, b"demo.replies\xff"), "reply_topic_not_allowed"),
        (with_header(REPLY_TOPIC, b"demo.repliesandmore"), "reply_topic_not_allowed"),
        (with_header(REPLY_TOPIC, b"demo.replies.requests"), "reply_topic_not_allowed"),
        (with_header(REPLY_TOPIC, b"demo.replies.dlq"), "reply_topic_not_allowed"),
        (with_header(REPLY_TOPIC, b"demo.replies" + b"x" * 250), "reply_topic_not_allowed"),
    ],
)
def test_what_cannot_be_answered_is_only_counted(sent: Sent, reason: str) -> None:
    assert read(sent) == Unroutable("demo.late.requests/2@17", reason)


def test_a_longest_correlation_id_is_echoed() -> None:
    assert request(with_header(CORRELATION_ID, b"\xff" * 64)).reply_to.correlation_id == b"\xff" * 64


def test_a_trace_of_a_later_version_may_say_more() -> None:
    later = b"01" + TRACE[2:] + b"-more"
    assert request(with_header(TRACEPARENT, later)).traceparent == later.decode()


@pytest.mark.parametrize(
    "header",
    [
        None,
        b"",
        b"0" * 65,
        b"00-trace-01",
        TRACE.upper(),
        TRACE + b"\n",
        TRACE + b"-" + b"x" * 33,
        b"ff" + TRACE[2:],
        TRACE.replace(TRACE[3:35], b"0" * 32),
        TRACE.replace(TRACE[36:52], b"0" * 16),
        TRACE[:-1] + b"\xff",
    ],
)
def test_a_trace_that_is_not_well_formed_is_dropped(header: bytes | None) -> None:
    found = request(with_header(TRACEPARENT, header))
    assert (found.reply_to.traceparent, found.traceparent) == (None, None)


def test_the_body_that_a_client_writes_is_read() -> None:
    body = encode_request(ScoreRequest(**BODY), 100)
    assert request(Sent(body)) == request(Sent())


@pytest.mark.parametrize(
    ("inputs", "timeout_ms", "reason", "problem"),
    [
        ({"distance": float("nan")}, 100, "invalid", "$.inputs.distance"),
        ({"distance": float("-inf")}, 100, "invalid", "$.inputs.distance"),
        ({"query": [1.0, float("nan")]}, 100, "invalid", "$.inputs.query"),
        ({"carrier": "\ud800"}, 100, "invalid", "$: "),
        ({"carrier": object()}, 100, "invalid", "$: "),
        ({"carrier": "x" * 1024 * 1024}, 100, "too_large", "$: "),
        ({}, 0, "invalid", "timeout_ms"),
        ({}, 60_001, "invalid", "timeout_ms"),
    ],
)
def test_what_is_not_worth_sending_is_rejected_before(
    inputs: dict[str, Any], timeout_ms: int, reason: str, problem: str
) -> None:
    found = encode_request(ScoreRequest(**{**BODY, "inputs": inputs}), timeout_ms)
    assert isinstance(found, ScoreReply)
    assert (found.status, found.reason) == ("rejected", reason)
    assert (found.message or "").startswith(f"cannot send request: {problem}")


def test_a_value_nested_to_the_depth_where_python_gives_up_is_rejected_and_raises_nothing() -> None:
    for depth in range(900, 1_001):
        nested = b"[" * depth + b"]" * depth
        found = rejection(Sent(json.dumps(BODY).encode().replace(b"2475", nested)))
        assert found.reason == Reason.INVALID
