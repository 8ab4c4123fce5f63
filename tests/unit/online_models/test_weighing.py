"""How much an example counts: by a value it carries, by its label, or by how many of each label there were."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from river import anomaly, forest, linear_model, preprocessing

from definitions.declared import Input, LearnerDefinition
from definitions.encoder import Encoder
from definitions.learners import river
from definitions.values import Value, ValueType
from online_models.errors import ArtefactRefused, LabelRefused, LearnerUnusable, WeightRefused
from online_models.learners import Cut
from online_models.learners.river import RiverLearner
from online_models.learners.weighing import Weighing

INPUTS = (Input("distance", ValueType.FLOAT), Input("importance", ValueType.FLOAT))
ENCODER = Encoder(INPUTS)


def logistic() -> Any:
    return linear_model.LogisticRegression()


def declared(factory: Callable[[], object] = logistic, **options: Any) -> LearnerDefinition:
    return river(factory, **options).definition("online")


def learner(factory: Callable[[], object] = logistic, **options: Any) -> RiverLearner:
    return RiverLearner(declared(factory, **options), ENCODER)


def weight(vector: list[Value], label: Value, seen: tuple[int, int] = (0, 0), **options: Any) -> float | None:
    return Weighing.of(declared(**options), INPUTS).weight(vector, label, seen)


def test_nothing_declared_is_no_weight() -> None:
    assert weight([1.0, 3.0], label=True) is None


def test_an_input_may_be_the_weight() -> None:
    assert [weight([1.0, given], label=True, weight="importance") for given in (3.0, 0.0)] == [3.0, 0.0]


@pytest.mark.parametrize("given", [None, -0.5])
def test_an_example_without_a_weight_is_refused(given: Value) -> None:
    taught = learner(weight="importance")
    before = taught.canonical()

    with pytest.raises(WeightRefused, match="expected a number that is not below 0"):
        taught.learn_one([1.0, given], label=True)

    assert taught.canonical() == before


def test_labels_may_weigh_and_weights_multiply() -> None:
    shares = {True: 5, False: 1}
    assert [weight([1.0, 2.0], label, balance=shares) for label in (True, False)] == [5.0, 1.0]
    assert weight([1.0, 2.0], label=True, balance=shares, weight="importance") == 10.0


def test_balanced_labels_count_the_same_in_sum() -> None:
    """After many, 90 of 100 with label False: nine Trues weigh as much as one False too many."""
    seen = (90_000, 10_000)
    false, true = (weight([1.0, 1.0], label, seen, balance="labels") for label in (False, True))

    assert true is not None
    assert false is not None
    assert 90_000 * false == pytest.approx(10_000 * true, rel=0.01)
    assert weight([1.0, 1.0], label=True, balance="labels") == 1.0


def test_the_first_rare_label_does_not_outweigh_all_others() -> None:
    assert weight([1.0, 1.0], True, (1_000, 0), balance="labels") == pytest.approx(51)  # a label


def test_a_weight_of_two_is_not_a_weight_of_one() -> None:
    """It reaches the estimator, through a pipeline."""

    def scaled() -> Any:
        return preprocessing.StandardScaler() | linear_model.LogisticRegression()

    one, two = learner(scaled, balance={True: 1, False: 1}), learner(scaled, balance={True: 2, False: 2})
    for taught in (one, two):
        taught.learn_one([1.0, 1.0], label=True)
        taught.learn_one([2.0, 1.0], label=False)

    assert one.score_many([[3.0, 1.0]]) != two.score_many([[3.0, 1.0]])


def test_an_example_of_weight_nothing_changes_no_estimator() -> None:
    taught = learner(weight="importance")
    before = taught.score_many([[2.0, 1.0]])

    taught.learn_one([1.0, 0.0], label=True)

    assert (taught.learned, taught.score_many([[2.0, 1.0]])) == (1, before)


def test_an_anomaly_detector_may_learn_only_what_is_normal() -> None:
    def detector() -> Any:
        return anomaly.HalfSpaceTrees(n_trees=3, height=3, window_size=4)

    some, normal = learner(detector, only=False), learner(detector, only=False)
    for number in range(20):
        normal.learn_one([number / 20, 0.5], label=False)
        some.learn_one([number / 20, 0.5], label=False)
        some.learn_one([1.0, 1.0], label=True)

    assert some.score_many([[0.5, 0.5]]) == normal.score_many([[0.5, 0.5]])
    with pytest.raises(LabelRefused, match="expected true or false as label"):
        some.learn_one([0.5, 0.5], 3.0)


def test_balance_goes_on_as_it_was_after_a_restore() -> None:
    taught = learner(balance="labels")
    for number in range(30):
        taught.learn_one([float(number), 1.0], number % 10 == 0)
    twin, _ = RiverLearner.restore(
        declared(balance="labels"), ENCODER, data=taught.snapshot(Cut(0, 30)), digest=taught.digest
    )

    for each in (taught, twin):
        each.learn_one([5.0, 1.0], label=True)

    assert taught.canonical() == twin.canonical()


def test_an_estimator_that_takes_no_weights_is_refused_when_it_is_built() -> None:
    with pytest.raises(
        LearnerUnusable, match="expected an estimator that takes weights, got a AMFClassifier that does not"
    ):
        learner(lambda: forest.AMFClassifier(n_estimators=2), balance="labels")


def test_numbers_cannot_be_balanced() -> None:
    with pytest.raises(LearnerUnusable, match="got a LinearRegression; leave it out"):
        learner(linear_model.LinearRegression, balance="labels")


def test_a_factory_of_something_else_is_refused() -> None:
    for built in (object, preprocessing.StandardScaler, anomaly.GaussianScorer):
        with pytest.raises(LearnerUnusable, match="expected a factory of a River classifier, regressor or anomaly"):
            learner(built)


def test_a_factory_that_builds_another_each_time_is_refused() -> None:
    rates = iter(range(1, 9))

    with pytest.raises(LearnerUnusable, match="expected a factory whose estimators are equal when fresh"):
        learner(lambda: linear_model.LogisticRegression(intercept_init=float(next(rates))))


@pytest.mark.parametrize(
    "other",
    [
        declared(lambda: linear_model.LogisticRegression(l2=0.1)),
        declared(linear_model.Perceptron),
        declared(balance={True: 2, False: 1}),
        declared(only=True),
    ],
    ids=["parameter", "class", "balance", "only"],
)
def test_a_snapshot_of_another_definition_is_refused(other: LearnerDefinition) -> None:
    taught = learner()
    taught.learn_one([1.0, 1.0], label=True)

    with pytest.raises(ArtefactRefused, match=r"expected the definition of online that is declared here .*got another"):
        RiverLearner.restore(other, ENCODER, data=taught.snapshot(Cut(0, 1)), digest=taught.digest)
