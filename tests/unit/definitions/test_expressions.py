"""Expressions of named values, evaluated."""

from __future__ import annotations

import pytest

from definitions.expressions import Constant, Expression, Name, Operation, evaluate
from definitions.values import Value

A, B = Name("a"), Name("b")


@pytest.mark.parametrize(
    ("expression", "row", "value"),
    [
        (A, {"a": 3}, 3),
        (A, {}, None),
        (Constant("x"), {}, "x"),
        (Operation("+", A, B), {"a": 1, "b": 2.5}, 3.5),
        (Operation("-", A, Constant(1)), {"a": 1}, 0),
        (Operation("*", A, B), {"a": 3, "b": 4}, 12),
        (Operation("/", A, B), {"a": 3, "b": 4}, 0.75),
        (Operation("<", A, B), {"a": 3, "b": 4}, True),
        (Operation("<=", A, B), {"a": 4, "b": 4}, True),
        (Operation(">", A, B), {"a": 3, "b": 4}, False),
        (Operation(">=", A, B), {"a": 3, "b": 4}, False),
        (Operation("==", A, Constant("x")), {"a": "x"}, True),
        (Operation("!=", A, Constant("x")), {"a": "x"}, False),
    ],
)
def test_an_expression_has_the_value_that_python_gives_it(
    expression: Expression, row: dict[str, Value], value: Value
) -> None:
    assert evaluate(expression, row) == value


@pytest.mark.parametrize(
    "row", [{}, {"a": 1, "b": None}, {"a": None, "b": 1}, {"a": 1, "b": 0}, {"a": 1e308, "b": 1e-308}]
)
def test_what_has_no_value_is_none_or_what_else_says(row: dict[str, Value]) -> None:
    assert evaluate(Operation("/", A, B), row) is None
    assert evaluate(Operation("/", A, B, otherwise=-1), row) == -1


def test_a_product_beyond_float_has_no_value() -> None:
    assert evaluate(Operation("*", A, B), {"a": 10**400, "b": 1.5}) is None


def test_a_names_own_alternative_replaces_only_a_missing_value() -> None:
    expression = Operation("else", A, Constant(7), otherwise=7)

    assert [evaluate(expression, {"a": each}) for each in (0, 3, None)] == [0, 3, 7]


def test_a_missing_part_may_be_replaced_inside_an_expression() -> None:
    inner = Operation("-", A, B, otherwise=10)

    assert evaluate(Operation("*", inner, Constant(2)), {"a": 1}) == 20
