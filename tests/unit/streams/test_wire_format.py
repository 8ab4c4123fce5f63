"""The page on the wire format says what the encoder writes, byte by byte, and all that the code knows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from streams import topics
from streams.messages import ScoreReply, ScoreRequest, Timings, Version, encode
from streams.open_inference import MAX_REQUESTS, OUTPUTS
from streams.open_inference.answering import CODES
from streams.records import LOG_APPEND_TIME, Partition
from streams.request_reply import CORRELATION_ID_MAX_BYTES, TIMEOUT_MAX_MS, Reason, ReplyTo, Request, Status
from streams.request_reply.reader import RequestReader
from streams.request_reply.writer import encode_request, request_headers
from tests.builders import model_definition

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "wire-format.md").read_text(encoding="utf-8")
LATE = model_definition()
TRACE = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
REPLY_TO = ReplyTo(topics.replies("demo"), (42).to_bytes(8, "big"), 5, TRACE)
QUESTION = ScoreRequest(
    model="late",
    entities={"origin": "JFK"},
    inputs={"distance": 2475.0, "carrier": None},
    label_key="F1",
    at=1_360_000_000_000,
)
REPLY = ScoreReply(
    request_id="demo.late.requests/2@17",
    status=Status.OK,
    scores={"offline": 0.25},
    versions=[Version(learner="offline", digest="0f1e2d3c4b5a", role="champion")],
    features_as_of=1_359_999_999_500,
    views=["origin_traffic.v1.0123456789ab"],
    timings=Timings(queue_ms=1.0, read_ms=0.3, assemble_ms=0.2, predict_ms=0.4, total_ms=2.0),
)


class Printed:
    """A record as the page prints it."""

    def __init__(self, name: str) -> None:
        found = re.search(rf"^```wire {name}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
        assert found is not None, name
        lines = [re.split(r" {2,}", line, maxsplit=2) for line in found[1].splitlines()]
        self.topic = next(rest[0] for word, *rest in lines if word == "topic")
        self._headers = [(rest[0], bytes.fromhex(rest[1])) for word, *rest in lines if word == "header"]
        self._value = next(rest[0] for word, *rest in lines if word == "value").encode()

    def value(self) -> bytes:
        return self._value

    def headers(self) -> list[tuple[str, bytes]]:
        return self._headers

    def key(self) -> None:
        return None

    def offset(self) -> int:
        return 17

    def timestamp(self) -> tuple[int, int]:
        return LOG_APPEND_TIME, 1_360_000_000_100


def test_the_request_is_what_the_client_writes() -> None:
    printed = Printed("request")

    assert printed.topic == topics.requests("demo", LATE)
    assert printed.headers() == request_headers(REPLY_TO, 250)
    assert printed.value() == encode_request(QUESTION, 250)


def test_the_request_is_read_as_the_page_says() -> None:
    printed = Printed("request")
    reader = RequestReader(LATE, reply_prefix=topics.replies("demo"))

    found = reader.read(printed, Partition(printed.topic, 2, "id"), taken_ms=0)
    assert isinstance(found, Request)
    assert (found.request_id, found.reply_to) == (REPLY.request_id, REPLY_TO)
    assert found.deadline_ms == 1_360_000_000_100 + 250
    assert found.inputs == QUESTION.inputs


def test_the_reply_is_what_the_role_writes() -> None:
    printed = Printed("reply")

    assert printed.topic == REPLY_TO.topic
    assert printed.headers() == REPLY_TO.headers()
    assert printed.value() == encode(REPLY)


@pytest.mark.parametrize(
    "words",
    [
        Status,
        Reason,
        OUTPUTS,
        ScoreReply.__struct_fields__,
        ScoreRequest.__struct_fields__,
        Timings.__struct_fields__,
    ],
)
def test_every_word_of_the_protocol_is_explained(words: object) -> None:
    assert isinstance(words, type | dict | tuple)
    assert {str(word) for word in words if f"`{word}`" not in PAGE} == set()


def test_the_limits_are_those_of_the_code() -> None:
    assert f"1 to {CORRELATION_ID_MAX_BYTES}, opaque" in PAGE
    assert f"1 to {TIMEOUT_MAX_MS} in decimal digits" in PAGE
    assert f"at most {MAX_REQUESTS:,} in one call" in PAGE
    assert topics.REQUEST_MAX_BYTES == 1024 * 1024


def test_the_http_codes_are_those_of_the_code() -> None:
    rows = re.findall(r"^\| (.*) \| (\d{3}) \|$", PAGE, re.MULTILINE)
    said = {reason: int(code) for text, code in rows for reason in Reason if f"`{reason}`" in text}

    assert said == CODES
