"""Arithmetic and comparison of named values, as data: built by authors' operators, evaluated by the engine.

One evaluation for live features, training sets and labels. None in, None out, unless ``else_`` is given;
a division by zero has no value either.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from definitions.values import Value


@dataclass(frozen=True, slots=True)
class Name:
    """The value called ``name`` in the row at hand: a field of an event, or a feature of a view."""

    name: str


@dataclass(frozen=True, slots=True)
class Constant:
    """A literal."""

    value: int | float | bool | str


@dataclass(frozen=True, slots=True)
class Operation:
    """``operator`` over two operands; ``otherwise`` replaces a missing result."""

    operator: str
    left: Name | Constant | Operation
    right: Name | Constant | Operation
    otherwise: int | float | bool | str | None = None


_OPERATORS: Mapping[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    "else": lambda left, _: left,  # a name's value; the missing one is replaced by ``otherwise``
}
OPERATORS = frozenset(_OPERATORS)


def evaluate(expression: Name | Constant | Operation, row: Mapping[str, Value]) -> Value:
    """Return the expression's value for one row of named values.

    A name that is missing in the row has no value; a result that is not finite has none either.
    """
    if isinstance(expression, Name):
        return row.get(expression.name)
    if isinstance(expression, Constant):
        return expression.value
    left, right = evaluate(expression.left, row), evaluate(expression.right, row)
    if left is None or right is None:
        return expression.otherwise
    try:
        result: Value = _OPERATORS[expression.operator](left, right)
    except (ZeroDivisionError, OverflowError):
        return expression.otherwise
    return expression.otherwise if isinstance(result, float) and not math.isfinite(result) else result


def names_in(expression: Name | Constant | Operation) -> frozenset[str]:
    """Return the names that the expression reads."""
    if isinstance(expression, Name):
        return frozenset({expression.name})
    if isinstance(expression, Constant):
        return frozenset()
    return names_in(expression.left) | names_in(expression.right)


Expression = Name | Constant | Operation
