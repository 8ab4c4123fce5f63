"""Learners that are a function of the author's: rules, a formula, a model of a library that headrace does not know."""

from __future__ import annotations

from collections.abc import Sequence

from definitions.declared import LearnerDefinition
from definitions.encoder import Encoder, Vector
from definitions.learners import COLUMNS
from online_models.errors import LearnerUnusable
from online_models.learners.columns import finite
from online_models.learners.describing import require_described


class PythonScorer:
    """An author's function behind the scorer's contract. Implements `online_models.learners.Scorer`.

    A missing value is None, a category its text. What the function raises is raised. It runs in the caller's time:
    nothing can end a function that does not return.

    Cost: 1 us a row and what the function takes.
    """

    def __init__(self, definition: LearnerDefinition, encoder: Encoder, *, data: bytes, digest: str) -> None:
        """Take the function that is declared, after it was found to be the one in the release.

        Raises:
            ArtefactRefused: another function.
            LearnerUnusable: none is declared.
        """
        require_described(definition, data=data, digest=digest)
        if definition.function is None:
            raise LearnerUnusable(f"cannot build learner: {definition.name}: expected a function, got none")
        self.name = definition.name
        self.digest = digest
        self._function = definition.function
        self._by_columns = definition.parameters["on"] == COLUMNS
        self._encoder = encoder
        self._names = [each.name for each in encoder.inputs]

    def score_many(self, vectors: Sequence[Vector]) -> list[float]:
        """Return one score per vector, in order."""
        for vector in vectors:
            self._encoder.check(vector)
        if not vectors:
            return []
        given = self._of_columns(vectors) if self._by_columns else self._of_rows(vectors)
        return [finite(self.name, score) for score in given]

    def _of_rows(self, vectors: Sequence[Vector]) -> list[object]:
        return [self._function(dict(zip(self._names, vector, strict=True))) for vector in vectors]

    def _of_columns(self, vectors: Sequence[Vector]) -> list[object]:
        columns = map(list, zip(*vectors, strict=True))
        given = self._function(dict(zip(self._names, columns, strict=True)))
        try:
            scores: list[object] = list(given)  # type: ignore[call-overload]  # whatever the author returns
        except TypeError:
            scores = []
        if len(scores) != len(vectors):
            raise LearnerUnusable(
                f"cannot score: {self.name}: expected {len(vectors)} scores from the function, got {given!r:.80}"
            )
        return scores
