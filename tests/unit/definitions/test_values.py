"""Spans of time, and which Python values are values of a type."""

from __future__ import annotations

import pytest

from definitions.errors import DefinitionError
from definitions.values import ValueType, misfit, parse_span


@pytest.mark.parametrize(
    ("text", "length_ms"), [("5ms", 5), ("90s", 90_000), ("15m", 900_000), ("24h", 86_400_000), ("7d", 604_800_000)]
)
def test_a_span_is_a_number_and_a_unit(text: str, length_ms: int) -> None:
    assert parse_span(text, where="app.py:1") == length_ms


@pytest.mark.parametrize(
    "text", ["", "1", "h", "0s", "-1h", "1.5h", "1h ", " 1h", "1h\n", "1w", "٣h", 60, None, "1" * 30 + "s"]
)
def test_what_is_no_span_is_refused(text: str) -> None:
    with pytest.raises(DefinitionError, match=r"cannot read span: app\.py:1: expected a number and ms, s, m, h or d"):
        parse_span(text, where="app.py:1")


def test_a_span_is_at_most_ten_years() -> None:
    assert parse_span("3650d", where="x") > 0
    with pytest.raises(DefinitionError, match="expected at most 3650d, got '3651d'"):
        parse_span("3651d", where="app.py:1")


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (ValueType.INT, 3),
        (ValueType.FLOAT, 3),
        (ValueType.FLOAT, -3.5),
        (ValueType.BOOL, False),
        (ValueType.CATEGORY, ""),
        *((kind, None) for kind in ValueType),
    ],
)
def test_a_value_fits_its_type(kind: ValueType, value: object) -> None:
    assert misfit(kind, value) == ""


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        (ValueType.INT, True, "expected int, got True"),
        (ValueType.INT, 3.0, "expected int, got 3.0"),
        (ValueType.FLOAT, "3", "expected float, got '3'"),
        (ValueType.BOOL, 1, "expected bool, got 1"),
        (ValueType.CATEGORY, 5, "expected str, got 5"),
        (ValueType.CATEGORY, ["a"], "expected str, got ['a']"),
        (ValueType.FLOAT, float("nan"), "expected a finite number, got nan"),
        (ValueType.FLOAT, float("-inf"), "expected a finite number, got -inf"),
        (ValueType.FLOAT, 1e39, "expected a finite number, got 1e+39"),
        (ValueType.CATEGORY, b"x" * 200, f"expected str, got {repr(b'x' * 200)[:79]}…"),
    ],
)
def test_what_does_not_fit_says_why(kind: ValueType, value: object, said: str) -> None:
    assert misfit(kind, value) == said


def test_a_value_nested_as_deep_as_python_allows_is_judged() -> None:
    nested: list[object] = []
    for _ in range(100_000):
        nested = [nested]
    assert misfit(ValueType.FLOAT, nested) == "expected float, got [[[...]]]"


def test_a_number_of_any_length_is_judged() -> None:
    assert misfit(ValueType.INT, 10**400).startswith("expected a finite number, got 1000")
