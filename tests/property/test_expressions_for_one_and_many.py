"""An expression has one meaning: row by row, along columns, and as plain Python would have it."""

from __future__ import annotations

import math
import operator
import struct
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from definitions.expressions import (
    FUNCTIONS,
    OPERATORS,
    Constant,
    Expression,
    Function,
    Name,
    Operation,
    evaluate,
    evaluate_many,
    evaluator,
)
from definitions.values import Value
from streams.codecs import LATEST_MS

ZONES = ("UTC", "America/New_York", "Asia/Kathmandu")
COMPARISONS = ("<", "<=", ">", ">=", "==", "!=")

whole = st.integers(-(2**70), 2**70) | st.sampled_from([0, 1, -1, 2**53, 2**53 + 1, 10**400])
floats = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([0.0, -0.0, 5e-324, 1e308, -1e308])
numbers = whole | floats
rows = st.fixed_dictionaries(
    {
        "n": st.none() | whole,
        "x": st.none() | floats,
        "y": st.none() | floats,
        "yes": st.none() | st.booleans(),
        "word": st.none() | st.sampled_from(["", "a", "b"]),
        "at": st.none() | st.integers(0, LATEST_MS),
    }
)

Number = st.SearchStrategy[Expression]


def bounds(pair: tuple[float, float]) -> tuple[float, float]:
    low, high = sorted(pair)
    return low, high


def numbers_of(parts: Number) -> Number:
    other = st.none() | numbers
    calendar = st.builds(
        Function, st.sampled_from(["hour", "weekday"]), st.just(Name("at")), st.sampled_from(ZONES).map(lambda z: (z,))
    )
    return (
        st.builds(Operation, st.sampled_from("+-*/"), parts, parts, other)
        | st.builds(Function, st.sampled_from(["abs", "log", "log1p"]), parts, st.just(()), other)
        | st.builds(Function, st.just("clip"), parts, st.tuples(numbers, numbers).map(bounds), other)
        | parts.flatmap(lambda part: numbers.map(lambda value: Operation("else", part, Constant(value), value)))
        | st.just(Operation("-", Name("at"), Constant(LATEST_MS)))
        | calendar
    )


number_terms = st.recursive(
    st.sampled_from(["n", "x", "y", "missing"]).map(Name) | numbers.map(Constant), numbers_of, max_leaves=8
)
bool_terms = st.recursive(
    st.builds(Operation, st.sampled_from(COMPARISONS), number_terms, number_terms)
    | st.builds(Operation, st.sampled_from(["==", "!="]), st.just(Name("word")), st.just(Constant("a")))
    | st.just(Name("yes")),
    lambda parts: (
        st.builds(Operation, st.sampled_from("&|"), parts, parts, st.none() | st.booleans())
        | st.builds(Function, st.just("not"), parts)
    ),
    max_leaves=4,
)
expressions = number_terms | bool_terms


def bits(value: Value) -> object:
    """Return what tells two values apart that Python calls equal: 1 and True and 1.0, 0.0 and -0.0."""
    return struct.pack("d", value) if type(value) is float else (type(value), value)


def local(at_ms: int, tz: str) -> datetime:
    return datetime.fromtimestamp(at_ms // 1_000, UTC).astimezone(ZoneInfo(tz))


PYTHON: Mapping[str, Callable[..., Any]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv,
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq, "!=": operator.ne,
    "&": lambda left, right: left and right, "|": lambda left, right: left or right,
    "else": lambda left, _: left, "not": lambda value: not value, "abs": abs, "log": math.log, "log1p": math.log1p,
    "clip": lambda value, low, high: sorted([low, value, high])[1] if low != value != high else value,
    "hour": lambda at_ms, tz: local(at_ms, tz).hour, "weekday": lambda at_ms, tz: local(at_ms, tz).isoweekday() - 1,
}  # fmt: skip


def oracle(expression: Expression, row: Mapping[str, Value]) -> Value:
    """Return the value by the rules as they are written: nothing in, nothing out; no result, no value."""
    if isinstance(expression, Name):
        return row.get(expression.name)
    if isinstance(expression, Constant):
        return expression.value
    if isinstance(expression, Function):
        parts: list[Any] = [oracle(expression.operand, row)]
        name, given_settings = expression.function, expression.settings
    else:
        parts = [oracle(expression.left, row), oracle(expression.right, row)]
        name, given_settings = expression.operator, ()
    try:
        result: Value = None if None in parts else PYTHON[name](*parts, *given_settings)
    except (ZeroDivisionError, OverflowError, ValueError):
        result = None
    if result is None or (type(result) is float and not math.isfinite(result)):
        return expression.otherwise
    return result


@settings(deadline=None, max_examples=400)
@given(expressions, st.lists(rows, max_size=6))
def test_a_column_holds_to_the_bit_what_each_row_gives(expression: Expression, table: list[dict[str, Value]]) -> None:
    columns = {name: [row[name] for row in table] for name in ("n", "x", "y", "yes", "word", "at")}

    many = evaluate_many(expression, columns, rows=len(table))

    made = evaluator(expression)
    assert [bits(each) for each in many] == [bits(evaluate(expression, row)) for row in table]
    assert [bits(each) for each in many] == [bits(made.one(row)) for row in table]
    assert [bits(each) for each in many] == [bits(oracle(expression, row)) for row in table]


def test_the_oracle_knows_every_operator_and_function() -> None:
    assert PYTHON.keys() == OPERATORS | FUNCTIONS
