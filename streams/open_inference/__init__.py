"""The Open Inference Protocol v2, REST: requests for scores as named tensors, and the outcomes as tensors again.

A tensor is named by the path of its value in the body of a request on the topic (`streams.messages.ScoreRequest`):
``entities.origin``, ``inputs.distance``, ``label_key``, ``at``. Its first dimension counts requests, so one call asks
for as many scores, each a request of its own; an embedding has its length as second dimension. ``timeout_ms`` among the
parameters is the budget. A value that is not known is null, which only JSON can say; binary tensors are read, never
written. `asking` reads a call, `answering` writes what became of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from definitions.declared import ModelDefinition
from definitions.errors import HeadraceError
from definitions.values import ValueType
from streams.request_reply import Reason

MAX_REQUESTS = 1_024
"""Requests in one call."""

ENTITIES = "entities."
INPUTS = "inputs."
LABEL_KEY = "label_key"
AT = "at"

_INTEGERS = ("INT64", "INT32", "INT16", "INT8", "UINT64", "UINT32", "UINT16", "UINT8")
_NUMBERS = ("FP64", "FP32", "FP16", *_INTEGERS)
_DATATYPES: Mapping[ValueType, tuple[str, ...]] = {
    ValueType.INT: _INTEGERS,
    ValueType.FLOAT: _NUMBERS,
    ValueType.BOOL: ("BOOL",),
    ValueType.CATEGORY: ("BYTES",),
    ValueType.TIME: _INTEGERS,
    ValueType.EMBEDDING: _NUMBERS,
}


class CallRefused(HeadraceError):  # noqa: N818  # a state of the world, as in the other rooms
    """A call that asks for nothing that can be sent. ``reason`` is ``invalid``, ``too_large`` or ``overloaded``."""

    def __init__(self, path: str, problem: str, reason: Reason = Reason.INVALID) -> None:
        super().__init__(f"cannot read call: {path}: {problem}")
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Expected:
    """A tensor that a call may bring."""

    name: str
    datatypes: tuple[str, ...]
    """Those that are taken; the first is the one that is advertised."""
    length: int | None = None
    """The second dimension, None where there is none."""
    is_optional: bool = False


def expected_tensors(model: ModelDefinition) -> Iterator[Expected]:
    """Yield the tensors that a call of the model may bring, in the order in which it lists them."""
    nullable = {each.name for view in model.views for each in view.entity if each.nullable}
    for name, kind in model.entity_types.items():
        yield Expected(ENTITIES + name, _DATATYPES[kind], is_optional=name in nullable)
    for wanted in model.requests:
        yield Expected(INPUTS + wanted.name, _DATATYPES[wanted.type], wanted.length)
    yield Expected(LABEL_KEY, ("BYTES", *_INTEGERS), is_optional=model.label is None)
    yield Expected(AT, (*_INTEGERS, "BYTES"), is_optional=True)


def metadata(model: ModelDefinition) -> Mapping[str, object]:
    """Return what the protocol calls the model's metadata."""
    return {
        "name": model.name,
        "versions": [str(model.version)],
        "platform": "headrace",
        "inputs": [_described(each) for each in expected_tensors(model)],
        "outputs": [{"name": name, "datatype": kind, "shape": [-1]} for name, kind in OUTPUTS.items()],
    }


OUTPUTS: Mapping[str, str] = {
    "score": "FP64",
    "status": "BYTES",
    "reason": "BYTES",
    "message": "BYTES",
    "learner": "BYTES",
    "trained_version": "BYTES",
    "degraded": "BYTES",
    "features_as_of": "INT64",
    "request_id": "BYTES",
}
"""The tensors of an answer, one value a request. Text is empty, ``features_as_of`` -1 where there is none."""


def _described(each: Expected) -> Mapping[str, object]:
    shape: Sequence[int] = [-1] if each.length is None else [-1, each.length]
    described = {"name": each.name, "datatype": each.datatypes[0], "shape": shape}
    return {**described, "parameters": {"optional": True}} if each.is_optional else described
