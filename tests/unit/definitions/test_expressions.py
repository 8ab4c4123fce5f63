"""Expressions of named values, evaluated."""

from __future__ import annotations

import pytest

from definitions.expressions import (
    Constant,
    Expression,
    Function,
    Name,
    Operation,
    cycle_among,
    evaluate,
    evaluate_many,
    evaluator,
    names_of,
)
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
        (Operation("&", A, B), {"a": True, "b": False}, False),
        (Operation("|", A, B), {"a": True, "b": False}, True),
        (Function("not", A), {"a": True}, False),
        (Function("abs", A), {"a": -3}, 3),
        (Function("log", A), {"a": 1}, 0.0),
        (Function("log1p", A), {"a": 0}, 0.0),
        (Function("clip", A, (0, 5)), {"a": -1}, 0),
        (Function("clip", A, (0, 5)), {"a": 6.5}, 5),
        (Function("clip", A, (None, 5)), {"a": -6}, -6),
        (Function("clip", A, (0, None)), {"a": 2.5}, 2.5),
        (Function("hour", A, ("UTC",)), {"a": 1_362_877_200_000}, 1),
        (Function("hour", A, ("America/New_York",)), {"a": 1_362_877_200_000}, 20),
        (Function("weekday", A, ("UTC",)), {"a": 1_362_877_200_000}, 6),
        (Function("weekday", A, ("America/New_York",)), {"a": 1_362_877_200_000}, 5),
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


@pytest.mark.parametrize("value", [0, -0.0, -1, -2.5])
def test_a_logarithm_of_nothing_or_less_has_no_value(value: float) -> None:
    assert evaluate(Function("log", A), {"a": value}) is None
    assert evaluate(Function("log", A, otherwise=0.0), {"a": value}) == 0.0
    assert evaluate(Function("log1p", A), {"a": value - 1}) is None


def test_logic_with_a_part_that_is_missing_has_no_value() -> None:
    assert evaluate(Operation("&", A, B), {"a": False}) is None
    assert evaluate(Operation("|", A, B), {"b": True}) is None
    assert evaluate(Function("not", A), {}) is None


def test_an_hour_follows_the_clocks_of_its_zone() -> None:
    """New York put its clocks forward at 2013-03-10 07:00 UTC: there was no hour 2."""
    hour = Function("hour", A, ("America/New_York",))

    assert [evaluate(hour, {"a": at}) for at in (1_362_898_799_999, 1_362_898_800_000)] == [1, 3]


def test_a_time_that_no_calendar_has_is_no_value() -> None:
    assert evaluate(Function("weekday", A, ("UTC",)), {"a": 2**60}) is None


def test_whole_numbers_stay_exact_beyond_what_a_float_holds() -> None:
    assert evaluate(Operation("-", A, Constant(1)), {"a": 2**53 + 2}) == 2**53 + 1


def test_a_column_that_is_not_there_has_no_values() -> None:
    assert evaluate_many(Operation("+", A, B, otherwise=0), {"a": [1, 2]}, rows=2) == [0, 0]
    assert evaluate_many(Constant(7), {}, rows=2) == [7, 7]


def test_an_expression_says_what_it_reads() -> None:
    expression = Operation("+", Function("abs", A), Operation("*", B, Constant(2)))

    assert names_of(expression) == evaluator(expression).reads == {"a", "b"}


@pytest.mark.parametrize(
    ("expressions", "cycle"),
    [
        ({"a": Function("abs", A)}, ("a", "a")),
        ({"a": Operation("+", Constant(1), B), "b": A}, ("a", "b", "a")),
        ({"c": Operation("+", Constant(1), A), "a": B, "b": A}, ("a", "b", "a")),
        ({"a": B, "c": Operation("+", A, B)}, ()),
    ],
)
def test_expressions_that_read_each_other_in_a_circle_are_found(
    expressions: dict[str, Expression], cycle: tuple[str, ...]
) -> None:
    assert cycle_among(expressions) == cycle


def test_clipping_leaves_what_lies_on_a_bound_as_it_is() -> None:
    clipped = [evaluate(Function("clip", A, (0, 5)), {"a": value}) for value in (-0.0, 5.0)]

    assert [repr(value) for value in clipped] == ["-0.0", "5.0"]
