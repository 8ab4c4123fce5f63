"""How much an example counts while a learner learns it: declared with `hr.river`, a function of the examples alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from definitions.declared import Input, LearnerDefinition
from definitions.encoder import Vector
from definitions.learners import BALANCE, BALANCED, ONLY, WEIGHT, WEIGHT_FALSE, WEIGHT_TRUE
from definitions.values import Value
from online_models.errors import WeightRefused

_EASE = 10
"""So many labels of each kind count as seen from the start: the first rare one must not outweigh all the others."""


@dataclass(frozen=True, slots=True)
class Weighing:
    """What a learner's definition says of weights."""

    place: int | None
    """Where in the vector the declared weight is."""
    shares: tuple[float, float] | None
    """Weights of the labels False and True."""
    balances: bool
    """Whether both labels are to count the same in sum."""
    only: bool | None
    """The one label that is learned."""

    @classmethod
    def of(cls, definition: LearnerDefinition, inputs: Sequence[Input]) -> Weighing:
        """Return the weighing that is declared."""
        given = definition.parameters
        name = given.get(WEIGHT)
        place = None if name is None else [each.name for each in inputs].index(str(name))
        shares = (given[WEIGHT_FALSE], given[WEIGHT_TRUE]) if WEIGHT_TRUE in given else None
        only = given.get(ONLY)
        return cls(
            place,
            None if shares is None else (_number(shares[0]), _number(shares[1])),
            given.get(BALANCE) == BALANCED,
            only if isinstance(only, bool) else None,
        )

    @property
    def is_by_label(self) -> bool:
        """Whether only labels that are True or False can be weighed."""
        return self.shares is not None or self.balances or self.only is not None

    @property
    def is_needed(self) -> bool:
        """Whether the estimator has to take weights."""
        return self.place is not None or self.shares is not None or self.balances

    def weight(self, vector: Vector, label: Value, seen: Sequence[int]) -> float | None:
        """Return how much the example counts: None where nothing is declared, 0 where it is not learned at all.

        Args:
            vector: a checked one.
            label: what is learned.
            seen: how many labels False and True came before.

        Raises:
            WeightRefused: the value that is the weight is missing or below 0.
        """
        if self.only is not None and label is not self.only:
            return 0.0
        if not self.is_needed:
            return None
        weight = 1.0 if self.place is None else _declared(vector[self.place])
        if self.shares is not None:
            weight *= self.shares[label is True]
        if self.balances:
            weight *= (sum(seen) + 2 * _EASE) / (2 * (seen[label is True] + _EASE))
        return weight


def _declared(value: Value) -> float:
    number = _number(value)
    if number >= 0:
        return number
    raise WeightRefused(f"cannot learn: weight: expected a number that is not below 0, got {value!r}")


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan
