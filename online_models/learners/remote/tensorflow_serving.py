"""The REST interface of TensorFlow Serving: its ``predict`` call, in row format."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from definitions.declared import LearnerDefinition
from definitions.encoder import Encoder, Vector
from online_models.learners.columns import Column, columns_of, rows_of
from online_models.learners.remote import Addressed, decoded, scores_in


class TensorFlowServing(Addressed):
    """A model of TensorFlow Serving. Implements `online_models.learners.Remote`."""

    def __init__(self, definition: LearnerDefinition, encoder: Encoder, *, data: bytes, digest: str) -> None:
        super().__init__(definition, encoder, data=data, digest=digest)
        self._signature = str(definition.parameters["signature"])
        self.url = f"{self._at('v1')}:predict"

    def request(self, vectors: Sequence[Vector]) -> bytes:
        """Return the body of a predict request: an instance is a list of numbers, or an object of named values."""
        instances: list[Any]
        if self._by_columns:
            columns = columns_of(self._encoder, vectors, missing=self._missing)
            instances = [{each.name: _cell(each, row) for each in columns} for row in range(len(vectors))]
        else:
            instances = rows_of(self._encoder, vectors, missing=self._missing)
        asked: dict[str, Any] = {"signature_name": self._signature} if self._signature else {}
        return msgspec.json.encode({**asked, "instances": instances})

    def scores(self, body: bytes, *, expected: int) -> list[float]:
        """Return the scores in a predict response."""
        given = decoded(self.name, body).get("predictions")
        if self._output and isinstance(given, list):
            given = [each.get(self._output) if isinstance(each, dict) else each for each in given]
        return scores_in(self.name, given, expected=expected)


def _cell(column: Column, row: int) -> float | str | list[float] | list[str]:
    if column.width == 1:
        return column.values[row]
    return column.values[row * column.width : (row + 1) * column.width]
