"""The contract of learners: what scores vectors, and what also learns from examples.

Every learner passes ``tests/contracts/model_contract.py``: scoring changes nothing, learning leaves its input alone,
a score exists before anything was learned, a feature may appear or vanish, many equals one by one, and a restored
learner goes on exactly as the saved one would have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from definitions.encoder import Vector
from definitions.values import Value


@dataclass(frozen=True, slots=True)
class Cut:
    """Where a snapshot stands in the logs: everything below is contained in it, nothing above."""

    generation: int
    """Raised by a new warm start or a reset; a greater (generation, examples_next) replaces a lesser."""
    examples_next: int
    """Offset of the first record of the examples topic that was not learned."""
    positions: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Outcomes partition (`Partition.field`) to the (next, index) of its last example that was learned."""


class Scorer(Protocol):
    """A trained version of one learner: turns vectors into scores and keeps no memory of them."""

    @property
    def name(self) -> str:
        """The learner's name in its model, ``online`` or ``offline``."""
        ...

    @property
    def digest(self) -> str:
        """SHA-256 of the artefact that this state equals, 64 hex digits; empty where it was never saved."""
        ...

    def score_many(self, vectors: Sequence[Vector]) -> list[float]:
        """Return one finite score per vector: the probability of True, or the value predicted.

        Raises:
            definitions.errors.VectorError: a vector is not one of the model's, or not finite. Nothing was scored.
        """
        ...


class OnlineLearner(Scorer, Protocol):
    """A scorer that learns, one example at a time."""

    @property
    def learned(self) -> int:
        """How many examples it has learned since it was first built."""
        ...

    def learn_one(self, vector: Vector, label: Value) -> None:
        """Learn one example.

        Raises:
            definitions.errors.VectorError: the vector is not one of the model's, or not finite. Nothing was learned.
            LabelRefused: the label is not what this learner learns. Nothing was learned.
        """
        ...

    def snapshot(self, cut: Cut) -> bytes:
        """Return the whole state as bytes; `digest` is theirs until something more is learned."""
        ...
