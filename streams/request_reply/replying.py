"""The server's side of a reply: its bytes, for which a record of the log has to have room."""

from __future__ import annotations

from streams.messages import ScoreReply, encode
from streams.request_reply import Reason, Status

REPLY_MAX_BYTES = 1_000_000
"""Of the MiB that a broker takes where nobody says otherwise; key and headers have the rest."""


def encode_reply(reply: ScoreReply) -> tuple[bytes, ScoreReply]:
    """Return a reply's bytes and itself; where they are too many, a rejection takes its place.

    Only a graph that answers thousands of candidates comes to that. The broker would refuse such a record, and its
    caller would wait for nothing.
    """
    data = encode(reply)
    if len(data) <= REPLY_MAX_BYTES:
        return data, reply
    refused = ScoreReply(
        request_id=reply.request_id,
        status=Status.REJECTED,
        reason=Reason.TOO_LARGE,
        message=f"cannot answer: expected a reply of at most {REPLY_MAX_BYTES} bytes, got {len(data)}; "
        "send fewer candidates or shorter ids, or let the graph answer fewer of them",
    )
    return encode(refused), refused
