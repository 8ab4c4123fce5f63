"""Which boosters become arrays, when they are asked, and what is left to XGBoost."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import xgboost

from online_models.learners import tree_arrays, ubj
from online_models.learners import xgboost as offline
from online_models.learners.tree_arrays import NotArrays
from online_models.learners.xgboost import MOST_STEPS, Evaluators, XGBoostScorer, evaluators
from tests.boosters import Shape, reloaded, rows_that_meet, scorer_of, trained

SHAPE = Shape()


def model(shape: Shape = SHAPE) -> Any:
    return ubj.decoded(bytes(trained(shape).save_raw("ubj")))


def found(shape: Shape) -> Evaluators:
    evaluated = evaluators(reloaded(trained(shape)))
    assert evaluated is not None
    return evaluated


def test_the_trees_of_a_booster_become_arrays() -> None:
    trees = found(SHAPE).trees

    assert trees is not None
    assert (trees.trees, trees.depth, trees.columns) == (5, 3, 4)
    assert trees.nodes.nbytes == 16 * len(trees.nodes)


@pytest.mark.parametrize(
    ("shape", "link"),
    [
        (Shape(objective="count:poisson", more={"base_score": 1.0}), None),
        (Shape(objective="multi:softprob", more={"num_class": 3}), None),
        (Shape(objective="binary:hinge"), None),
        (Shape(more={"booster": "dart"}), None),
        (Shape(categories=0, more={"booster": "gblinear", "updater": "coord_descent"}, depth=0), None),
    ],
    ids=lambda each: each.objective if isinstance(each, Shape) else "",
)
def test_what_arrays_or_links_cannot_say_is_asked_as_before(shape: Shape, link: None) -> None:
    given = {key: value for key, value in shape.more.items() if key != "updater"}
    if given.get("booster") == "gblinear":
        data = xgboost.DMatrix(np.zeros((10, 3), np.float32), np.arange(10) % 2)
        booster = xgboost.train({"booster": "gblinear", "objective": shape.objective}, data, 2)
    else:
        booster = trained(replace(shape, more=given))

    assert evaluators(reloaded(booster)) is link


def test_such_a_booster_s_scores_are_xgboost_s_own() -> None:
    shape = Shape(objective="count:poisson")
    booster = trained(shape)
    matrix = rows_that_meet(booster, shape, 20, 1)

    scores = scorer_of(shape, booster).score_matrix(matrix)

    assert scores.tobytes() == reloaded(booster).inplace_predict(matrix).tobytes()


def test_a_probability_is_xgboost_s_but_for_the_last_bits() -> None:
    booster = trained(SHAPE)
    matrix = rows_that_meet(booster, SHAPE, 2_000, 1)

    scores, theirs = scorer_of(SHAPE, booster).score_matrix(matrix), reloaded(booster).inplace_predict(matrix)

    assert np.abs(scores.view(np.int32) - theirs.view(np.int32)).max() <= 2


def test_no_probability_is_beyond_what_xgboost_gives() -> None:
    extremes = offline.probability(np.array([-3e38, -100.0, 0.0, 100.0, 3e38], np.float32))

    assert 0 < extremes[0] == extremes[1] < 1e-38
    assert extremes[2:].tolist() == [0.5, 1.0, 1.0]


def test_a_trunk_without_branches_is_a_booster_too() -> None:
    shape = Shape(more={"gamma": 1e9})
    booster = trained(shape)
    matrix = rows_that_meet(booster, shape, 3, 1)
    evaluated = found(shape)

    assert evaluated.trees is not None
    assert evaluated.trees.depth == 0
    assert len(set(scorer_of(shape, booster).score_matrix(matrix).tolist())) == 1


def test_arrays_are_asked_for_no_more_steps_than_pay() -> None:
    evaluated = found(Shape(rounds=40, depth=4))

    assert evaluated.trees is not None
    assert evaluated.most_rows == MOST_STEPS // (40 * evaluated.trees.depth)
    assert replace(evaluated, trees=None).most_rows == 0


def test_arrays_that_say_something_else_than_xgboost_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offline, "_base", lambda _: np.float32(0.25))

    evaluated = found(Shape(more={"base_score": 0.3}))

    assert evaluated.trees is None
    assert evaluated.most_rows == 0


def test_a_score_does_not_depend_on_whether_there_are_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    booster = trained(SHAPE)
    matrix = rows_that_meet(booster, SHAPE, 50, 1)
    with_arrays = scorer_of(SHAPE, booster).score_matrix(matrix)

    monkeypatch.setattr(offline, "MOST_STEPS", 0)

    assert with_arrays.tobytes() == scorer_of(SHAPE, booster).score_matrix(matrix).tobytes()


def test_a_matrix_of_no_rows_has_no_scores() -> None:
    assert scorer_of(SHAPE, trained(SHAPE)).score_matrix(np.empty((0, 4), np.float32)).shape == (0,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"split_conditions": [np.inf], "split_type": [0]}, "finite"),
        ({"left_children": [0], "right_children": [0]}, "two parents"),
    ],
)
def test_trees_that_the_arrays_cannot_hold_are_refused(change: dict[str, list[float]], message: str) -> None:
    given = model(Shape(rounds=1, categories=0))
    tree = given["learner"]["gradient_booster"]["model"]["trees"][0]
    for name, values in change.items():
        numbers = ubj.numbers([tree[name]])
        numbers[: len(values)] = values
        tree[name] = ubj.Packed(tree[name].kind, numbers.astype(numbers.dtype.newbyteorder(">")).tobytes())

    with pytest.raises(NotArrays, match=message):
        tree_arrays.tree_arrays(given, np.float32(0))


def test_trees_that_are_too_deep_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree_arrays, "MOST_DEPTH", 2)

    with pytest.raises(NotArrays, match="at most 2 levels"):
        tree_arrays.tree_arrays(model(), np.float32(0))


def test_categories_that_take_too_much_memory_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree_arrays, "MOST_TABLE", 10)

    with pytest.raises(NotArrays, match="within 10 bytes"):
        tree_arrays.tree_arrays(model(Shape(numbers=1, categories=3)), np.float32(0))


def test_a_model_that_is_none_is_refused() -> None:
    nothings: list[Any] = [{}, {"learner": {}}, {"learner": []}]
    for nothing in nothings:
        with pytest.raises(NotArrays, match="expected the model of a booster"):
            tree_arrays.tree_arrays(nothing, np.float32(0))
        with pytest.raises(NotArrays, match="expected the model of a booster"):
            tree_arrays.without_trees(nothing)


def test_a_release_s_bytes_of_another_digest_are_refused_as_before() -> None:
    data = bytes(trained(SHAPE).save_raw("ubj"))

    with pytest.raises(Exception, match="expected its own digest"):
        XGBoostScorer("offline", SHAPE.encoder, data=data + b"x", digest=hashlib.sha256(data).hexdigest())
