"""Boosted trees have one meaning: to the bit XGBoost's margins, and one score of a row, however many come with it."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import xgboost
from hypothesis import example, given, settings
from hypothesis import strategies as st

from online_models.learners.xgboost import LINKS, Floats, evaluators
from tests.boosters import CODES, Shape, reloaded, rows_that_meet, scorer_of, trained

EXAMPLES = 25

shapes = st.builds(
    Shape,
    numbers=st.integers(1, 6),
    categories=st.integers(0, 3),
    rounds=st.integers(1, 40),
    depth=st.integers(1, 8),
    objective=st.sampled_from(["binary:logistic", "reg:squarederror", "reg:pseudohubererror", "binary:logitraw"]),
    seed=st.integers(0, 2**32 - 1),
    more=st.fixed_dictionaries(
        {},
        optional={
            "max_cat_to_onehot": st.sampled_from([1, 4, 100]),
            "grow_policy": st.just("lossguide"),
            "gamma": st.sampled_from([0.1, 100.0]),
            "num_parallel_tree": st.just(3),
            "base_score": st.sampled_from([0.001, 0.3, 0.999]),
        },
    ),
)
seeds = st.integers(0, 2**32 - 1)


def bits(scores: Floats) -> bytes:
    assert scores.dtype == np.float32
    return scores.tobytes()


@settings(max_examples=EXAMPLES, deadline=None)
@given(shape=shapes, rows=st.integers(1, 300), seed=seeds)
@example(shape=Shape(numbers=4, categories=0, rounds=1), rows=18, seed=0)  # a base of -0.0 and a leaf that is one, too
def test_margins_are_those_of_xgboost(shape: Shape, rows: int, seed: int) -> None:
    booster = reloaded(trained(shape))
    matrix = rows_that_meet(booster, shape, rows, seed)

    found = evaluators(booster)

    assert found is not None
    assert found.trees is not None
    kinds = ["q"] * shape.numbers + ["c"] * shape.categories
    expected = booster.predict(
        xgboost.DMatrix(matrix, feature_types=kinds, enable_categorical=True), output_margin=True
    )
    assert bits(expected) == bits(found.trees.margins(matrix))


@settings(max_examples=EXAMPLES, deadline=None)
@given(shape=shapes, seed=seeds)
def test_infinities_and_codes_that_nobody_knows_go_where_xgboost_sends_them(shape: Shape, seed: int) -> None:
    booster, chance = reloaded(trained(shape)), np.random.default_rng(seed)
    matrix = rows_that_meet(booster, shape, 64, seed)
    strange = chance.random(matrix.shape) < 0.3
    matrix[strange] = chance.choice([np.inf, -np.inf, np.nan, CODES, 1e9, 3e38, -3e38, -0.0], size=int(strange.sum()))
    codes = matrix[:, shape.numbers :]
    codes[np.isinf(codes) | (codes < 0)] = CODES + 1

    found = evaluators(booster)

    assert found is not None
    assert found.trees is not None
    assert bits(booster.inplace_predict(matrix, predict_type="margin")) == bits(found.trees.margins(matrix))


@settings(max_examples=EXAMPLES, deadline=None)
@given(shape=shapes, rows=st.integers(1, 2_000), cuts=st.lists(st.integers(0, 2_000), max_size=12), seed=seeds)
def test_a_score_does_not_depend_on_how_many_are_scored_at_once(
    shape: Shape, rows: int, cuts: list[int], seed: int
) -> None:
    booster = trained(shape)
    scorer, matrix = scorer_of(shape, booster), rows_that_meet(booster, shape, rows, seed)
    bounds = [0, *sorted(min(cut, rows) for cut in cuts), rows]

    whole = scorer.score_matrix(matrix)

    parts = [scorer.score_matrix(matrix[begin:end]) for begin, end in pairwise(bounds) if begin < end]
    alone = [scorer.score_matrix(matrix[row : row + 1]) for row in range(0, rows, 1 + rows // 50)]
    assert bits(whole) == b"".join(map(bits, parts))
    assert bits(whole[:: 1 + rows // 50]) == b"".join(map(bits, alone))


@settings(max_examples=EXAMPLES, deadline=None)
@given(shape=shapes, rows=st.integers(1, 200), seed=seeds)
def test_vectors_score_as_their_matrix_does(shape: Shape, rows: int, seed: int) -> None:
    booster = trained(shape)
    scorer, matrix = scorer_of(shape, booster), rows_that_meet(booster, shape, rows, seed)
    vectors = [
        [
            None if np.isnan(value) else f"{int(value):02}" if place >= shape.numbers else value
            for place, value in enumerate(row)
        ]
        for row in matrix.tolist()
    ]

    scores = scorer.score_many(vectors)

    assert scores == scorer.score_matrix(matrix).tolist() == [scorer.score_many([each])[0] for each in vectors]


@given(margins=st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=70), begin=st.integers(0, 7))
def test_a_probability_is_that_of_its_margin_alone(margins: list[float], begin: int) -> None:
    """Whatever lies beside it in memory, and wherever: vector instructions take several at once."""
    padded = np.array([0.0] * begin + margins, dtype=np.float32)

    for link in set(LINKS.values()):
        together = link(padded[begin:])

        assert bits(together) == b"".join(bits(link(np.array([each], dtype=np.float32))) for each in margins)
        assert not np.isnan(together).any()
