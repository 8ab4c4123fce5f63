"""The Open Inference Protocol, version 2, over gRPC: the messages of one ``ModelInfer`` call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from definitions.declared import LearnerDefinition
from definitions.encoder import Encoder, Vector
from online_models.errors import AnswerUnreadable
from online_models.learners.columns import columns_of, rows_of
from online_models.learners.remote import Addressed, rows_in, scores_in
from online_models.learners.remote.grpc_messages import CONTENTS, messages

_RAW = {
    "BOOL": "?", "INT8": "i1", "INT16": "<i2", "INT32": "<i4", "INT64": "<i8", "UINT8": "u1", "UINT16": "<u2",
    "UINT32": "<u4", "UINT64": "<u8", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8",
}  # fmt: skip
"""Datatype to how its values lie in raw bytes."""


class OpenInferenceGrpc(Addressed):
    """A model of an inference server that is asked by gRPC. Implements `online_models.learners.Remote`.

    ``url`` names the server and the model: whoever sends knows gRPC by its scheme.
    """

    def __init__(self, definition: LearnerDefinition, encoder: Encoder, *, data: bytes, digest: str) -> None:
        """Take the learner that is declared, after it was found to be the one in the release.

        Raises:
            ArtefactRefused: another one.
            LearnerUnusable: the Protobuf library is not installed.
        """
        super().__init__(definition, encoder, data=data, digest=digest)
        self._input = str(definition.parameters["input"])
        self._messages = messages()
        self.url = self._at("v2")

    def request(self, vectors: Sequence[Vector]) -> bytes:
        """Return the message of an inference request: one tensor, or one per input of the model."""
        asked = self._messages["ModelInferRequest"](model_name=self._model, model_version=self._version)
        if self._by_columns:
            for each in columns_of(self._encoder, vectors, missing=self._missing):
                self._add(asked, each.name, each.values, [len(vectors), each.width])
        else:
            rows = rows_of(self._encoder, vectors, missing=self._missing)
            values = [value for row in rows for value in row]
            self._add(asked, self._input, values, [len(vectors), len(self._encoder.columns)])
        if self._output:
            asked.outputs.add(name=self._output)
        sent: bytes = asked.SerializeToString()
        return sent

    def scores(self, body: bytes, *, expected: int) -> list[float]:
        """Return the scores in the message of an inference response."""
        from google.protobuf.message import DecodeError  # noqa: PLC0415  # optional, and there by now

        try:
            answer = self._messages["ModelInferResponse"].FromString(body)
        except DecodeError as error:
            raise AnswerUnreadable(
                f"cannot read answer: {self.name}: expected a ModelInferResponse: {error}"
            ) from error
        wanted = [
            (place, each) for place, each in enumerate(answer.outputs) if not self._output or each.name == self._output
        ]
        if len(wanted) != 1:
            names = [each.name for each in answer.outputs]
            raise AnswerUnreadable(
                f"cannot read answer: {self.name}: expected {self._output or 'one'} tensor of scores, "
                f"got {names!r:.80}; name one with output="
            )
        place, tensor = wanted[0]
        values = self._values(tensor, answer.raw_output_contents, place)
        return scores_in(self.name, rows_in(self.name, values, expected=expected), expected=expected)

    def _add(self, asked: Any, name: str, values: Sequence[float] | Sequence[str], shape: Sequence[int]) -> None:
        is_text = bool(values) and isinstance(values[0], str)
        tensor = asked.inputs.add(name=name, datatype="BYTES" if is_text else "FP32", shape=shape)
        if is_text:
            tensor.contents.bytes_contents.extend(str(value).encode() for value in values)
        else:
            tensor.contents.fp32_contents.extend(values)

    def _values(self, tensor: Any, raw: Sequence[bytes], place: int) -> list[Any]:
        """Return the numbers of a tensor, which lie in it, or as raw bytes behind all of them."""
        try:
            if raw:
                found: list[Any] = np.frombuffer(raw[place], dtype=_RAW[tensor.datatype]).tolist()
                return found
            return list(getattr(tensor.contents, CONTENTS[tensor.datatype]))
        except (KeyError, IndexError, ValueError) as error:
            got = f"{tensor.datatype!r:.40} ({type(error).__name__})"
            raise AnswerUnreadable(
                f"cannot read answer: {self.name}: expected a tensor of numbers, got {got}"
            ) from error
