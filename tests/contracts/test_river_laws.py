"""River's own laws of estimators, for the kinds that learners are made of: what River promises, its version here keeps.

River's datasets need scikit-learn; the laws are asked of examples as our encoder makes them instead. A law that a kind
of River breaks upstream is named here, with what that means for us.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from river import anomaly, base, ensemble, forest, linear_model, naive_bayes, preprocessing, tree
from river.checks import clf, common

from online_models.learners.estimators import seed
from tests.contracts.model_contract import encoder, examples

KINDS: dict[str, Callable[[], Any]] = {
    "linear": lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression(),
    "naive_bayes": naive_bayes.GaussianNB,
    "tree": lambda: tree.HoeffdingTreeClassifier(grace_period=50),
    "forest": lambda: forest.ARFClassifier(n_models=3),
    "anomaly": lambda: anomaly.HalfSpaceTrees(n_trees=3, height=4, window_size=40),
    "ensemble": lambda: ensemble.SRPClassifier(n_models=3),
    "regressor": lambda: preprocessing.StandardScaler() | linear_model.LinearRegression(),
    "tree_regressor": lambda: tree.HoeffdingTreeRegressor(grace_period=50),
}
LAWS: tuple[Callable[..., None], ...] = (
    common.check_learn_one,
    common.check_pickling,
    common.check_shuffle_features_no_impact,
    common.check_emerging_features,
    common.check_disappearing_features,
    common.check_radically_disappearing_features,
    common.check_predict_one_pure,
    common.check_predict_one_before_any_learn,
    common.check_no_state_aliasing_with_input,
    common.check_clone_is_independent,
    common.check_seeding_is_idempotent,
)
BOUNDED: Callable[..., None] = common.check_bounded_memory_growth
PROBABLE: Callable[..., None] = clf.check_predict_proba_one
COMPLETE: Callable[..., None] = clf.check_classifier_tracks_seen_labels
BROKEN_BY_RIVER = {("ensemble", common.check_shuffle_features_no_impact)}
"""Random patches are drawn from the features in the order in which they come: ours come in the order of the vector."""


def built(kind: str) -> Any:
    estimator = KINDS[kind]()
    seed(estimator)
    return estimator


def stream(estimator: object, n: int = 100) -> list[tuple[dict[str, float], Any]]:
    """Return features and targets as an estimator of this kind learns them."""
    vectors, labels = examples(n)
    of_numbers = isinstance(estimator, base.Regressor)
    mapping = encoder().mapping
    return [
        (mapping(vector), float(label) if of_numbers else label) for vector, label in zip(vectors, labels, strict=True)
    ]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("kind", KINDS)
def test_a_law_of_river_holds(kind: str, law: Callable[..., None]) -> None:
    estimator = built(kind)

    if (kind, law) in BROKEN_BY_RIVER:
        with pytest.raises(AssertionError):
            law(estimator, stream(estimator, 300))
    else:
        law(estimator, stream(estimator))


@pytest.mark.parametrize("kind", ["linear", "naive_bayes", "anomaly", "regressor"])
def test_what_has_a_fixed_size_does_not_grow(kind: str) -> None:
    estimator = built(kind)

    BOUNDED(estimator, stream(estimator, 1_000))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if isinstance(KINDS[kind](), base.Classifier)])
def test_probabilities_are_probabilities(kind: str) -> None:
    estimator = built(kind)

    PROBABLE(estimator, stream(estimator))
    COMPLETE(built(kind), stream(estimator))
