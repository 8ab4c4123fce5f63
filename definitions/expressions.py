"""Expressions of named values, as data: built by authors' operators, evaluated by the engine.

One evaluation for live features, training sets, labels and whole columns: each operation is one function of plain
values, and `Evaluator` calls that same function for a row and along columns, so the two agree to the bit. Made once
per expression, used for every row.

None in, None out, unless ``otherwise`` is given. What has no result has no value either: a division by zero, a
logarithm of nothing, a number that is not finite. Whole numbers stay whole and exact, however large.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import isfinite
from typing import Any
from zoneinfo import ZoneInfo

from definitions.values import Value

Constants = int | float | bool | str

ASKED_AT = "@asked_at"
"""The name of the time asked about, in epoch ms: no field, feature or input can have it."""


@dataclass(frozen=True, slots=True)
class Name:
    """The value called ``name`` in the row at hand: a field of an event, a feature or a request input."""

    name: str


@dataclass(frozen=True, slots=True)
class Constant:
    """A literal."""

    value: Constants


@dataclass(frozen=True, slots=True)
class Operation:
    """``operator`` over two operands; ``otherwise`` replaces a missing result."""

    operator: str
    left: Expression
    right: Expression
    otherwise: Constants | None = None


@dataclass(frozen=True, slots=True)
class Function:
    """A function of one operand, with settings such as bounds or a time zone; ``otherwise`` as in `Operation`."""

    function: str
    operand: Expression
    settings: tuple[Constants | None, ...] = ()
    otherwise: Constants | None = None


Expression = Name | Constant | Operation | Function


def _clip(low: float | None, high: float | None) -> Callable[[Any], Any]:
    def clip(value: Any) -> Any:
        if low is not None and value < low:
            return low
        return high if high is not None and value > high else value

    return clip


def _hour(tz: str) -> Callable[[int], int]:
    zone = ZoneInfo(tz)
    return lambda at_ms: _local(at_ms, zone).hour


def _weekday(tz: str) -> Callable[[int], int]:
    zone = ZoneInfo(tz)
    return lambda at_ms: _local(at_ms, zone).weekday()


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _local(at_ms: int, zone: ZoneInfo) -> datetime:
    return (_EPOCH + timedelta(milliseconds=at_ms)).astimezone(zone)


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
    "&": operator.and_,
    "|": operator.or_,
    "else": lambda left, _: left,  # a name's value; the missing one is replaced by ``otherwise``
}
OPERATORS = frozenset(_OPERATORS)

_FUNCTIONS: Mapping[str, Callable[..., Callable[[Any], Any]]] = {
    "abs": lambda: abs,
    "log": lambda: math.log,
    "log1p": lambda: math.log1p,
    "not": lambda: operator.not_,
    "clip": _clip,
    "hour": _hour,
    "weekday": _weekday,
}
"""Name to what makes the function from its settings."""
FUNCTIONS = frozenset(_FUNCTIONS)

Row = Mapping[str, Value]
"""Named values; a name that is not there has no value."""
Columns = Mapping[str, Sequence[Value]]
"""Names to one value per row; a name that is not there has no value in any row."""


@dataclass(frozen=True, slots=True)
class Evaluator:
    """An expression, ready to be evaluated: ``one(row)``, or ``many(columns, rows)`` with the number of rows.

    Cost: 0.25 us per operation for a row, 0.1 us for each row of a column; a calendar function 1.5 us.

    Example:
        >>> ratio = evaluator(Operation("/", Name("late"), Name("all")))
        >>> ratio.one({"late": 1, "all": 4}), ratio.many({"late": [1, 2], "all": [4, 0]}, 2)
        (0.25, [0.25, None])
    """

    one: Callable[[Row], Value]
    many: Callable[[Columns, int], Sequence[Value]]
    reads: frozenset[str]
    """The names that the expression reads."""


def evaluator(expression: Expression) -> Evaluator:
    """Return the expression as functions. Cost: 5 us per operation; call it once, not per row."""
    reads = frozenset(names_of(expression))
    if isinstance(expression, Name):
        return Evaluator(_one_named(expression.name), _many_named(expression.name), reads)
    if isinstance(expression, Constant):
        value = expression.value
        return Evaluator(lambda _: value, lambda _, rows: [value] * rows, reads)
    if isinstance(expression, Function):
        operand = evaluator(expression.operand)
        made = _FUNCTIONS[expression.function](*expression.settings)
        result = _of_one(made, expression.otherwise)
        return Evaluator(
            lambda row: result(operand.one(row)), lambda columns, n: list(map(result, operand.many(columns, n))), reads
        )
    left, right = evaluator(expression.left), evaluator(expression.right)
    combined = _of_two(_OPERATORS[expression.operator], expression.otherwise)
    return Evaluator(
        lambda row: combined(left.one(row), right.one(row)),
        lambda columns, n: list(map(combined, left.many(columns, n), right.many(columns, n))),
        reads,
    )


def evaluate(expression: Expression, row: Row) -> Value:
    """Return the expression's value for one row. Where there are more rows to come, keep an `evaluator`."""
    return evaluator(expression).one(row)


def evaluate_many(expression: Expression, columns: Columns, *, rows: int) -> list[Value]:
    """Return the expression's value for each of ``rows`` rows: to the bit what `evaluate` gives row by row."""
    return list(evaluator(expression).many(columns, rows))


def names_of(expression: Expression) -> set[str]:
    """Return the names that an expression reads."""
    if isinstance(expression, Name):
        return {expression.name}
    if isinstance(expression, Constant):
        return set()
    if isinstance(expression, Function):
        return names_of(expression.operand)
    return names_of(expression.left) | names_of(expression.right)


def cycle_among(expressions: Mapping[str, Expression]) -> tuple[str, ...]:
    """Return names that read each other in a circle, the first one again at the end; none where there is no circle.

    Example:
        >>> cycle_among({"a": Name("b"), "b": Operation("+", Name("a"), Name("c"))})
        ('a', 'b', 'a')
    """
    done: set[str] = set()

    def circle(name: str, path: tuple[str, ...]) -> tuple[str, ...]:
        if name in path:
            return (*path[path.index(name) :], name)
        if name in done or name not in expressions:
            return ()
        for read in sorted(names_of(expressions[name])):
            if found := circle(read, (*path, name)):
                return found
        done.add(name)
        return ()

    return next((found for name in expressions if (found := circle(name, ()))), ())


def _one_named(name: str) -> Callable[[Row], Value]:
    return lambda row: row.get(name)


def _many_named(name: str) -> Callable[[Columns, int], Sequence[Value]]:
    def many(columns: Columns, rows: int) -> Sequence[Value]:
        column = columns.get(name)
        return [None] * rows if column is None else column

    return many


_NO_RESULT = (ArithmeticError, ValueError)
"""1 / 0, a number beyond float, a logarithm of nothing, a year beyond 9999."""


def _of_one(function: Callable[[Any], Any], otherwise: Value) -> Callable[[Value], Value]:
    def result(operand: Value) -> Value:
        if operand is None:
            return otherwise
        try:
            value: Value = function(operand)
        except _NO_RESULT:
            return otherwise
        return otherwise if type(value) is float and not isfinite(value) else value

    return result


def _of_two(function: Callable[[Any, Any], Any], otherwise: Value) -> Callable[[Value, Value], Value]:
    def result(left: Value, right: Value) -> Value:
        if left is None or right is None:
            return otherwise
        try:
            value: Value = function(left, right)
        except _NO_RESULT:
            return otherwise
        return otherwise if type(value) is float and not isfinite(value) else value

    return result
