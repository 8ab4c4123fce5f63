"""What statistics say where numbers end: overflow, two equal times, questions before the event."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from streams.aggregates import KINDS, Operand
from streams.aggregates.numbers import Count, Ratio, Sum
from tests.builders import OPTIONS

Timed = tuple[int, Any]


def tile(kind: str, values: Sequence[Any], **options: Any) -> Any:
    """Return what one tile holds of the values, given as they are or as (ms since the cell's origin, value)."""
    return held_by(kind, values, **options)[0]


def held_by(kind: str, values: Sequence[Any], **options: Any) -> tuple[Any, Any]:
    """Return what one tile holds, and the statistic that it is held for."""
    statistic = KINDS[kind](Operand("value"), **{**OPTIONS.get(kind, {}), **options})
    (column,) = statistic.columns()[:1]
    held = column.empty
    for value in values:
        at_ms, inner = value if column.timed else (0, value)
        (given,) = column.inputs([SimpleNamespace(value=inner)])
        given = (at_ms, given) if column.timed else given
        held = column.begin(given) if held is None else column.fold(held, given)
    return held, statistic


def value(kind: str, values: Sequence[Any], *, asked_ms: int = 0, **options: Any) -> Any:
    """Return the statistic of one tile."""
    held, statistic = held_by(kind, values, **options)
    timed = statistic.columns()[0].timed
    return statistic.finalise([(asked_ms - held[0], held[1]) if timed else held])


@pytest.mark.parametrize("kind", ["variance", "std"])
def test_a_spread_that_is_not_finite_is_no_value(kind: str) -> None:
    assert value(kind, [1e308, -1e308]) is None
    assert value(kind, [1.0]) is None
    assert value(kind, [3.5, 3.5, 3.5]) == 0.0


def test_a_variance_survives_a_large_mean() -> None:
    assert value("variance", [1e9 + 4, 1e9 + 7, 1e9 + 13, 1e9 + 16]) == pytest.approx(30.0, rel=1e-9)


def test_a_ratio_of_nothing_or_by_zero_is_no_value() -> None:
    ratio = Ratio(Sum(Operand("value", floats=True)), Count(Operand(None)))

    assert ratio.finalise([3.0, 1.0], [1, 1]) == 2.0
    assert ratio.finalise([0.0], [4]) == 0.0
    assert ratio.finalise([], []) is None
    assert ratio.finalise([3.0], [0]) is None
    assert ratio.finalise([1e308, 1e308], [1, 1]) is None


def test_a_ratio_of_numbers_too_large_to_divide_is_no_value() -> None:
    ratio = Ratio(Sum(Operand("value")), Count(Operand(None)))

    assert ratio.finalise([10**400], [1]) is None


@pytest.mark.parametrize("order", [[(5, "a"), (7, "b"), (7, "c"), (3, "d")], [(3, "d"), (7, "b"), (5, "a"), (7, "c")]])
def test_order_is_that_of_time_then_of_the_log(order: list[Timed]) -> None:
    assert value("first", order) == "d"
    assert value("last", order) == "c"
    assert value("last_k", order, k=5) == ("c", "b", "a", "d", None)
    assert value("last_k", order, k=2) == ("c", "b")


def test_the_newest_values_of_two_partitions_are_those_of_the_later_partition_first() -> None:
    newest = KINDS["last_k"](Operand("value"), k=3)

    assert newest.finalise([(10, [[0, "a"], [4, "b"]]), (10, [[0, "c"], [4, "d"]])]) == ("d", "b", "c")
    assert newest.finalise([]) == (None, None, None)


def test_an_event_counts_for_half_after_a_half_life_and_for_more_before_its_time() -> None:
    events = [(1_000, 1), (2_000, 1)]

    assert value("decayed_count", events, asked_ms=2_000, half_life_ms=1_000) == 1.5
    assert value("decayed_count", events[::-1], asked_ms=3_000, half_life_ms=1_000) == 0.75
    assert value("decayed_count", events, asked_ms=1_000, half_life_ms=1_000) == 3.0
    assert value("decayed_count", events, asked_ms=2_000_000, half_life_ms=1) == 0.0
    assert value("decayed_count", events, asked_ms=0, half_life_ms=1) is None  # 2 ** 2000


def test_a_decayed_mean_is_the_same_at_any_time_and_lost_to_none() -> None:
    events = [(1_000, 8.0), (2_000, 2.0)]

    assert value("decayed_mean", events, asked_ms=2_000, half_life_ms=1_000) == 4.0
    assert value("decayed_mean", events, asked_ms=9_000_000, half_life_ms=1_000) == 4.0
    assert value("decayed_mean", events[::-1], asked_ms=-9_000_000, half_life_ms=1_000) == 4.0
    assert value("decayed_mean", [(0, 1e308)] * 3, half_life_ms=1_000) is None


@pytest.mark.parametrize(
    ("values", "number"),
    [(["a", "b", "a"], 2), ([1, 2, 1, -1], 3), ([True, False, True], 2), ([0.0, -0.0, 0.5], 2), ([], 0)],
)
def test_few_different_values_are_counted_exactly(values: list[Any], number: int) -> None:
    statistic = KINDS["distinct"](Operand("value"), exact=256, precision=12)

    held = [tile("distinct", values)] if values else []

    assert statistic.finalise(held) == number


def test_hashes_are_the_same_in_every_process() -> None:
    assert tile("distinct", ["UA", 17]) == [0x20398D138E4D7BB4, 0xDBBD007E3C8D98BA]


def test_a_tile_of_many_different_values_is_4_kib() -> None:
    held = tile("distinct", range(1_000))

    assert len(msgspec.msgpack.encode(held)) == 4_096 + 3
    assert len(msgspec.msgpack.encode(tile("distinct", range(256)))) <= 256 * 9 + 3


def test_a_tile_counts_no_more_categories_than_its_capacity() -> None:
    held = tile("top_k", [f"category {each % 97}" for each in range(10_000)], capacity=64)

    assert len(held) <= 64


@pytest.mark.parametrize("number", [5e-324, 1e-300, 1.0, 123_456_789.0, 1e300])
def test_any_double_has_its_quantile_within_one_percent(number: float) -> None:
    assert value("quantile", [number]) == pytest.approx(number, rel=0.0100001)
    assert value("quantile", [-number, -number, number], q=0.0) == pytest.approx(-number, rel=0.0100001)


def test_zero_and_whole_numbers_have_quantiles() -> None:
    assert value("quantile", [-5, 0, 0, 5], q=0.5) == 0.0
    assert value("quantile", [2**62], q=1.0) == pytest.approx(2**62, rel=0.0100001)
