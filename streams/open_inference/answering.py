"""What became of a call's requests, as the protocol's answer and as an HTTP status code."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from definitions.declared import ModelDefinition
from streams.messages import ScoreReply
from streams.open_inference import OUTPUTS
from streams.open_inference.asking import Call
from streams.request_reply import Reason, Status

CODES: Mapping[Reason, int] = {
    Reason.INVALID: 400,
    Reason.TOO_LARGE: 413,
    Reason.OVERLOADED: 429,
    Reason.DEADLINE: 504,
    Reason.MODEL_UNAVAILABLE: 503,
    Reason.FEATURES_STALE: 503,
    Reason.FEATURES_UNAVAILABLE: 503,
    Reason.INTERNAL: 500,
}
"""The HTTP status code of a request that ended without a score."""

OK = 200
"""The code of one with a score, ``ok`` or ``degraded``."""

_SCORED = frozenset({Status.OK, Status.DEGRADED})
_UNKNOWN_TIME = -1


def _trained_version(reply: ScoreReply) -> str:
    learner = next(iter(reply.scores), None)
    return next((each.digest for each in reply.versions if each.learner == learner), "")


_VALUES: Mapping[str, Callable[[ScoreReply], object]] = {
    "score": lambda reply: next(iter(reply.scores.values()), None),
    "status": lambda reply: reply.status,
    "reason": lambda reply: reply.reason or "",
    "message": lambda reply: reply.message or "",
    "learner": lambda reply: next(iter(reply.scores), ""),
    "trained_version": _trained_version,
    "degraded": lambda reply: ",".join(reply.degraded),
    "features_as_of": lambda reply: _UNKNOWN_TIME if reply.features_as_of is None else reply.features_as_of,
    "request_id": lambda reply: reply.request_id,
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent back."""

    code: int
    body: Mapping[str, object]


def answered(model: ModelDefinition, call: Call, replies: Sequence[ScoreReply]) -> Answer:
    """Return the answer to a call.

    Where every request has a score, it is 200 and the tensors. Else it is the code of the first request that has none,
    and the error; the tensors stand beside it, so that what was scored is not lost, with null for a score that is not.
    """
    tensors = [
        {"name": name, "datatype": kind, "shape": [len(replies)], "data": [_VALUES[name](reply) for reply in replies]}
        for name, kind in OUTPUTS.items()
        if name in call.outputs
    ]
    named = {} if call.id is None else {"id": call.id}
    body = {"model_name": model.name, "model_version": str(model.version), **named, "outputs": tensors}
    for place, reply in enumerate(replies):
        if reply.status not in _SCORED:
            which = f"request {place + 1} of {len(replies)} " if len(replies) > 1 else ""
            why = f": {reply.message}" if reply.message else ""
            error = f"{which}{reply.status} ({reply.reason}){why}"
            return Answer(CODES[Reason(reply.reason or Reason.INTERNAL)], {"error": error, **body})
    return Answer(OK, body)
