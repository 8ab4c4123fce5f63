"""Frozen bins: what training looked like, and where live values fall."""

from __future__ import annotations

import random

import pytest

from definitions.declared import Input
from definitions.values import Value, ValueType
from online_models.baseline import Baseline, BaselineCounter, CategoryBins, Counts, NumericBins, cut_baseline
from online_models.errors import ArtefactRefused

INPUTS = (
    Input("delay", ValueType.FLOAT),
    Input("carrier", ValueType.CATEGORY),
    Input("weekend", ValueType.BOOL),
)


def training(n: int = 1000) -> list[list[Value]]:
    chance = random.Random(4)
    return [
        [
            None if chance.random() < 0.1 else chance.gauss(10, 3),
            None if chance.random() < 0.1 else f"c{min(int(chance.expovariate(0.2)), 40):02}",
            chance.random() < 0.3,
        ]
        for _ in range(n)
    ]


def scores(n: int = 1000) -> list[float]:
    chance = random.Random(5)
    return [chance.random() ** 2 for _ in range(n)]


def cut(vectors: list[list[Value]] | None = None) -> Baseline:
    rows = training() if vectors is None else vectors
    return cut_baseline(model="late.v1", inputs=INPUTS, vectors=rows, scores={"offline": scores(len(rows))})


def test_training_scores_fall_into_ten_equal_bins() -> None:
    assert cut().signals["score:offline"].counts == [100] * 10


def test_counting_the_training_data_again_gives_the_baselines_own_counts() -> None:
    baseline = cut()
    counter, counts = BaselineCounter(baseline, INPUTS), baseline.empty()

    for vector, score in zip(training(), scores(), strict=True):
        counter.count(counts, vector, {"offline": score})

    assert counts == {signal: bins.counts for signal, bins in baseline.signals.items()}


def test_every_value_has_a_bin_whatever_it_is() -> None:
    baseline = cut()
    counter = BaselineCounter(baseline, INPUTS)
    delay, carrier = baseline.signals["feature:delay"], baseline.signals["feature:carrier"]

    assert [counter.bin_of("feature:delay", value) for value in (-1e30, 1e30, None)] == [0, 9, delay.size - 1]
    assert counter.bin_of("feature:carrier", "never seen") == carrier.size - 2
    assert counter.bin_of("feature:carrier", None) == carrier.size - 1
    assert [counter.bin_of("feature:weekend", value) for value in (False, True, None)] == [0, 1, 3]


def test_frequent_categories_have_bins_of_their_own_and_rare_ones_share_one() -> None:
    carrier = cut().signals["feature:carrier"]

    assert isinstance(carrier, CategoryBins)
    assert (len(carrier.values), carrier.values[0]) == (20, "c00")
    assert carrier.counts[-2] > 0
    assert sum(carrier.counts) == 1000


def test_a_number_with_few_values_has_fewer_bins_and_no_empty_ones_between() -> None:
    delay = cut([[float(row % 2), "a", True] for row in range(100)]).signals["feature:delay"]

    assert isinstance(delay, NumericBins)
    assert delay.edges == sorted(set(delay.edges))
    assert sum(delay.counts) == 100


def test_a_feature_that_was_never_there_is_all_missing() -> None:
    delay = cut([[None, "a", True]] * 10).signals["feature:delay"]

    assert delay.counts == [0, 10]


def test_counts_of_parts_add_up_to_the_counts_of_the_whole() -> None:
    baseline = cut()
    counter = BaselineCounter(baseline, INPUTS)

    def counted(rows: list[list[Value]]) -> Counts:
        counts = baseline.empty()
        for vector in rows:
            counter.count(counts, vector, {})
        return counts

    whole, left, right = counted(training()), counted(training()[:333]), counted(training()[333:])

    assert whole == {key: [a + b for a, b in zip(left[key], right[key], strict=True)] for key in whole}


def test_a_learner_without_a_baseline_is_not_counted() -> None:
    baseline = cut()
    counts = baseline.empty()

    BaselineCounter(baseline, INPUTS).count(counts, [None, None, None], {"unknown": 0.5})

    assert sum(counts["score:offline"]) == 0


def test_a_baseline_comes_back_from_its_bytes() -> None:
    baseline = cut()

    assert Baseline.from_json(baseline.to_json()) == baseline
    assert cut().to_json() == baseline.to_json()


def test_bytes_that_are_no_baseline_are_refused() -> None:
    with pytest.raises(ArtefactRefused, match="cannot load baseline"):
        Baseline.from_json(b"{}")


def test_counts_that_do_not_fit_the_bins_are_refused() -> None:
    bins = NumericBins(edges=[0.5], missing=False, counts=[1, 2, 3])
    data = Baseline(model="late.v1", rows=6, signals={"score:offline": bins}).to_json()

    with pytest.raises(ArtefactRefused, match="score:offline: expected 2 counts, got 3"):
        Baseline.from_json(data)


def test_an_embedding_is_binned_by_its_euclidean_length() -> None:
    state = (Input("state", ValueType.EMBEDDING, length=2),)
    states: list[Value] = [None, *([3.0 * n, 4.0 * n] for n in range(100))]
    vectors = [[state] for state in states]
    baseline = cut_baseline(model="late.v1", inputs=state, vectors=vectors, scores={})
    counter, counts = BaselineCounter(baseline, state), baseline.empty()
    for vector in vectors:
        counter.count(counts, vector, {})

    bins = baseline.signals["feature:state"]
    assert bins.counts == counts["feature:state"] == [10] * 10 + [1]
    assert [counter.bin_of("feature:state", value) for value in ([0.0, 0.0], [0.0, -1e6], None)] == [0, 9, 10]
