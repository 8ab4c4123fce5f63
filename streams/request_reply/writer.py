"""The caller's side of a request: its bytes and headers, and the outcomes that need no reply from the log."""

from __future__ import annotations

import math

from streams.messages import ScoreReply, ScoreRequest, encode
from streams.request_reply import (
    REPLY_PARTITION,
    REPLY_TOPIC,
    TIMEOUT_MAX_MS,
    TIMEOUT_MS,
    Reason,
    ReplyTo,
    Status,
    partition_bytes,
)
from streams.topics import REQUEST_MAX_BYTES


def request_headers(reply_to: ReplyTo, timeout_ms: int) -> list[tuple[str, bytes]]:
    """Return the headers of a request: where its reply goes, and its budget from the time it is appended."""
    headers = [*reply_to.headers(), (REPLY_TOPIC, reply_to.topic.encode()), (TIMEOUT_MS, b"%d" % timeout_ms)]
    if reply_to.partition is not None:
        headers.append((REPLY_PARTITION, partition_bytes(reply_to.partition)))
    return headers


def encode_request(body: ScoreRequest, timeout_ms: int) -> bytes | ScoreReply:
    """Return the body's bytes, or the outcome of a request that is not worth sending."""
    if not 1 <= timeout_ms <= TIMEOUT_MAX_MS:
        return rejected(Reason.INVALID, f"timeout_ms: expected 1 to {TIMEOUT_MAX_MS}, got {timeout_ms}")
    wrong = _not_finite("$.inputs", body.inputs)
    if wrong:
        return rejected(Reason.INVALID, wrong)
    try:
        data = encode(body)
    except (TypeError, ValueError, OverflowError) as error:
        return rejected(Reason.INVALID, f"$: expected values of JSON: {error}")
    # Ten thousand candidates are looked at one by one only where one of their values was written as null.
    if body.candidates and data.find(b"null", data.find(b'"candidates":')) >= 0:
        for place, each in enumerate(body.candidates):
            wrong = wrong or _not_finite(f"$.candidates[{place}].inputs", isinstance(each, dict) and each.get("inputs"))
        if wrong:
            return rejected(Reason.INVALID, wrong)
    if len(data) > REQUEST_MAX_BYTES:
        return rejected(Reason.TOO_LARGE, f"$: expected at most {REQUEST_MAX_BYTES} bytes, got {len(data)}")
    return data


def _not_finite(path: str, inputs: object) -> str:
    """Return which of the inputs is not finite, nothing if none is.

    JSON has no such numbers, and the encoder would write null: "no value", which it is not.
    """
    for name, value in inputs.items() if isinstance(inputs, dict) else ():
        numbers = value if isinstance(value, list) else (value,)
        if any(isinstance(each, float) and not math.isfinite(each) for each in numbers):
            return f"{path}.{name}: expected a finite number or null, got {value}"
    return ""


def rejected(reason: Reason, problem: str) -> ScoreReply:
    """Return the outcome of a request that was not sent."""
    message = f"cannot send request: {problem}"
    return ScoreReply(request_id="", status=Status.REJECTED, reason=reason, message=message)


def expired() -> ScoreReply:
    """Return the outcome of a request whose caller waited long enough."""
    return ScoreReply(request_id="", status=Status.EXPIRED, reason=Reason.DEADLINE)
