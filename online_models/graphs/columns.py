"""Columns of candidates: one value per row, in arrays where they are numbers, and expressions along them.

An expression is worked out by numpy where that gives the very bits that `definitions.expressions` gives row by row,
and by that evaluator where it does not: where text or calendars are involved, or whole numbers beyond 2**53.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from definitions.expressions import Constant, Constants, Expression, Function, Name, Operation, evaluator
from definitions.values import Value, ValueType

Numbers = NDArray[np.float64]
"""NaN stands for no value: a number that is not finite is none."""
Rows = NDArray[np.intp]
Mask = NDArray[np.bool_]

EXACT = float(2**53)
"""Whole numbers up to here are exact as floats."""

_IN_NUMBERS = frozenset({ValueType.INT, ValueType.FLOAT, ValueType.BOOL, ValueType.TIME})
_WHOLE = frozenset({ValueType.INT, ValueType.TIME, ValueType.BOOL})


@dataclass(frozen=True, slots=True)
class Column:
    """One value per row. ``values`` are `Numbers`, or objects: text, embeddings, whole numbers beyond 2**53."""

    type: ValueType
    values: NDArray[Any]
    unread: Mask | None = None
    """Where something could not be read, which is not the same as having no value; None where all could be."""

    @classmethod
    def of(cls, kind: ValueType, values: Sequence[Value], unread: Mask | None = None) -> Column:
        """Return plain values as a column. Cost: 20-40 ns a value."""
        if kind in _IN_NUMBERS:
            numbers = _numbers(values)
            if numbers is not None:
                return cls(kind, numbers, unread)
        return cls(kind, np.fromiter(values, dtype=object, count=len(values)), unread)

    @classmethod
    def nothing(cls, kind: ValueType, rows: int, *, unread: bool) -> Column:
        """Return a column without any value."""
        mask = np.ones(rows, dtype=np.bool_) if unread else None
        if kind in _IN_NUMBERS:
            return cls(kind, np.full(rows, np.nan), mask)
        return cls(kind, np.full(rows, None, dtype=object), mask)

    @property
    def is_numbers(self) -> bool:
        """Whether ``values`` are `Numbers`."""
        return self.values.dtype != np.object_

    def take(self, rows: Rows) -> Column:
        """Return the values of some rows, in their order."""
        return Column(self.type, self.values[rows], None if self.unread is None else self.unread[rows])

    def listed(self) -> list[Value]:
        """Return the values as the rest of headrace has them. Cost: 30 ns a value."""
        found: list[Any] = self.values.tolist()
        if not self.is_numbers:
            return found
        if self.type is ValueType.FLOAT:
            return [None if value != value else value for value in found]  # noqa: PLR0124  # NaN alone
        plain: Callable[[float], Value] = bool if self.type is ValueType.BOOL else int
        return [None if value != value else plain(value) for value in found]  # noqa: PLR0124

    def numbers(self) -> Numbers:
        """Return the values as floats, NaN for none and for what is beyond float."""
        return self.values if self.is_numbers else np.array([_as_float(each) for each in self.values.tolist()])


def _as_float(value: Value) -> float:
    try:
        return float(value)  # type: ignore[arg-type]  # a number or None
    except (TypeError, OverflowError):
        return np.nan


def _numbers(values: Sequence[Value]) -> Numbers | None:
    """Return the values as floats, None where a whole number would lose digits."""
    try:
        numbers: Numbers = np.array(values, dtype=np.float64)  # None becomes NaN
    except OverflowError:
        return None
    large = np.flatnonzero(np.abs(numbers) > EXACT)
    return None if any(type(values[row]) is int for row in large.tolist()) else numbers


class ColumnExpression:
    """An expression of columns, ready to be evaluated: made once per graph.

    Where something that it reads could not be read, it has no value, whatever its ``else_`` says.

    Cost: 2-10 us an operation and 1 ns a row where numpy can do it, else 0.1 us a row and operation.
    """

    def __init__(self, expression: Expression, kind: ValueType, types: Mapping[str, ValueType]) -> None:
        self._type = kind
        self._evaluator = evaluator(expression)
        self._node = _node(expression, types)
        self.reads = self._evaluator.reads

    def evaluate(self, columns: Mapping[str, Column], rows: int) -> Column:
        """Return the value for each of ``rows`` rows."""
        read = {name: columns[name] for name in self.reads}
        unread = _any(each.unread for each in read.values() if each.unread is not None)
        values = self._by_numpy(read, rows)
        if values is None:
            listed = {name: each.listed() for name, each in read.items()}
            column = Column.of(self._type, self._evaluator.many(listed, rows))
        else:
            column = Column(self._type, values)
        if unread is None:
            return column
        values = column.values.copy()
        values[unread] = np.nan if column.is_numbers else None
        return Column(self._type, values, unread)

    def _by_numpy(self, read: Mapping[str, Column], rows: int) -> Numbers | None:
        if self._node is None or not all(each.is_numbers for each in read.values()):
            return None
        try:
            with np.errstate(all="ignore"):
                found = self._node.run({name: each.values for name, each in read.items()})
        except _Inexact:
            return None
        return np.broadcast_to(found, rows)


def _any(masks: Any) -> Mask | None:
    found: Mask | None = None
    for mask in masks:
        found = mask if found is None else found | mask
    return found


class _Inexact(Exception):  # noqa: N818  # never leaves this module
    """A whole number that would lose digits."""


_Run = Callable[[Mapping[str, Numbers]], Any]


@dataclass(frozen=True, slots=True)
class _Node:
    """A part of an expression over arrays; ``whole`` says that its values are whole numbers, exact in Python."""

    run: _Run
    whole: bool


_ARITHMETIC: Mapping[str, Any] = {"+": np.add, "-": np.subtract, "*": np.multiply, "/": np.divide}
_COMPARISONS: Mapping[str, Any] = {
    "<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal, "==": np.equal, "!=": np.not_equal,
}  # fmt: skip
_LOGIC: Mapping[str, Any] = {"&": np.multiply, "|": np.maximum}  # of 0.0 and 1.0; both hand NaN on


def _node(expression: Expression, types: Mapping[str, ValueType]) -> _Node | None:
    """Return the expression over arrays, None where only the evaluator gives its bits."""
    if isinstance(expression, Name):
        kind = types.get(expression.name)
        name = expression.name
        return _Node(lambda columns: columns[name], kind in _WHOLE) if kind in _IN_NUMBERS else None
    if isinstance(expression, Constant):
        value = _constant(expression.value)
        return None if value is None else _Node(lambda _: np.float64(value), type(expression.value) is not float)
    fill = np.nan if expression.otherwise is None else _constant(expression.otherwise)
    if fill is None:
        return None
    if isinstance(expression, Function):
        operand = _node(expression.operand, types)
        return None if operand is None else _function(expression, operand, fill)
    left, right = _node(expression.left, types), _node(expression.right, types)
    if left is None or right is None:
        return None
    return _operation(expression, left, right, fill)


def _constant(value: Constants) -> float | None:
    return None if isinstance(value, str) or abs(value) > EXACT else float(value)


def _operation(expression: Operation, left: _Node, right: _Node, fill: float) -> _Node:
    one, other, symbol = left.run, right.run, expression.operator
    kept = type(expression.otherwise) is not float
    if symbol == "else":
        return _Node(lambda columns: _filled(one(columns), fill), left.whole and kept)
    if symbol in _ARITHMETIC:
        function, whole = _ARITHMETIC[symbol], left.whole and right.whole and symbol != "/"
        return _Node(lambda columns: _result(function(one(columns), other(columns)), fill, whole), whole and kept)
    if symbol in _LOGIC:
        function = _LOGIC[symbol]
        return _Node(lambda columns: _filled(function(one(columns), other(columns)), fill), True)
    function = _COMPARISONS[symbol]

    def compare(columns: Mapping[str, Numbers]) -> Any:
        first, second = one(columns), other(columns)
        found = np.where(np.isnan(first) | np.isnan(second), np.nan, function(first, second))
        return _filled(found, fill)

    return _Node(compare, True)


def _function(expression: Function, operand: _Node, fill: float) -> _Node | None:
    run = operand.run
    whole = operand.whole and type(expression.otherwise) is not float
    if expression.function == "abs":
        return _Node(lambda columns: _filled(np.abs(run(columns)), fill), whole)
    if expression.function == "not":
        return _Node(lambda columns: _filled(1.0 - run(columns), fill), True)
    if expression.function != "clip":
        return None  # a logarithm of numpy is not Python's to the last bit
    bounds = [None if each is None else _constant(each) for each in expression.settings]
    if any(given is not None and bound is None for given, bound in zip(expression.settings, bounds, strict=True)):
        return None
    low, high = bounds
    whole = whole and all(type(each) is not float for each in expression.settings)

    def clip(columns: Mapping[str, Numbers]) -> Any:
        values = run(columns)
        if high is not None:
            values = np.where(values > high, high, values)
        return _filled(values if low is None else np.where(values < low, low, values), fill)

    return _Node(clip, whole)


def _filled(values: Any, fill: float) -> Any:
    return values if fill != fill else np.where(np.isnan(values), fill, values)  # noqa: PLR0124  # NaN alone


def _result(values: Any, fill: float, whole: bool) -> Any:  # noqa: FBT001  # of one call above
    if whole:
        if (np.abs(values) > EXACT).any():
            raise _Inexact
        values = values + 0.0  # no whole number is -0.0
        return _filled(values, fill)
    return np.where(np.isfinite(values), values, fill)
