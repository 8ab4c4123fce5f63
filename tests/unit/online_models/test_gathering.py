"""Examples that are learned many at once: which ones is decided by their order alone, and none is learned twice."""

from __future__ import annotations

import random
import sys
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
from river import anomaly, linear_model, naive_bayes, optim, preprocessing, tree

import headrace as hr
from definitions.declared import Input, LearnerDefinition
from definitions.encoder import Encoder
from definitions.errors import DefinitionError
from definitions.values import ValueType
from online_models.errors import LearnerUnusable
from online_models.gathering import NotLearnedTogether
from online_models.learners import Cut
from online_models.learners.estimators import require_many
from online_models.learners.river import RiverLearner
from online_models.learners.taught import Taught
from tests.contracts.model_contract import encoder, examples

BAD = 13.0
NUMBERS = Encoder((Input("a", ValueType.FLOAT), Input("b", ValueType.FLOAT)))


def scaled() -> Any:
    return preprocessing.StandardScaler() | linear_model.LogisticRegression(optim.SGD(0.5))


class Failing(linear_model.LogisticRegression):
    """Learns, and only then finds that it may not."""

    def learn_many(self, X: Any, y: Any, w: Any = 1) -> None:  # noqa: N803  # River's name
        super().learn_many(X, y, w)
        if (X["a"] == BAD).any():
            raise ZeroDivisionError("this distance")


def defined(factory: Any = scaled, **keywords: Any) -> LearnerDefinition:
    return hr.river(factory, **{"many": 20, **keywords}).definition("online")


def learner(*given: Any, **keywords: Any) -> RiverLearner:
    return RiverLearner(defined(*given, **keywords), encoder())


def test_as_many_as_are_declared_are_learned_at_once_and_the_others_wait() -> None:
    online, (vectors, labels) = learner(), examples(50)
    fresh = online.score_many(vectors)

    scores = []
    for vector, label in zip(vectors, labels, strict=True):
        scores.append(online.score_many(vectors))
        online.learn_one(vector, label)

    assert (online.learned, online.waiting) == (50, 10)
    assert [before == after for before, after in pairwise(scores)].count(False) == 2
    assert scores[19] == fresh != scores[20] == scores[39] != scores[40]


def test_what_is_learned_is_what_river_s_mini_batches_learn() -> None:
    """Beside River itself, called by hand with the same thousand rows."""
    chance = np.random.default_rng(1)
    matrix = chance.normal(3, 2, size=(1_000, 2))
    labels = matrix[:, 0] > matrix[:, 1]
    online, alone = RiverLearner(defined(many=250), NUMBERS), scaled()

    for row, label in zip(matrix.tolist(), labels.tolist(), strict=True):
        online.learn_one(row, label)
    for begin in range(0, 1_000, 250):
        part = slice(begin, begin + 250)
        alone.learn_many(pd.DataFrame(matrix[part], columns=["a", "b"]), pd.Series(labels[part]))

    asked = matrix[:100].tolist()
    assert online.score_many(asked) == [alone.predict_proba_one({"a": a, "b": b})[True] for a, b in asked]
    assert np.mean((np.array(online.score_many(asked)) > 0.5) == labels[:100]) > 0.85


def test_a_number_that_is_missing_is_left_out_and_not_a_zero() -> None:
    online, chance = RiverLearner(defined(many=10), NUMBERS), random.Random(1)
    for number in range(400):
        a = chance.gauss(100, 1)
        online.learn_one([a, None if number % 2 else 5.0 + chance.gauss(0, 1)], a > 100)

    scaler = online._estimator.model["StandardScaler"]
    assert scaler.counts == {"a": 400, "b": 200}
    assert abs(scaler.means["b"] - 5.0) < 0.3
    late, punctual = online.score_many([[102.0, None], [98.0, None]])
    assert late > 0.8
    assert punctual < 0.2


def test_a_category_is_known_as_a_column_of_zeros_and_ones() -> None:
    online = RiverLearner(defined(many=10), Encoder((Input("carrier", ValueType.CATEGORY),)))
    for number in range(400):
        online.learn_one([("AA", "UA", None)[number % 3]], number % 3 == 0)

    scaler = online._estimator.model["StandardScaler"]
    assert scaler.counts == {"carrier=AA": 400, "carrier=UA": 400}
    late, punctual, unknown = online.score_many([["AA"], ["UA"], ["never seen"]])
    assert late > 0.8
    assert punctual < 0.3
    assert punctual < unknown < late


def test_vectors_that_have_no_value_at_all_are_learned_too() -> None:
    online = RiverLearner(defined(lambda: linear_model.LogisticRegression(optim.SGD(0.5)), many=5), NUMBERS)

    for _ in range(200):
        online.learn_one([None, None], True)

    assert online.score_many([[None, None]])[0] > 0.54


@pytest.mark.parametrize("cut", [0, 1, 19, 20, 33])
def test_who_is_restored_in_between_learns_the_same(cut: int) -> None:
    vectors, labels = examples(50)
    whole, part = learner(), learner()
    for vector, label in zip(vectors, labels, strict=True):
        whole.learn_one(vector, label)

    for vector, label in zip(vectors[:cut], labels[:cut], strict=True):
        part.learn_one(vector, label)
    data = part.snapshot(Cut(0, cut))
    again, _ = RiverLearner.restore(defined(), encoder(), data=data, digest=part.digest)
    for vector, label in zip(vectors[cut:], labels[cut:], strict=True):
        again.learn_one(vector, label)

    assert again.canonical() == whole.canonical()
    assert again.waiting == whole.waiting == 10


def test_another_size_is_another_learner() -> None:
    assert learner(many=20)._identity != learner(many=21)._identity != learner(many=1)._identity
    assert learner(many=1)._identity == RiverLearner(hr.river(scaled).definition("online"), encoder())._identity


def test_weights_count_in_what_is_learned_at_once() -> None:
    scores = []
    for balance in ({True: 1, False: 1}, {True: 9, False: 1}):
        online = RiverLearner(defined(balance=balance), NUMBERS)
        for number in range(400):
            online.learn_one([1.0, float(number % 5)], number % 2 == 0)
        scores += online.score_many([[1.0, 2.0]])

    assert scores[1] > scores[0] + 0.05


def test_an_estimator_that_takes_no_weights_at_once_is_refused() -> None:
    with pytest.raises(LearnerUnusable, match="expected an estimator that takes weights"):
        learner(naive_bayes.GaussianNB, balance="labels")


def test_a_regressor_and_an_anomaly_detector_learn_many_at_once() -> None:
    chance = random.Random(1)
    rows = [[chance.gauss(0, 1), chance.gauss(0, 1)] for _ in range(600)]
    sums = [a + 2 * b for a, b in rows]
    regressor = RiverLearner(defined(lambda: linear_model.LinearRegression(optim.SGD(0.3))), NUMBERS)
    detector = RiverLearner(defined(anomaly.OneClassSVM), NUMBERS)

    for row, label in zip(rows, sums, strict=True):
        regressor.learn_one(row, label)
        detector.learn_one(row, label)

    assert abs(regressor.score_many([[1.0, 1.0]])[0] - 3.0) < 0.2
    assert detector.score_many([[50.0, -50.0]]) != detector.score_many([[0.0, 0.0]])


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        (tree.HoeffdingTreeClassifier, "estimator with learn_many where many= is declared, got a Hoeffding"),
        (lambda: preprocessing.MinMaxScaler() | linear_model.LogisticRegression(), "'MinMaxScaler' object has no"),
        (lambda: 3, "estimator with learn_many where many= is declared, got a int"),
    ],
)
def test_what_cannot_learn_many_at_once_is_refused_before_it_learns(factory: Any, message: str) -> None:
    with pytest.raises(LearnerUnusable, match=message):
        learner(factory)


def test_the_extra_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    require_many.cache_clear()

    with pytest.raises(LearnerUnusable, match=r"headrace\[many\].*got ModuleNotFoundError: import of pandas"):
        learner(linear_model.LogisticRegression)


@pytest.mark.parametrize(("many", "message"), [(0, "many"), (True, "many"), (10_001, "10000 at most"), ("2", "many")])
def test_a_number_that_is_no_size_is_refused_where_it_is_declared(many: Any, message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        hr.river(scaled, many=many)


def test_examples_that_cannot_be_learned_together_are_left_out_and_learning_goes_on() -> None:
    taught = Taught(defined(Failing, many=3), NUMBERS)
    fed: list[float] = [1.0, 2.0, 9.0, BAD, 4.0]
    for number in fed:
        taught.test_then_train([number, 1.0], label=number > 5)

    with pytest.raises(NotLearnedTogether, match="cannot learn 3 examples at once: ZeroDivisionError: this distance"):
        taught.test_then_train([5.0, 1.0], label=False)
    for number in (6.0, 7.0):
        taught.test_then_train([number, 1.0], label=number > 5)

    twin = Taught(defined(Failing, many=3), NUMBERS)
    for number in (1.0, 2.0, 9.0, 6.0, 7.0):
        twin.test_then_train([number, 1.0], label=number > 5)
    assert taught.learner.score_many([[3.0, 1.0]]) == twin.learner.score_many([[3.0, 1.0]])
    assert taught.learner.waiting == 2


def test_what_is_left_out_is_the_same_after_a_restart_in_between() -> None:
    given = [float(number) if number % 7 else BAD for number in range(1, 40)]
    through, stopped = Taught(defined(Failing, many=3), NUMBERS), Taught(defined(Failing, many=3), NUMBERS)
    for place, number in enumerate(given):
        if place % 5 == 0:
            data = stopped.snapshot(Cut(0, place))
            stopped = Taught(defined(Failing, many=3), NUMBERS, (data, stopped.learner.digest))
        failed = []
        for each in (through, stopped):
            try:
                each.test_then_train([number, 1.0], label=number > 20)
            except NotLearnedTogether:
                failed.append(each)
        assert len(failed) in (0, 2)

    assert through.learner.canonical() == stopped.learner.canonical()
    assert through.learner.learned > 0
