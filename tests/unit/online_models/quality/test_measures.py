"""Pairs of scores and labels: measures equal those of a plain reading, and parts merge to the whole exactly."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from online_models.quality.buckets import Bucket, QualityCodec, Slice
from online_models.quality.measures import Measures, Weighted, measure
from online_models.quality.pairs import Pairs, merged

Said = tuple[float, bool]
SAID = st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=60)
NUMBER = st.floats(-1e6, 1e6)
NUMBERS = st.lists(st.tuples(NUMBER, NUMBER), max_size=40)


def pairs_of(said: Sequence[tuple[float, float]]) -> Pairs:
    pairs = Pairs()
    for score, label in said:
        pairs.add(score, label)
    return pairs


def drawn(n: int, seed: int, *, rate: float = 0.3) -> list[Said]:
    """Draw scores that are true so often as they say, times two: calibration is off."""
    chance = random.Random(seed)
    scores = [min(1.0, chance.expovariate(1 / rate)) for _ in range(n)]
    return [(score, chance.random() < score / 2) for score in scores]


def plain_auc(said: Sequence[Said]) -> float:
    """Compare every positive with every negative."""
    positives = [score for score, label in said if label]
    negatives = [score for score, label in said if not label]
    return sum((p > n) + 0.5 * (p == n) for p in positives for n in negatives) / (len(positives) * len(negatives))


def plain_calibration_error(said: Sequence[Said]) -> float:
    total = 0.0
    for tenth in range(10):
        inside = [(s, y) for s, y in said if min(9, int(s * 10)) == tenth]
        if inside:
            total += abs(math.fsum(s for s, _ in inside) - sum(y for _, y in inside))
    return total / len(said)


@pytest.mark.parametrize("rate", [0.3, 0.01])
def test_measures_are_those_of_a_plain_reading(rate: float) -> None:
    said = drawn(2_000, 1, rate=rate)

    found = measure([Weighted(pairs_of(said))])

    losses = [-math.log(max(1e-6, score if label else 1 - score)) for score, label in said]
    assert found.n == 2_000
    assert found.log_loss == pytest.approx(math.fsum(losses) / 2_000, abs=1e-8)
    assert found.brier == pytest.approx(math.fsum((s - y) ** 2 for s, y in said) / 2_000, abs=1e-8)
    assert found.auc == pytest.approx(plain_auc(said), abs=2e-3)
    assert found.calibration_error == pytest.approx(plain_calibration_error(said), abs=1e-8)
    assert found.positives_ratio == sum(y for _, y in said) / 2_000
    assert sum(each.weight for each in found.tenths) == 2_000
    assert found.rmse is None


def test_numbers_have_errors() -> None:
    said = [(3.0, 1.0), (0.0, 4.0), (5.0, 5)]

    found = measure([Weighted(pairs_of(said))])

    assert found.rmse == pytest.approx(math.sqrt((4 + 16) / 3))
    assert [found.mae, found.bias] == pytest.approx([2.0, -2 / 3])
    assert (found.log_loss, found.auc) == (None, None)


@settings(deadline=None)
@given(SAID, st.integers(0, 60), st.integers(0, 60))
def test_parts_merge_to_the_whole_exactly_in_any_order(said: list[Said], one: int, two: int) -> None:
    first, last = sorted((one, two))
    parts = [pairs_of(said[:first]), pairs_of(said[first:last]), pairs_of(said[last:])]
    whole = measure([Weighted(pairs_of(said))])

    assert measure([Weighted(merged(parts))]) == whole
    assert measure([Weighted(merged(reversed(parts)))]) == whole
    assert measure([Weighted(each) for each in parts]) == whole


@settings(deadline=None)
@given(NUMBERS, st.integers(0, 40))
def test_sums_of_errors_lose_nothing(said: list[tuple[float, float]], cut: int) -> None:
    whole = measure([Weighted(pairs_of(said))])
    left, right = pairs_of(said[:cut]), pairs_of(said[cut:])

    assert measure([Weighted(left.merged(right))]) == whole == measure([Weighted(right.merged(left))])
    if said:
        assert whole.mae == math.fsum(abs(score - label) for score, label in said) / len(said)


@settings(deadline=None)
@given(SAID)
def test_state_comes_back_from_its_bytes(said: list[Said]) -> None:
    codec, bucket = QualityCodec(), Bucket({"": Slice({"online": 3}, {"online": pairs_of(said)})})
    data = codec.encode(bucket)

    assert data is not None
    assert codec.decode(data) == bucket
    assert codec.encode(codec.decode(data)) == data


def test_weights_count_pairs_several_times() -> None:
    said = drawn(200, 3)
    twice = said + [each for each in said if each[1]]

    weighted = measure([Weighted(pairs_of(said), positive=2.0)])

    assert weighted.values() == pytest.approx(measure([Weighted(pairs_of(twice))]).values())


def test_scores_that_are_no_probabilities_are_counted_and_not_measured() -> None:
    assert measure([Weighted(pairs_of([(0.5, True), (1.5, False)]))]) == Measures(2)


def test_there_is_no_auc_of_one_kind_of_label_and_nothing_of_nothing() -> None:
    assert measure([]) == measure([Weighted(Pairs())]) == Measures(0)
    assert measure([Weighted(pairs_of([(0.5, True)]))]).auc is None
    assert measure([Weighted(pairs_of([(0.5, True)]), positive=0.0)]) == Measures(1)


@pytest.mark.parametrize("score", [0.0, 0.1, 0.3, 0.7, 0.9, 1.0])
def test_the_edge_of_a_tenth_belongs_to_the_upper_one(score: float) -> None:
    [tenth] = measure([Weighted(pairs_of([(score, True), (score, False)]))]).tenths

    assert [tenth.weight, tenth.score, tenth.rate] == pytest.approx([2, score, 0.5])


def test_errors_beyond_all_numbers_are_kept_finite() -> None:
    found = measure([Weighted(pairs_of([(1e308, -1e308), (1.0, 2.0)]))])

    assert found.rmse is not None
    assert math.isfinite(found.rmse)


@settings(deadline=None)
@given(SAID, st.integers(0, 59))
def test_a_revised_label_leaves_what_would_be_if_it_had_been_so_from_the_start(said: list[Said], place: int) -> None:
    pairs = pairs_of(said)
    if place < len(said):
        score, label = said[place]
        pairs.revise(score, label, not label)
        said = [*said[:place], (score, not label), *said[place + 1 :]]

    assert measure([Weighted(pairs)]) == measure([Weighted(pairs_of(said))])


@settings(deadline=None)
@given(st.lists(st.tuples(NUMBER, NUMBER), min_size=1, max_size=60), st.integers(0, 59), NUMBER)
def test_a_revised_number_leaves_what_would_be_if_it_had_been_so_from_the_start(
    said: list[tuple[float, float]], place: int, label: float
) -> None:
    pairs, place = pairs_of(said), place % len(said)
    score, before = said[place]
    pairs.revise(score, before, label)

    assert measure([Weighted(pairs)]) == measure(
        [Weighted(pairs_of([*said[:place], (score, label), *said[place + 1 :]]))]
    )
