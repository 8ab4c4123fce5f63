"""Every kind of learner keeps the laws of `tests.contracts.model_contract`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest
import xgboost
from river import forest, linear_model, naive_bayes, preprocessing, tree

from definitions.declared import LearnerDefinition
from online_models.learners import Cut, OnlineLearner, Scorer
from online_models.learners.river import RiverLearner
from online_models.learners.xgboost import XGBoostScorer
from tests.contracts.model_contract import INPUTS, OnlineLearnerLaws, ScorerLaws, encoder, examples


class RiverLaws(OnlineLearnerLaws):
    factory: Callable[[], object]

    def definition(self) -> LearnerDefinition:
        return LearnerDefinition("online", "river", factory=type(self).factory)

    def fresh(self) -> OnlineLearner:
        return RiverLearner(self.definition(), encoder())

    def restored(self, data: bytes, digest: str) -> tuple[OnlineLearner, Cut]:
        return RiverLearner.restore(self.definition(), encoder(), data=data, digest=digest)


class TestScaledLogisticRegression(RiverLaws):
    factory = staticmethod(lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression())


class TestHoeffdingTree(RiverLaws):
    factory = staticmethod(lambda: tree.HoeffdingTreeClassifier(grace_period=50))


class TestNaiveBayes(RiverLaws):
    factory = staticmethod(naive_bayes.GaussianNB)


class TestAdaptiveRandomForest(RiverLaws):
    factory = staticmethod(lambda: forest.ARFClassifier(n_models=3, seed=1))


class TestScaledLinearRegression(RiverLaws):
    labels_are_numbers = True
    factory = staticmethod(lambda: preprocessing.StandardScaler() | linear_model.LinearRegression())


class TestXGBoost(ScorerLaws):
    @pytest.fixture
    def scorer(self) -> Scorer:
        vectors, labels = examples(500)
        kinds = ["q", "q", "q", "c"]
        matrix = xgboost.DMatrix(encoder().matrix(vectors), labels, feature_types=kinds, enable_categorical=True)
        booster = xgboost.train({"objective": "binary:logistic", "max_depth": 3, "nthread": 1}, matrix, 20)
        data = bytes(booster.save_raw("ubj"))
        assert len(INPUTS) == booster.num_features()
        return XGBoostScorer("offline", encoder(), data=data, digest=hashlib.sha256(data).hexdigest())
