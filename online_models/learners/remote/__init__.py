"""Learners on servers: the bytes that are sent and those that come back. Nothing here sends anything.

`open_inference.OpenInference` and `tensorflow_serving.TensorFlowServing` implement `online_models.learners.Remote`.
Here is what they share: what an answer of scores has to be.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Any

import msgspec

from definitions.declared import LearnerDefinition
from definitions.encoder import Encoder
from definitions.learners import COLUMNS
from online_models.errors import AnswerUnreadable, LearnerUnusable
from online_models.learners.columns import finite
from online_models.learners.describing import require_described

_UNRESERVED = frozenset(string.ascii_letters + string.digits + "-._~")


class Addressed:
    """What both protocols know of a learner: its names, its address, and how its inputs are laid out."""

    def __init__(self, definition: LearnerDefinition, encoder: Encoder, *, data: bytes, digest: str) -> None:
        """Take the learner that is declared, after it was found to be the one in the release.

        Raises:
            ArtefactRefused: another one.
        """
        require_described(definition, data=data, digest=digest)
        self._encoder = encoder
        self.name = definition.name
        self.digest = digest
        self.patience_ms = definition.patience_ms
        self._place = definition.place
        self._model = str(definition.parameters["model"])
        self._version = str(definition.parameters["version"])
        self._output = str(definition.parameters["output"])
        self._missing = float(definition.parameters["missing"] or 0.0)
        self._by_columns = definition.parameters["on"] == COLUMNS

    def _at(self, protocol: str) -> str:
        """Return the URL of the model, in the version that is declared or in the server's own choice."""
        version = f"/versions/{_escaped(self._version)}" if self._version else ""
        return f"{self._place}/{protocol}/models/{_escaped(self._model)}{version}"


def decoded(name: str, body: bytes) -> dict[str, Any]:
    """Return the JSON object that an answer's body holds.

    Raises:
        AnswerUnreadable: it holds none.
    """
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise AnswerUnreadable(f"cannot read answer: {name}: expected JSON: {error}") from error
    if not isinstance(found, dict):
        raise AnswerUnreadable(f"cannot read answer: {name}: expected an object, got {_short(body)}")
    return found


def scores_in(name: str, given: object, *, expected: int) -> list[float]:
    """Return the scores in a list of numbers, or of lists of which the last number counts.

    Raises:
        AnswerUnreadable: not as many as expected, or not numbers.
    """
    if not isinstance(given, list) or len(given) != expected:
        got = f"{len(given)}" if isinstance(given, list) else repr(given)[:80]
        raise AnswerUnreadable(f"cannot read answer: {name}: expected {expected} scores, got {got}")
    return [_score(name, each) for each in given]


def rows_in(name: str, flat: Sequence[object], *, expected: int) -> list[object]:
    """Return numbers that lie one row behind the other as a list of rows.

    Raises:
        AnswerUnreadable: they make no such rows.
    """
    width, rest = divmod(len(flat), max(1, expected))
    if rest or not width:
        raise AnswerUnreadable(f"cannot read answer: {name}: expected {expected} scores, got {len(flat)}")
    return [list(flat[start : start + width]) for start in range(0, len(flat), width)]


def _score(name: str, given: object) -> float:
    while isinstance(given, list) and given:
        given = given[-1]
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise AnswerUnreadable(f"cannot read answer: {name}: expected a number, got {given!r:.80}")
    try:
        return finite(name, given)
    except (LearnerUnusable, OverflowError) as error:
        raise AnswerUnreadable(f"cannot read answer: {name}: expected a finite number, got {given!r:.80}") from error


def _escaped(name: str) -> str:
    """Return a name as a URL's path holds it."""
    return "".join(chr(each) if chr(each) in _UNRESERVED else f"%{each:02X}" for each in name.encode())


def _short(body: bytes) -> str:
    return repr(body[:60])
