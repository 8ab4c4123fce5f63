"""Windows of prediction time: coverage, final and provisional, and what late labels will have been."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from online_models.quality.arrivals import Arrivals, Clock, Counted
from online_models.quality.buckets import (
    ALL,
    BUCKETS_KEPT,
    DAY_MS,
    HOUR_MS,
    Bucket,
    Layout,
    Reach,
    Slice,
    count_example,
    count_prediction,
    is_too_old,
    keep,
)
from online_models.quality.report import FINAL, PROVISIONAL, Quality

HORIZON_DAYS = 30
LAYOUT = Layout(HORIZON_DAYS * DAY_MS)
STEP_MS = LAYOUT.within_ms // 96
RATE, DELAY_DAYS = 0.05, 10.0
SCORES = {True: {"online": 0.3}, False: {"online": 0.1}}


@dataclass(frozen=True)
class Asked:
    """A prediction and what became of it."""

    at_ms: int
    label: bool
    delay_ms: int


def history(days: int, a_day: int, seed: int = 1) -> list[Asked]:
    """Draw predictions of which 5 % come true, in 10 days on average; the others are confirmed at day 30."""
    chance = random.Random(seed)
    found = []
    for day in range(days):
        for _ in range(a_day):
            delay_ms = int(chance.expovariate(1 / DELAY_DAYS) * DAY_MS)
            is_true = chance.random() < RATE and delay_ms < LAYOUT.within_ms
            at_ms = day * DAY_MS + chance.randrange(DAY_MS)
            found.append(Asked(at_ms, is_true, delay_ms if is_true else LAYOUT.within_ms))
    return found


def as_of(asked: list[Asked], day: int) -> Quality:
    """Return what the fold knows at the end of a day, horizons in steps as the join passes them."""
    now_ms = day * DAY_MS
    passed_ms = now_ms // STEP_MS * STEP_MS
    buckets: dict[int, Bucket] = {}
    for each in asked:
        if each.at_ms >= now_ms:
            continue
        bucket = buckets.setdefault(LAYOUT.bucket(each.at_ms), Bucket())
        count_prediction(LAYOUT, bucket, release="", vector=[], learners=["online"])
        if each.at_ms + each.delay_ms <= now_ms if each.label else each.at_ms + LAYOUT.within_ms < passed_ms:
            count_example(
                LAYOUT,
                bucket,
                release="",
                vector=[],
                scores=SCORES[each.label],
                label=each.label,
                delay_ms=each.delay_ms,
            )
    return Quality(LAYOUT, buckets, Clock(now_ms - 1, now_ms - 1, passed_ms))


def truth(asked: list[Asked], first: int, last: int) -> float:
    """Return the share that comes true of the predictions of some days."""
    inside = [each.label for each in asked if first <= each.at_ms // DAY_MS <= last]
    return sum(inside) / len(inside)


def test_the_share_of_positives_is_told_before_negatives_are_confirmed() -> None:
    """5 % positives, 10 days of delay, negatives at day 30: labels so far say 100 %."""
    asked = history(45, 2_000)
    for day in (37, 45):
        quality = as_of(asked, day)
        told = quality.told("online", quality.newest(30))

        assert told is not None
        assert (told.mark, told.corrected is not None) == (PROVISIONAL, True)
        assert told.corrected is not None
        assert told.corrected.positives_ratio == pytest.approx(truth(asked, told.first, told.last), abs=0.005)
        assert told.measures.positives_ratio is not None
        assert told.measures.positives_ratio > 0.2


def test_losses_are_corrected_where_both_kinds_are_known() -> None:
    """The window reaches back into days whose negatives are confirmed."""
    asked = history(40, 1_000)
    quality = as_of(asked, 40)
    numbers = quality.newest(36)

    told = quality.told("online", numbers)
    everything = [SCORES[each.label]["online"] - each.label for each in asked if each.at_ms // DAY_MS >= numbers[0]]

    assert told is not None
    assert told.corrected is not None
    assert told.corrected.brier == pytest.approx(sum(each**2 for each in everything) / len(everything), abs=0.01)
    assert told.measures.brier != pytest.approx(told.corrected.brier, abs=0.03)


def test_where_one_kind_never_came_only_the_share_is_told() -> None:
    quality = as_of(history(40, 300), 40)
    told = quality.told("online", quality.newest(7))

    assert told is not None
    assert told.corrected is not None
    assert told.corrected.values().keys() == {"positives_ratio"}


def test_a_bucket_is_final_when_its_horizon_has_passed() -> None:
    asked = history(40, 50)
    quality = as_of(asked, 40)

    assert [quality.is_final(each) for each in (0, 8, 9, 10)] == [True, True, True, False]
    assert quality.final(5) == [5, 6, 7, 8, 9]
    told = quality.told("online", quality.final(5))
    assert told is not None
    assert (told.mark, told.coverage, told.corrected) == (FINAL, 1.0, None)
    assert told.measures.positives_ratio == truth(asked, 5, 9)


def test_nothing_is_final_or_corrected_before_a_horizon_is_known_to_have_passed() -> None:
    known = as_of(history(40, 50), 40)
    quality = Quality(LAYOUT, {each: known._buckets[each] for each in known.numbers}, None)

    told = quality.told("online", quality.numbers)

    assert told is not None
    assert (told.mark, told.corrected, quality.final()) == (PROVISIONAL, None, [])
    assert Quality(LAYOUT, {}, None).told("online", []) is None


def test_fading_counts_a_bucket_of_one_half_life_ago_half() -> None:
    old, new = Bucket(), Bucket()
    count_example(LAYOUT, old, release="", vector=[], scores={"online": 1.0}, label=False, delay_ms=0)
    count_example(LAYOUT, new, release="", vector=[], scores={"online": 1.0}, label=True, delay_ms=0)

    faded = Quality(LAYOUT, {0: old, 7: new}, None).faded("online", half_life=7)

    assert faded.brier == pytest.approx(0.5 / 1.5)


def test_a_kind_of_label_that_takes_long_is_known_by_what_is_left() -> None:
    arrivals = Arrivals.of(LAYOUT, [{"true": {0: 10}, "false": {128: 90}}], predicted=100, matured=100)
    clock = Clock(DAY_MS, DAY_MS, 0)

    assert arrivals is not None
    assert arrivals.share("false", 0, clock) == 0.0
    assert 0.5 < arrivals.share("true", 0, clock) < 1.0
    ends = arrivals.expected(Counted({0: 1_000}, 0, 80), clock)
    assert ends is not None
    assert sum(ends) == pytest.approx(1_000)
    assert arrivals.expected(Counted({5: 1_000}, 0, 0), clock) is None


def test_slices_are_releases_and_declared_values_of_segments() -> None:
    layout = Layout.of(DAY_MS, ["distance", "carrier"], {"carrier": ("UA", "AA")})
    bucket = Bucket()
    vectors: list[list[float | str | None]] = [[1.0, "UA"], [1.0, "B6"], [1.0, None], [1.0, "UA"], []]
    for number, vector in enumerate(vectors):
        release = "" if number == 0 else f"{number:064}"
        count_prediction(layout, bucket, release=release, vector=vector, learners=["online"])

    counts = {name: each.predicted["online"] for name, each in bucket.slices.items()}
    assert counts[ALL] == 5
    assert (counts["carrier=UA"], counts["carrier=(other)"], counts["carrier=(missing)"]) == (2, 1, 2)
    assert sum(n for name, n in counts.items() if name.startswith("release=")) == 4


def test_releases_behind_the_eighth_of_a_bucket_share_a_slice() -> None:
    bucket = Bucket()
    for number in range(12):
        count_prediction(LAYOUT, bucket, release=f"{number:012}beyond", vector=[], learners=["online"])

    assert len(bucket.slices) == 1 + 8 + 1
    assert bucket.slices["release=(other)"].predicted == {"online": 4}


def test_old_buckets_go() -> None:
    reach = Reach()

    assert keep(reach, 5) == keep(reach, 3) == []
    assert keep(reach, BUCKETS_KEPT + 4) == [3]
    assert (reach.kept, is_too_old(reach, 4), is_too_old(reach, 5)) == ([5, BUCKETS_KEPT + 4], True, False)


@pytest.mark.parametrize(("within_ms", "width_ms"), [(HOUR_MS, HOUR_MS), (6 * HOUR_MS, HOUR_MS), (DAY_MS, DAY_MS)])
def test_buckets_are_hours_where_labels_are_quick(within_ms: int, width_ms: int) -> None:
    assert Layout(within_ms).width_ms == width_ms


def test_buckets_merge_in_any_order() -> None:
    parts = [as_of(history(3, 40, seed), 40)._buckets for seed in (1, 2)]
    one, two = (each[1] for each in parts)

    assert one.merged(two) == two.merged(one)
    assert _n(one.merged(two).slices) == _n(one.slices) + _n(two.slices)


def _n(slices: Mapping[str, Slice]) -> int:
    return sum(each.predicted["online"] for each in slices.values())
