"""What a stage costs is learned from what it took, and tells how many fit."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from online_models.graphs.pace import Pace, StageCost
from online_models.graphs.ranking import shares


def test_a_line_is_found_through_what_was_measured() -> None:
    cost = StageCost()
    for rows in (10, 500, 100, 300):
        cost.note(rows, 2.0 + 0.1 * rows)

    assert cost.line() == pytest.approx((2.0, 0.1))


def test_measurements_of_one_size_tell_nothing_of_the_fixed_part() -> None:
    cost = StageCost()
    for _ in range(5):
        cost.note(100, 20.0)

    assert cost.line() == pytest.approx((0.0, 0.2))


def test_what_was_measured_last_weighs_most() -> None:
    cost = StageCost()
    for took_ms in [10.0] * 100 + [30.0] * 100:
        cost.note(100, took_ms)

    assert cost.line()[1] == pytest.approx(0.3, rel=0.05)


def test_one_slow_run_of_a_stage_is_not_its_last() -> None:
    pace = Pace([None])
    pace.note(0, 4, 4_000.0)
    left_out = 0
    while pace.fits(0, [4], 100.0) == [0]:
        pace.left_out(0)
        left_out += 1

    assert 40 < left_out < 60, "a tenth of the cost is believed after 45 times 5 % less"
    assert pace.stage_ms(0, [1]) <= 100.0


def test_before_the_first_measurement_everything_fits() -> None:
    pace = Pace([None, 50, None])

    assert pace.whole_ms([10_000]) == 0.0
    assert pace.fits(0, [10_000], 1.0) == [10_000]


def test_stages_behind_a_top_cost_no_more_than_it_lets_pass() -> None:
    pace = Pace([None, 50, None])
    pace.note(0, 1_000, 10.0)
    pace.note(2, 100, 100.0)

    assert pace.whole_ms([1_000]) == pytest.approx(10.0 + 50.0)
    assert pace.whole_ms([1_000, 20]) == pytest.approx(10.2 + 70.0)
    assert pace.whole_ms([1_000], stage=2) == pytest.approx(1_000.0)


@settings(deadline=None)
@given(st.lists(st.integers(0, 300), min_size=1, max_size=5), st.floats(0.0, 400.0))
def test_what_fits_is_done_in_time_and_one_more_would_not_be(counts: list[int], left_ms: float) -> None:
    pace = Pace([None, 50, None])
    for rows in (10, 100, 200):
        pace.note(0, rows, 1.0 + 0.2 * rows)
        pace.note(2, rows, 0.5 * rows)

    fitting = pace.fits(0, counts, left_ms)

    whole_ms = pace.whole_ms(counts)
    if whole_ms <= left_ms:
        assert fitting == counts
    else:
        budget_ms = left_ms * pace.stage_ms(0, counts) / whole_ms
        assert fitting == shares(counts, sum(fitting))
        assert not any(fitting) or pace.stage_ms(0, fitting) <= budget_ms
        assert left_ms <= 0 or pace.stage_ms(0, shares(counts, sum(fitting) + 1)) > budget_ms


def test_a_cheap_stage_takes_all_before_a_dear_one() -> None:
    pace = Pace([None, None])
    pace.note(0, 1_000, 0.0)
    pace.note(1, 1_000, 1_000.0)

    assert pace.fits(0, [1_000], 100.0) == [1_000]
    assert pace.fits(1, [1_000], 100.0) == [100]


@given(st.lists(st.integers(0, 50), min_size=1, max_size=6), st.integers(0, 200))
def test_shares_are_even_and_waste_nothing(counts: list[int], total: int) -> None:
    given_ = shares(counts, total)

    assert all(0 <= own <= count for own, count in zip(given_, counts, strict=True))
    assert sum(given_) <= total
    cut = [own for own, count in zip(given_, counts, strict=True) if own < count]
    if cut:
        assert max(given_) - min(cut) <= 1
        assert total - sum(given_) < len(counts)
    else:
        assert given_ == counts
