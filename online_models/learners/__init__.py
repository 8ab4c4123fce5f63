"""The contract of learners: what scores vectors, what also learns from examples, what combines scores, what is asked.

Every learner, of whatever kind, passes ``tests/contracts/model_contract.py``: scoring changes nothing, learning leaves
its input alone, a score exists before anything was learned, a feature may appear or vanish, many equals one by one,
equal examples give equal learners, and a restored learner goes on exactly as the saved one would have.
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
    through_ms: int | None = None
    """LogAppendTime of the newest example that is contained, for people and metrics; None where there is none."""


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


class Combiner(Protocol):
    """A learner that rests on the scores of others: an ensemble; a personal model, with the offline score as offset."""

    @property
    def name(self) -> str:
        """The learner's name in its model."""
        ...

    @property
    def digest(self) -> str:
        """SHA-256 of the artefact that this state equals, 64 hex digits."""
        ...

    @property
    def members(self) -> tuple[str, ...]:
        """The learners whose scores it takes."""
        ...

    def combine(self, vectors: Sequence[Vector], scores: Sequence[Sequence[float]]) -> list[float]:
        """Return one finite score per vector.

        Args:
            vectors: checked ones.
            scores: of each member, in the order of `members`, one per vector; behind them what the turn was told to
                add to this learner's scores, if anything (`online_models.turns.Turn.beside`).

        Raises:
            LearnerUnusable: a score that cannot be combined.
        """
        ...


class Remote(Protocol):
    """A learner on a server: what is sent and how the answer is read. Who sends it is not this room's affair."""

    @property
    def name(self) -> str:
        """The learner's name in its model."""
        ...

    @property
    def digest(self) -> str:
        """SHA-256 of what the release says of it, 64 hex digits: the server alone knows the artefact."""
        ...

    @property
    def url(self) -> str:
        """Where a request is posted."""
        ...

    @property
    def patience_ms(self) -> int:
        """How long an answer is waited for at most."""
        ...

    def request(self, vectors: Sequence[Vector]) -> bytes:
        """Return the body that asks for the scores of checked vectors. Cost: about 1 us a value."""
        ...

    def scores(self, body: bytes, *, expected: int) -> list[float]:
        """Return as many finite scores as are expected from the body of an answer.

        Raises:
            AnswerUnreadable: it is no such answer.
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
            WeightRefused: the example's declared weight is missing or below 0. Nothing was learned.
        """
        ...

    def canonical(self) -> str:
        """Return the digest of what was learned: equal learners have equal ones, whatever their bytes."""
        ...

    def snapshot(self, cut: Cut) -> bytes:
        """Return the whole state as bytes; `digest` is theirs until something more is learned."""
        ...
