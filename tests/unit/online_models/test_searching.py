"""Successive halving on a stream: the same winner every time, near the best there is, at a fraction of the work."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from typing import Any

import pytest
from river import linear_model, optim, preprocessing

import headrace as hr
from definitions.encoder import Encoder
from definitions.errors import DefinitionError
from definitions.values import Value
from online_models.errors import LearnerUnusable
from online_models.learners import Cut
from online_models.learners.river import RiverLearner
from online_models.progress import log_loss_one
from online_models.searching import HalvingClassifier, HalvingRegressor, Standing, first_rung, rungs, searched
from tests.builders import request_input

RATES = (0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003, 0.0001)
PENALTIES = (0.0, 1e-4, 1e-3, 1e-2)
GRID = {"lr": RATES, "l2": PENALTIES}
SETTINGS: list[dict[str, Any]] = [{"lr": lr, "l2": l2} for lr in RATES for l2 in PENALTIES]
EXAMPLES = 6_000
ENCODER = Encoder((request_input("a"), request_input("b")))


def build(lr: float, l2: float) -> Any:
    """Return a fresh classifier."""
    return preprocessing.StandardScaler() | linear_model.LogisticRegression(optimizer=optim.SGD(lr), l2=l2)


def stream(n: int = EXAMPLES, seed: int = 1) -> Iterator[tuple[list[Value], bool]]:
    """Yield vectors and labels of a truth that is linear in log-odds."""
    chance = random.Random(seed)
    for _ in range(n):
        a, b = chance.gauss(0, 3), chance.gauss(5, 1)
        yield [a, b], chance.random() < 1 / (1 + math.exp(-(a / 3 - 2 * (b - 5))))


def learner(examples: int = EXAMPLES, **keywords: Any) -> RiverLearner:
    """Return a learner that searches."""
    return RiverLearner(hr.search(build, GRID, examples=examples, **keywords).definition("online"), ENCODER)


def standing(given: RiverLearner) -> Standing:
    estimator = given._estimator
    assert isinstance(estimator, HalvingClassifier | HalvingRegressor)
    return estimator.standing


def exhaustive_losses() -> list[float]:
    """Let every setting learn everything; return the mean loss of each, test then train."""
    losses = []
    for setting in SETTINGS:
        model, loss = build(**setting), 0.0
        for (a, b), label in stream():
            features = {"a": a, "b": b}
            loss += log_loss_one(model.predict_proba_one(features).get(True, 0.0), label)
            model.learn_one(features, label)
        losses.append(loss / EXAMPLES)
    return losses


def test_the_winner_is_within_a_percent_of_the_best_at_a_quarter_of_the_work() -> None:
    search = learner()
    for vector, label in stream():
        search.learn_one(vector, label)
    found = standing(search)

    losses = exhaustive_losses()

    assert (found.settings, found.is_over, found.learned) == (32, True, EXAMPLES)
    assert losses[SETTINGS.index(found.leader)] <= 1.01 * min(losses)
    assert max(losses) > 1.2 * min(losses)
    assert found.work <= 0.25 * EXAMPLES * 32
    assert found.work_ratio == found.work / (EXAMPLES * 32)


def test_a_search_that_was_saved_and_restored_at_any_time_ends_as_one_that_was_not() -> None:
    smooth, killed = learner(600), learner(600)
    definition = hr.search(build, GRID, examples=600).definition("online")
    for number, (vector, label) in enumerate(stream(700)):
        smooth.learn_one(vector, label)
        killed.learn_one(vector, label)
        if number % 97 == 0:
            data = killed.snapshot(Cut(0, number, {}))
            killed, _ = RiverLearner.restore(definition, ENCODER, data=data, digest=killed.digest)

    assert standing(killed) == standing(smooth)
    assert standing(killed).is_over
    assert killed.score_many([[1.0, 2.0]]) == smooth.score_many([[1.0, 2.0]])


def test_rungs_double_and_the_worse_half_gives_up_at_the_end_of_each() -> None:
    search, alive = learner(31 * 4), []
    for vector, label in stream(31 * 4 + 9):
        search.learn_one(vector, label)
        alive.append(standing(search).alive)

    ends = [number + 1 for number in range(1, len(alive)) if alive[number] != alive[number - 1]]
    assert ends == [4, 12, 28, 60, 124]
    assert [alive[end - 1] for end in ends] == [16, 8, 4, 2, 1]
    assert standing(search).work == 4 * 32 + 8 * 16 + 16 * 8 + 32 * 4 + 64 * 2 + 9


@pytest.mark.parametrize("settings", [2, 3, 5, 17, 32, 33])
def test_any_number_of_settings_ends_with_one_within_its_examples(settings: int) -> None:
    models = [build(0.1, 0.0) for _ in range(settings)]
    search = searched(models, SETTINGS[:settings] + [{}] * (settings - 32), 200)
    for (a, b), label in stream(200):
        search.learn_one({"a": a, "b": b}, label)

    assert search.standing.is_over
    assert search.leader == 0  # all did equally well: the first declared stays
    assert sum(first_rung(settings, 200) << rung for rung in range(rungs(settings))) <= 200


def test_regressors_are_compared_by_squared_error() -> None:
    models = [linear_model.LinearRegression(optimizer=optim.SGD(lr)) for lr in (1e-6, 0.01)]
    search = searched(models, [{"lr": 1e-6}, {"lr": 0.01}], 100)
    chance = random.Random(1)
    for _ in range(120):
        a = chance.gauss(0, 1)
        search.learn_one({"a": a}, 3 * a)

    assert search.standing.leader == {"lr": 0.01}
    assert search.standing.loss is not None
    assert isinstance(search, HalvingRegressor)
    assert search.predict_one({"a": 2.0}) == pytest.approx(6.0, abs=1.5)


def test_a_setting_whose_loss_is_no_number_gives_up_first() -> None:
    models = [linear_model.LinearRegression(optimizer=optim.SGD(lr), clip_gradient=1e300) for lr in (1e200, 0.01)]
    search = searched(models, [{"lr": 1e200}, {"lr": 0.01}], 30)
    for number in range(40):
        search.learn_one({"a": float(number % 5)}, float(number % 5))

    assert search.standing.leader == {"lr": 0.01}


def test_settings_may_be_drawn_the_same_ones_every_time() -> None:
    one, same, other = (standing(learner(settings=16, seed=seed)) for seed in (1, 1, 2))

    assert one.settings == 16
    assert one == same
    assert _drawn(1) == _drawn(1) != _drawn(2)
    assert other.settings == 16


def _drawn(seed: int) -> object:
    return learner(settings=16, seed=seed)._estimator.settings


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"build": 1}, "expected a function that builds an estimator, got 1"),
        ({"grid": {}}, "expected a grid of values by name"),
        ({"grid": {"lr": 0.1}}, "expected values of lr to be numbers, texts, bools or None"),
        ({"grid": {"lr": "abc"}}, "expected values of lr to be numbers"),
        ({"grid": {"lr": (0.1,)}}, "expected 2 to 256 settings, got 1"),
        ({"grid": {"lr": range(300)}}, "expected 2 to 256 settings, got 300; give settings="),
        ({"examples": 0}, "expected examples= to be a whole number from 1 on"),
        ({"settings": 1.5}, "expected settings= to be a whole number from 1 on"),
    ],
)
def test_a_wrong_search_is_refused(changes: dict[str, Any], text: str) -> None:
    given = {"build": build, "grid": GRID, "examples": EXAMPLES, **changes}
    with pytest.raises(DefinitionError) as refused:
        hr.search(given.pop("build"), given.pop("grid"), **given)

    assert text in str(refused.value)


def test_what_cannot_be_searched_among_is_refused_when_it_is_built() -> None:
    with pytest.raises(LearnerUnusable, match="got LinearRegression, LogisticRegression"):
        searched([linear_model.LinearRegression(), linear_model.LogisticRegression()], [{}, {}], 100)
    with pytest.raises(LearnerUnusable, match="examples=31 or more, got examples=30"):
        searched([build(0.1, 0.0) for _ in range(32)], SETTINGS, 30)
