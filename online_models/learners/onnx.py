"""Models in ONNX format, trained elsewhere, run by ONNX Runtime: an optional extra."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from definitions.declared import LearnerDefinition
from definitions.encoder import Encoder, Vector
from online_models.errors import ArtefactRefused, LearnerUnusable
from online_models.learners.columns import columns_of, finite
from online_models.learners.describing import require_digest

_NUMBERS = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(int64)": np.int64}
_TEXT = "tensor(string)"
_SCORES = ("tensor(float)", "tensor(double)")
_FATAL = 4


class OnnxScorer:
    """An ONNX graph behind the scorer's contract. Implements `online_models.learners.Scorer`.

    One input: the encoder's matrix. Several: one for each of the model's inputs, by name, a dot in it written as an
    underscore. A number that is missing is NaN (an ``int64`` input has no such: the vector gets no score), a category
    that is missing is "". One thread, like every learner in this process.

    Cost (4 inputs, logistic regression): 15 us a call and 0.3 us a row.
    """

    def __init__(self, definition: LearnerDefinition, encoder: Encoder, *, data: bytes, digest: str) -> None:
        """Load the graph, and let it score one vector of zeros, so that what cannot score is not loaded.

        Raises:
            ArtefactRefused: other bytes than the digest names, no graph, or one that does not take the model's inputs.
            LearnerUnusable: ONNX Runtime is not installed.
        """
        require_digest(data, digest, what="onnx model")
        self.name = definition.name
        self.digest = digest
        self._encoder = encoder
        self._session = _session(definition.name, data, digest)
        self._inputs: Mapping[str, str] = {each.name: each.type for each in self._session.get_inputs()}
        self._refuse = f"cannot load onnx model: {digest[:12]}: {definition.name}"
        self._output = self._output_of(str(definition.parameters["output"]))
        self._fields = self._fields_of() if len(self._inputs) > 1 else {}
        if not self._fields and next(iter(self._inputs.values())) not in _SCORES:
            raise ArtefactRefused(f"{self._refuse}: expected one float input or one per input, got {self._inputs}")
        self._try()

    def score_many(self, vectors: Sequence[Vector]) -> list[float]:
        """Return one score per vector, in order."""
        for vector in vectors:
            self._encoder.check(vector)
        return self._scored(vectors) if vectors else []

    def _scored(self, vectors: Sequence[Vector]) -> list[float]:
        [scores] = self._session.run([self._output], self._named(vectors) if self._fields else self._matrix(vectors))
        if len(scores) != len(vectors):
            raise LearnerUnusable(f"cannot score: {self.name}: expected {len(vectors)} scores, got {len(scores)}")
        last = scores.reshape(len(vectors), -1)[:, -1].tolist()
        return [finite(self.name, score) for score in last]

    def _matrix(self, vectors: Sequence[Vector]) -> dict[str, Any]:
        [(name, kind)] = self._inputs.items()
        return {name: self._encoder.matrix(vectors).astype(_NUMBERS[kind], copy=False)}

    def _named(self, vectors: Sequence[Vector]) -> dict[str, Any]:
        fed = {}
        for column in columns_of(self._encoder, vectors, missing=np.nan):
            name = self._fields[column.name]
            kind = self._inputs[name]
            numbers = np.array(column.values, dtype=object if kind == _TEXT else np.float64)
            if kind == "tensor(int64)" and np.isnan(numbers).any():
                raise LearnerUnusable(f"cannot score: {self.name}: expected a value of {column.name}, got none")
            shaped = numbers.reshape(len(vectors), column.width)
            fed[name] = shaped if kind == _TEXT else shaped.astype(_NUMBERS[kind])
        return fed

    def _fields_of(self) -> dict[str, str]:
        """Return the graph's input for each input of the model."""
        fields = {each.name: each.name.replace(".", "_") for each in self._encoder.inputs}
        fields = {ours: ours if ours in self._inputs else theirs for ours, theirs in fields.items()}
        strange = [kind for kind in self._inputs.values() if kind not in (*_NUMBERS, _TEXT)]
        if set(fields.values()) != set(self._inputs) or strange:
            raise ArtefactRefused(
                f"{self._refuse}: expected inputs {sorted(fields.values())} of numbers and texts, got {self._inputs}"
            )
        return fields

    def _output_of(self, wanted: str) -> str:
        outputs = {each.name: each.type for each in self._session.get_outputs()}
        fit = [name for name, kind in outputs.items() if kind in _SCORES]
        if (wanted and wanted not in fit) or (not wanted and len(fit) != 1):
            raise ArtefactRefused(
                f"{self._refuse}: expected {wanted or 'one output'} of floats, got {outputs}; "
                "name it with output=, and export classifiers without zipmap"
            )
        return wanted or fit[0]

    def _try(self) -> None:
        probe = [0.0] * len(self._encoder.columns)
        try:
            self._session.run([self._output], self._probe(probe))
        except Exception as error:
            reason = str(error).strip().splitlines()[0]
            raise ArtefactRefused(
                f"{self._refuse}: expected a graph that takes {len(probe)} inputs: {reason}"
            ) from error

    def _probe(self, row: Sequence[float]) -> dict[str, Any]:
        if not self._fields:
            [(name, kind)] = self._inputs.items()
            return {name: np.array([row], dtype=_NUMBERS[kind])}
        widths = {self._fields[each.name]: each.length or 1 for each in self._encoder.inputs}
        return {
            name: np.full((1, widths[name]), "", dtype=object)
            if kind == _TEXT
            else np.zeros((1, widths[name]), _NUMBERS[kind])
            for name, kind in self._inputs.items()
        }


def _session(name: str, data: bytes, digest: str) -> Any:
    try:
        import onnxruntime  # noqa: PLC0415  # an optional extra, and 0.1 s to import
    except ImportError as error:
        raise LearnerUnusable(
            f"cannot build learner: {name}: expected ONNX Runtime, got none; install `headrace[onnx]`"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = _FATAL
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        reason = str(error).strip().splitlines()[0]
        raise ArtefactRefused(
            f"cannot load onnx model: {digest[:12]}: {name}: expected a graph, got {reason}"
        ) from error
