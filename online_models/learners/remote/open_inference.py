"""The Open Inference Protocol, version 2, over HTTP with JSON: what KServe, Triton, MLServer and OpenVINO speak."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from definitions.declared import LearnerDefinition
from definitions.encoder import Encoder, Vector
from online_models.errors import AnswerUnreadable
from online_models.learners.columns import Column, columns_of, rows_of
from online_models.learners.remote import Addressed, decoded, rows_in, scores_in


class OpenInference(Addressed):
    """A model of an inference server. Implements `online_models.learners.Remote`."""

    def __init__(self, definition: LearnerDefinition, encoder: Encoder, *, data: bytes, digest: str) -> None:
        super().__init__(definition, encoder, data=data, digest=digest)
        self._input = str(definition.parameters["input"])
        self.url = f"{self._at('v2')}/infer"

    def request(self, vectors: Sequence[Vector]) -> bytes:
        """Return the body of an inference request: one tensor, or one per input of the model."""
        if self._by_columns:
            columns = columns_of(self._encoder, vectors, missing=self._missing)
            tensors = [_tensor(each, len(vectors)) for each in columns]
        else:
            rows = rows_of(self._encoder, vectors, missing=self._missing)
            data = [value for row in rows for value in row]
            shape = [len(vectors), len(self._encoder.columns)]
            tensors = [{"name": self._input, "shape": shape, "datatype": "FP32", "data": data}]
        asked: dict[str, Any] = {"inputs": tensors}
        if self._output:
            asked["outputs"] = [{"name": self._output}]
        return msgspec.json.encode(asked)

    def scores(self, body: bytes, *, expected: int) -> list[float]:
        """Return the scores in an inference response."""
        outputs = decoded(self.name, body).get("outputs")
        tensors = [each for each in outputs if isinstance(each, dict)] if isinstance(outputs, list) else []
        wanted = [each for each in tensors if not self._output or each.get("name") == self._output]
        if len(wanted) != 1 or not isinstance(wanted[0].get("data"), list):
            names = [each.get("name") for each in tensors]
            raise AnswerUnreadable(
                f"cannot read answer: {self.name}: expected {self._output or 'one'} tensor of scores, "
                f"got {names!r:.80}; name one with output="
            )
        data = wanted[0]["data"]
        is_flat = not any(isinstance(each, list) for each in data)
        return scores_in(self.name, rows_in(self.name, data, expected=expected) if is_flat else data, expected=expected)


def _tensor(column: Column, rows: int) -> dict[str, Any]:
    kind = "BYTES" if column.is_text else "FP32"
    return {"name": column.name, "shape": [rows, column.width], "datatype": kind, "data": column.values}
