"""Personal updates against a plain float64 oracle in moments, and the laws that hold whatever the examples are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from definitions.declared import Input, LearnerDefinition
from definitions.values import ValueType
from online_models.personal import Evidence, Instance, PersonalModel, Population, Recalled
from online_models.personal.population import MEASURED
from tests.builders import personal_learner

PRIOR = 0.4
INPUTS = (Input("distance", ValueType.FLOAT), Input("delay", ValueType.FLOAT))
BY = (("carrier",), ("tail",))
numbers = st.floats(-3, 3, allow_nan=False, width=32)
examples = st.lists(
    st.tuples(numbers, numbers, st.floats(0.02, 0.98), st.booleans(), st.integers(0, 1), st.integers(0, 2)),
    min_size=1,
    max_size=16,
)


def learner(**changes: Any) -> LearnerDefinition:
    given: dict[str, Any] = {"by": BY, "features": ("distance", "delay"), "prior": PRIOR, "forgetting": False}
    return personal_learner(**(given | changes))


def measured(model: PersonalModel) -> Population:
    """Return a population whose scales are known: centre 0, scale 1."""
    population = model.population()
    population.measured = MEASURED
    population.squares = np.ones(len(INPUTS))
    return population


class Oracle:
    """One normal distribution over all coefficients of all entities, updated exactly at each example's own slope.

    ``full`` keeps the covariance within an entity and drops it between two; else only variances are kept.
    """

    def __init__(self, entities: int, width: int, *, full: bool) -> None:
        self.size, self.width = entities * width, width
        self.mean = np.zeros(self.size)
        self.covariance = np.eye(self.size) * PRIOR
        block = np.arange(self.size) // width if full else np.arange(self.size)
        self._kept = block[:, None] == block[None, :]

    def adds(self, places: Sequence[int], values: Sequence[float]) -> tuple[float, float]:
        row = self._row(places, values)
        return float(row @ self.mean), float(row @ self.covariance @ row)

    def learn(self, places: Sequence[int], values: Sequence[float], offset: float, label: bool) -> None:  # noqa: FBT001
        row = self._row(places, values)
        total = math.log(offset / (1 - offset)) + row @ self.mean
        probability = 1 / (1 + math.exp(-total))
        curvature = probability * (1 - probability)
        gain = self.covariance @ row / (1 / curvature + row @ self.covariance @ row)
        self.mean = self.mean + gain * (label - probability) / curvature
        self.covariance = (self.covariance - np.outer(gain, row @ self.covariance)) * self._kept

    def _row(self, places: Sequence[int], values: Sequence[float]) -> np.ndarray:
        row = np.zeros(self.size)
        for place in places:
            row[place * self.width : (place + 1) * self.width] = values
        return row


def instance(drawn: tuple[float, float, float, bool, int, int]) -> Instance:
    distance, delay, offset, label, *_ = drawn
    return Instance([distance, delay], offset, "v1", label, 1)


def kept(evidence: Sequence[Evidence]) -> list[bytes]:
    return [each.to_bytes() for each in evidence]


@pytest.mark.parametrize("covariance", ["diagonal", "full"])
@settings(max_examples=15, deadline=None)
@given(drawn=examples)
def test_an_update_is_what_the_oracle_does(
    drawn: list[tuple[float, float, float, bool, int, int]], covariance: str
) -> None:
    model = PersonalModel(learner(covariance=covariance), INPUTS)
    population = measured(model)
    evidence = [model.fresh(population) for _ in range(5)]
    oracle = Oracle(5, 3, full=covariance == "full")
    for each in drawn:
        places, values = (each[4], 2 + each[5]), (1.0, each[0], each[1])
        model.learn(instance(each), [evidence[place] for place in places], population)
        oracle.learn(places, values, each[2], each[3])
        recalled = model.recall([each[0], each[1]], [evidence[place] for place in places], population, "v1")
        adds, variance = oracle.adds(places, values)

        assert recalled.adds == pytest.approx(adds, abs=2e-4)
        assert recalled.deviation**2 == pytest.approx(variance, rel=2e-4, abs=1e-6)


@pytest.mark.parametrize("covariance", ["diagonal", "full"])
@settings(max_examples=15, deadline=None)
@given(drawn=examples)
def test_the_order_of_kinds_does_not_matter(
    drawn: list[tuple[float, float, float, bool, int, int]], covariance: str
) -> None:
    """To the bit, fitted priors and forgetting included."""
    results = []
    for order in (1, -1):
        model = PersonalModel(learner(covariance=covariance, by=BY[::order], prior=None, forgetting=True), INPUTS)
        population = measured(model)
        evidence = [model.fresh(population) for _ in range(5)]
        scores = []
        for each in drawn * 4:
            entities: list[Evidence | None] = [evidence[each[4]], evidence[2 + each[5]]]
            scores.append(model.learn(instance(each), entities[::order], population))
        results.append((scores, kept(evidence)))

    assert results[0] == results[1]


@settings(max_examples=15, deadline=None)
@given(drawn=examples, cut=st.integers(0, 24))
def test_cells_that_were_stored_go_on_to_the_bit(
    drawn: list[tuple[float, float, float, bool, int, int]], cut: int
) -> None:
    def run(cuts: set[int]) -> tuple[list[bytes], bytes]:
        model = PersonalModel(learner(prior=None, forgetting=True), INPUTS)
        population, evidence = model.population(), [Evidence.empty(3, full=False, base=0) for _ in range(5)]
        for number, each in enumerate(drawn * 12):
            if number in cuts:
                evidence = [Evidence.from_bytes(one.to_bytes()) for one in evidence]
                population = Population.from_bytes(population.to_bytes())
            model.learn(instance(each), [evidence[each[4]], evidence[2 + each[5]]], population)
        return kept(evidence), population.to_bytes()

    assert run(set()) == run({cut, 7 * cut, MEASURED, MEASURED + cut})


@settings(max_examples=15, deadline=None)
@given(drawn=examples)
def test_recalling_changes_no_score_that_follows(drawn: list[tuple[float, float, float, bool, int, int]]) -> None:
    model = PersonalModel(learner(), INPUTS)
    population = measured(model)
    evidence = [model.fresh(population), model.fresh(population)]
    for each in drawn:
        model.learn(instance(each), evidence, population)
    before, state = kept(evidence), population.to_bytes()

    first: Recalled = model.recall([1.0, 2.0], evidence, population, "v1")

    assert model.recall([1.0, 2.0], evidence, population, "v1") == first
    assert (kept(evidence), population.to_bytes()) == (before, state)


@settings(max_examples=15, deadline=None)
@given(drawn=examples)
def test_any_value_may_be_missing_and_no_label_makes_a_score_that_is_none(
    drawn: list[tuple[float, float, float, bool, int, int]],
) -> None:
    model = PersonalModel(learner(), INPUTS)
    population = measured(model)
    evidence: list[Evidence | None] = [model.fresh(population), None]
    for each in drawn:
        score = model.learn(Instance([None, each[0] * 1e30], 1.0 - 1e-16, "v1", each[3], 1), evidence, population)
        assert score is not None
        assert 0.0 <= score <= 1.0
    assert math.isfinite(model.recall([None, None], evidence, population, "v1").adds)
