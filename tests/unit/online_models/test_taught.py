"""A learner that is put back costs no more, however much it has learned and however often it fails."""

from __future__ import annotations

from typing import Any

import pytest
from river import linear_model

from definitions.declared import Input, LearnerDefinition
from definitions.encoder import Encoder
from definitions.errors import VectorError
from definitions.values import ValueType
from online_models.errors import LabelRefused
from online_models.learners import Cut
from online_models.learners.river import RiverLearner
from online_models.learners.taught import Taught

ENCODER = Encoder((Input("distance", ValueType.FLOAT),))
BAD = 13.0
LEARNED: list[float] = []
"""Every call of `learn_one`, of whichever estimator."""


class Failing(linear_model.LogisticRegression):
    """Learns, and only then finds that it may not."""

    def learn_one(self, x: Any, y: Any, w: float = 1.0) -> None:
        LEARNED.append(x["distance"])
        super().learn_one(x, y, w)
        if x["distance"] == BAD:
            raise ZeroDivisionError("this distance")


DEFINITION = LearnerDefinition("online", "river", Failing)


def fed(distances: list[float]) -> Taught:
    """Return a learner of the distances, those that it cannot learn left out by itself."""
    taught = Taught(DEFINITION, ENCODER)
    for distance in distances:
        if distance == BAD:
            with pytest.raises(ZeroDivisionError):
                taught.test_then_train([distance], label=True)
        else:
            taught.test_then_train([distance], distance > 5)
    return taught


def test_what_cannot_be_learned_to_the_end_was_never_there() -> None:
    good = [1.0, 2.0, 9.0, 3.0, 8.0]
    broken = fed([BAD, 1.0, 2.0, BAD, BAD, 9.0, 3.0, BAD, 8.0, BAD])

    assert broken.learner.canonical() == fed(good).learner.canonical()
    assert broken.learner.learned == len(good)


def test_no_example_is_learned_again_more_than_once() -> None:
    """Every other one fails: without a state kept in between, the work would grow with the square."""
    LEARNED.clear()

    fed([float(number % 10) if number % 2 else BAD for number in range(400)])

    assert LEARNED.count(BAD) == 200
    assert len(LEARNED) <= 2 * 200 + 200


def test_what_is_refused_is_not_put_back() -> None:
    taught = fed([1.0, 9.0])
    LEARNED.clear()

    for vector, label, refusal in (([float("nan")], True, VectorError), ([1.0], "yes", LabelRefused)):
        with pytest.raises(refusal):
            taught.test_then_train(vector, label)

    assert LEARNED == []


def test_a_snapshot_takes_the_place_of_what_is_in_memory() -> None:
    taught = fed([1.0, 9.0, 2.0])
    assert taught.since == 3

    data = taught.snapshot(Cut(0, 3))

    assert taught.since == 0
    twin = Taught(DEFINITION, ENCODER, (data, taught.learner.digest))
    assert twin.learner.canonical() == taught.learner.canonical()
    assert twin.cut == Cut(0, 3)


class Greedy(linear_model.LogisticRegression):
    """Eats up the features that it is asked about."""

    def predict_proba_one(self, x: Any, **kwargs: Any) -> Any:
        found = super().predict_proba_one(x, **kwargs)  # type: ignore[no-untyped-call]  # River's
        x.clear()
        return found


@pytest.mark.parametrize("factory", [linear_model.LogisticRegression, Greedy])
def test_testing_and_training_in_one_is_scoring_and_then_learning(factory: Any) -> None:
    definition = LearnerDefinition("online", "river", factory)
    once, twice = RiverLearner(definition, ENCODER), RiverLearner(definition, ENCODER)

    for number in range(50):
        vector, label = [float(number * 7 % 11)], number % 3 == 0
        [score] = twice.score_many([vector])
        twice.learn_one(vector, label)

        assert once.test_then_train(vector, label) == score

    assert once.canonical() == twice.canonical()
    assert once.learned == 50
