"""Values made up at random, as a definition asks for them."""

from __future__ import annotations

import random

from definitions.declared import Input
from definitions.values import Value, ValueType

ENTITIES = 1_000
"""How many different entities of a kind are asked about."""


def random_input(chance: random.Random, wanted: Input) -> Value:
    """Return a value of an input."""
    if wanted.type is ValueType.EMBEDDING:
        return [chance.gauss() for _ in range(wanted.length or 0)]
    return random_value(chance, wanted.type)


def random_value(chance: random.Random, kind: ValueType) -> Value:
    """Return one of a thousand values of a type, or of two."""
    if kind is ValueType.BOOL:
        return chance.random() < 0.5  # noqa: PLR2004  # a coin
    number = chance.randrange(ENTITIES)
    if kind is ValueType.INT:
        return number
    return float(number) if kind is ValueType.FLOAT else f"load-{number}"
