"""A micro-batch by the names of a model's inputs, for learners that take them one by one instead of a matrix."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from definitions.declared import Input
from definitions.encoder import Encoder, Vector
from definitions.values import Value, ValueType
from online_models.errors import LearnerUnusable

NO_CATEGORY = ""
"""Stands for a category that is missing, where text is sent."""


@dataclass(frozen=True, slots=True)
class Column:
    """The values of one input in a micro-batch, in the order of the vectors."""

    name: str
    values: list[float] | list[str]
    """A category's texts; else numbers, an embedding's one behind the other."""
    width: int = 1
    """How many numbers each vector has of it."""

    @property
    def is_text(self) -> bool:
        """Whether its values are texts."""
        return bool(self.values) and isinstance(self.values[0], str)


def columns_of(encoder: Encoder, vectors: Sequence[Vector], *, missing: float) -> list[Column]:
    """Return checked vectors column by column; ``missing`` stands for a number that is missing, "" for a category."""
    given = zip(*vectors, strict=True)
    return [_column(each, values, missing) for each, values in zip(encoder.inputs, given, strict=True)]


def rows_of(encoder: Encoder, vectors: Sequence[Vector], *, missing: float) -> list[list[float]]:
    """Return the encoder's matrix as lists of numbers; ``missing`` stands for what is NaN there."""
    rows: list[list[float]] = encoder.matrix(vectors).tolist()
    return [[missing if math.isnan(value) else value for value in row] for row in rows]


def finite(name: str, given: object) -> float:
    """Return a learner's score if it is a finite number; True and False count as 1 and 0.

    Raises:
        LearnerUnusable: it is none.
    """
    if isinstance(given, bool | int | float) or hasattr(given, "__float__"):
        score = float(given)
        if math.isfinite(score):
            return score
    raise LearnerUnusable(f"cannot score: {name}: expected a finite score, got {given!r:.80}")


def _column(of: Input, values: Sequence[Value], missing: float) -> Column:
    if of.type is ValueType.CATEGORY:
        return Column(of.name, [NO_CATEGORY if value is None else str(value) for value in values])
    if of.type is ValueType.EMBEDDING:
        width = of.length or 0
        spread = [number for value in values for number in (value if isinstance(value, list) else [missing] * width)]
        return Column(of.name, spread, width)
    return Column(of.name, [missing if value is None else float(value) for value in values])  # type: ignore[arg-type]
