"""A call's bytes to the requests that it asks."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from definitions.declared import ModelDefinition
from streams.messages import ScoreRequest
from streams.open_inference import (
    AT,
    ENTITIES,
    INPUTS,
    LABEL_KEY,
    OUTPUTS,
    CallRefused,
    Expected,
    expected_tensors,
)
from streams.open_inference.tensors import Tensor, values_of
from streams.request_reply import TIMEOUT_MAX_MS


class _Named(msgspec.Struct, frozen=True):
    name: str


class _Call(msgspec.Struct, frozen=True):
    """A call as JSON brings it."""

    inputs: list[Tensor]
    id: str | None = None
    parameters: dict[str, Any] = {}
    outputs: list[_Named] = []


@dataclass(frozen=True, slots=True)
class Call:
    """What a call asks."""

    id: str | None
    """The caller's own name of it, echoed."""
    requests: Sequence[ScoreRequest]
    timeout_ms: int
    outputs: frozenset[str]
    """The names of the tensors that are wanted."""


_DECODER = msgspec.json.Decoder(_Call)


class CallReader:
    """Reads the calls of one model.

    What a value has to be is left to the scoring role, which answers every request by the same rules wherever it came
    from; here, only what can be no tensor of the model is refused.
    """

    def __init__(self, model: ModelDefinition) -> None:
        self._model = model
        self._expected = {each.name: each for each in expected_tensors(model)}

    def read(self, body: bytes, json_size: int | None = None) -> Call:
        """Return what a call asks.

        Args:
            body: its bytes.
            json_size: how many of them are JSON, as ``Inference-Header-Content-Length`` says; None: all.

        Raises:
            CallRefused: it is none, or asks for what this model does not know.
        """
        size = len(body) if json_size is None else json_size
        call = _decoded(body[:size])
        outputs = [each.name for each in call.outputs]
        unknown = [name for name in outputs if name not in OUTPUTS]
        if unknown:
            raise CallRefused("outputs", f"expected names of {', '.join(OUTPUTS)}, got {unknown[0][:40]!r}")
        columns = self._columns(call, body[size:])
        counts = {name: len(values) for name, values in columns.items()}
        if len(set(counts.values())) != 1:
            raise CallRefused("inputs", f"expected tensors of as many requests each, got {counts or 'none'}")
        return Call(
            id=call.id,
            requests=[self._request(columns, place) for place in range(next(iter(counts.values())))],
            timeout_ms=_timeout_ms(call.parameters, self._model.timeout_ms),
            outputs=frozenset(outputs or OUTPUTS),
        )

    def _columns(self, call: _Call, binary: bytes) -> Mapping[str, list[Any]]:
        columns: dict[str, list[Any]] = {}
        place = 0
        for tensor in call.inputs:
            wanted = self._wanted(tensor)
            if tensor.name in columns:
                raise CallRefused(tensor.name, "expected the tensor once, got it twice")
            size = tensor.binary_size
            own = None if size is None else binary[place : place + size]
            if own is not None and len(own) != size:
                raise CallRefused(tensor.name, f"expected {size} bytes behind the JSON, got {len(own)}")
            place += size or 0
            columns[tensor.name] = values_of(tensor, wanted, own)
        if place != len(binary):
            raise CallRefused("inputs", f"expected {place} bytes behind the JSON, got {len(binary)}")
        return columns

    def _wanted(self, tensor: Tensor) -> Expected:
        wanted = self._expected.get(tensor.name)
        if wanted is None:
            near = difflib.get_close_matches(tensor.name[:80], self._expected, n=1)
            mend = f"; did you mean {near[0]!r}?" if near else ""
            raise CallRefused(
                "inputs", f"expected names of {', '.join(self._expected)}, got {tensor.name[:80]!r}{mend}"
            )
        return wanted

    def _request(self, columns: Mapping[str, Sequence[Any]], place: int) -> ScoreRequest:
        return ScoreRequest(
            model=self._model.name,
            entities=_part(columns, ENTITIES, place),
            inputs=_part(columns, INPUTS, place),
            label_key=columns[LABEL_KEY][place] if LABEL_KEY in columns else None,
            at=columns[AT][place] if AT in columns else None,
        )


def _part(columns: Mapping[str, Sequence[Any]], prefix: str, place: int) -> dict[str, Any]:
    return {name.removeprefix(prefix): values[place] for name, values in columns.items() if name.startswith(prefix)}


def _decoded(text: bytes) -> _Call:
    try:
        return _DECODER.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CallRefused("$", f"expected an inference request as JSON: {str(error)[:200]}") from None
    except RecursionError:
        raise CallRefused("$", "expected an inference request as JSON, got one nested too deeply") from None


def _timeout_ms(parameters: Mapping[str, Any], default_ms: int) -> int:
    timeout_ms = parameters.get("timeout_ms", default_ms)
    if type(timeout_ms) is not int or not 1 <= timeout_ms <= TIMEOUT_MAX_MS:
        raise CallRefused("parameters.timeout_ms", f"expected 1 to {TIMEOUT_MAX_MS}, got {str(timeout_ms)[:40]!r}")
    return timeout_ms
