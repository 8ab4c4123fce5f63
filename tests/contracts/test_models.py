"""Every kind of learner keeps the laws of `tests.contracts.model_contract`."""

from __future__ import annotations

import asyncio
import hashlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import pytest
import xgboost
from river import anomaly, forest, linear_model, naive_bayes, optim, preprocessing, tree
from river import ensemble as ensemble_of

from agents.ask_remotes import RemoteAsker
from agents.metrics import Metrics
from definitions.declared import LearnerDefinition, RouteDefinition
from definitions.encoder import Vector
from definitions.learners import ensemble, open_inference, python, tensorflow_serving
from definitions.values import Scalar
from online_models.learners import Cut, OnlineLearner, Remote, Scorer
from online_models.learners.combining import Combined, Ensemble
from online_models.learners.describing import describe
from online_models.learners.onnx import OnnxScorer
from online_models.learners.python import PythonScorer
from online_models.learners.remote.open_inference import OpenInference
from online_models.learners.remote.tensorflow_serving import TensorFlowServing
from online_models.learners.restoring import LineUp
from online_models.learners.river import RiverLearner
from online_models.learners.xgboost import XGBoostScorer
from online_models.searching import searched
from online_models.snapshots import digest_of
from online_models.turns import Turn
from tests.contracts.model_contract import INPUTS, OnlineLearnerLaws, ScorerLaws, encoder, examples
from tests.inference_servers import Row, inference_server
from tests.onnx_graphs import matrix_graph, named_graph


class RiverLaws(OnlineLearnerLaws):
    factory: Callable[[], object]
    parameters: ClassVar[dict[str, Scalar]] = {}

    def definition(self) -> LearnerDefinition:
        return LearnerDefinition("online", "river", type(self).factory, self.parameters)

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
    factory = staticmethod(lambda: forest.ARFClassifier(n_models=3))


class TestMondrianForest(RiverLaws):
    factory = staticmethod(lambda: forest.AMFClassifier(n_estimators=3))


class TestHoeffdingAdaptiveTree(RiverLaws):
    factory = staticmethod(lambda: tree.HoeffdingAdaptiveTreeClassifier(grace_period=50))


class TestLeveragingBagging(RiverLaws):
    factory = staticmethod(
        lambda: ensemble_of.LeveragingBaggingClassifier(linear_model.LogisticRegression(), n_models=3)
    )


class TestStreamingRandomPatches(RiverLaws):
    factory = staticmethod(lambda: ensemble_of.SRPClassifier(n_models=3))


class TestHalfSpaceTrees(RiverLaws):
    factory = staticmethod(
        lambda: preprocessing.MinMaxScaler() | anomaly.HalfSpaceTrees(n_trees=5, height=4, window_size=50)
    )


class TestOneClassSupportVectors(RiverLaws):
    factory = staticmethod(lambda: preprocessing.StandardScaler() | anomaly.OneClassSVM())


class TestHoeffdingTreeRegressor(RiverLaws):
    labels_are_numbers = True
    factory = staticmethod(lambda: tree.HoeffdingTreeRegressor(grace_period=50))


class TestForestRegressor(RiverLaws):
    labels_are_numbers = True
    factory = staticmethod(lambda: forest.ARFRegressor(n_models=3))


class TestBalancedLogisticRegression(RiverLaws):
    parameters: ClassVar[dict[str, Scalar]] = {"balance": "labels"}
    factory = staticmethod(lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression())


def _search(build: Callable[..., Any], examples: int) -> object:
    settings = [{"rate": rate} for rate in (0.3, 0.1, 0.01, 0.001)]
    return searched([build(**each) for each in settings], settings, examples)


class TestSearchThatIsOver(RiverLaws):
    factory = staticmethod(
        lambda: _search(
            lambda rate: preprocessing.StandardScaler() | linear_model.LogisticRegression(optim.SGD(rate)), 100
        )
    )


class TestSearchThatGoesOn(RiverLaws):
    factory = staticmethod(
        lambda: _search(
            lambda rate: preprocessing.StandardScaler() | linear_model.LogisticRegression(optim.SGD(rate)), 10_000
        )
    )


class TestSearchAmongRegressors(RiverLaws):
    labels_are_numbers = True
    factory = staticmethod(
        lambda: _search(
            lambda rate: preprocessing.StandardScaler() | linear_model.LinearRegression(optim.SGD(rate)), 250
        )
    )


class TestMiniBatches(RiverLaws):
    parameters: ClassVar[dict[str, Scalar]] = {"many": 25}
    factory = staticmethod(lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression())


class TestMiniBatchesOfNaiveBayes(RiverLaws):
    parameters: ClassVar[dict[str, Scalar]] = {"many": 40}
    factory = staticmethod(naive_bayes.GaussianNB)


class TestMiniBatchesOfRegression(RiverLaws):
    labels_are_numbers = True
    parameters: ClassVar[dict[str, Scalar]] = {"many": 25}
    factory = staticmethod(lambda: preprocessing.StandardScaler() | linear_model.LinearRegression())


class TestScaledLinearRegression(RiverLaws):
    labels_are_numbers = True
    factory = staticmethod(lambda: preprocessing.StandardScaler() | linear_model.LinearRegression())


def booster() -> XGBoostScorer:
    vectors, labels = examples(500)
    kinds = ["q", "q", "q", "c"]
    matrix = xgboost.DMatrix(encoder().matrix(vectors), labels, feature_types=kinds, enable_categorical=True)
    trained = xgboost.train({"objective": "binary:logistic", "max_depth": 3, "nthread": 1}, matrix, 20)
    data = bytes(trained.save_raw("ubj"))
    assert len(INPUTS) == trained.num_features()
    return XGBoostScorer("offline", encoder(), data=data, digest=hashlib.sha256(data).hexdigest())


class TestXGBoost(ScorerLaws):
    @pytest.fixture
    def scorer(self) -> Scorer:
        return booster()


def late_by_row(row: Mapping[str, Any]) -> float:
    """Return a score that every value has a part in."""
    return 1 / (1 + math.exp(-(row["delay"] or 0.0) - 0.01 * (row["flights"] or 0) - (row["carrier"] == "UA")))


def late_by_columns(columns: Mapping[str, Sequence[Any]]) -> list[float]:
    names = list(columns)
    return [late_by_row(dict(zip(names, row, strict=True))) for row in zip(*columns.values(), strict=True)]


def function(of: Callable[..., object], on: str = "rows") -> PythonScorer:
    definition = python(of, on=on).definition("rule")
    data = describe(definition)
    return PythonScorer(definition, encoder(), data=data, digest=digest_of(data))


class TestFunctionOfARow(ScorerLaws):
    @pytest.fixture
    def scorer(self) -> Scorer:
        return function(late_by_row)


class TestFunctionOfColumns(ScorerLaws):
    @pytest.fixture
    def scorer(self) -> Scorer:
        return function(late_by_columns, "columns")


class OnnxLaws(ScorerLaws):
    def graph(self) -> bytes:
        raise NotImplementedError

    @pytest.fixture
    def scorer(self) -> Scorer:
        definition = LearnerDefinition("net", "onnx", parameters={"output": ""})
        data = self.graph()
        return OnnxScorer(definition, encoder(), data=data, digest=digest_of(data))


class TestOnnxOnTheMatrix(OnnxLaws):
    def graph(self) -> bytes:
        return matrix_graph(len(INPUTS))


class TestOnnxWithTwoClasses(OnnxLaws):
    def graph(self) -> bytes:
        return matrix_graph(len(INPUTS), columns=2)


class TestOnnxByName(OnnxLaws):
    def graph(self) -> bytes:
        return named_graph()


class EnsembleLaws(ScorerLaws):
    by: str

    @pytest.fixture
    def scorer(self) -> Scorer:
        definition = ensemble("offline", "rule", weights=(2, 1), by=self.by).definition("both")
        data = describe(definition)
        combiner = Ensemble(definition, data=data, digest=digest_of(data))
        return Combined(combiner, {"offline": booster(), "rule": function(late_by_row)})


class TestMeanOfScores(EnsembleLaws):
    by = "mean"


class TestMeanOfLogOdds(EnsembleLaws):
    by = "logit"


class Asked:
    """A remote learner as a scorer: asked as agents ask it, of vectors checked as the executor checks them."""

    def __init__(self, remote: Remote) -> None:
        self.name, self.digest = remote.name, remote.digest
        self._line_up = LineUp(remotes={remote.name: remote})
        self._asker = RemoteAsker("late", Metrics("demo"), lambda: time.perf_counter() * 1_000)
        self._runner = asyncio.Runner()

    def score_many(self, vectors: Sequence[Vector]) -> list[float]:
        for vector in vectors:
            encoder().check(vector)
        turn = Turn(RouteDefinition(self.name), self._line_up, vectors, (), {})
        self._runner.run(self._asker.ask(turn, turn.calls(), left_ms=20_000.0))
        answers = turn.answer()
        assert [each.message for each in answers if each.score is None] == []
        return [each.score for each in answers if each.score is not None]

    def close(self) -> None:
        self._runner.run(self._asker.close())
        self._runner.close()


def late_on_a_server(row: Row) -> float:
    given = list(row.values()) if isinstance(row, Mapping) else list(row)
    numbers = [len(each) if isinstance(each, str) else each for each in given]
    return 1 / (1 + math.exp(-sum(numbers) / 50))


class RemoteLaws(ScorerLaws):
    on: str

    def remote(self, url: str) -> Remote:
        raise NotImplementedError

    @pytest.fixture
    def scorer(self) -> Iterator[Scorer]:
        with inference_server(late_on_a_server) as server:
            asked = Asked(self.remote(server.url))
            yield asked
            asked.close()


class OpenInferenceLaws(RemoteLaws):
    def remote(self, url: str) -> Remote:
        definition = open_inference(url, model="late", missing=-1.0, on=self.on, timeout="20s").definition("far")
        data = describe(definition)
        return OpenInference(definition, encoder(), data=data, digest=digest_of(data))


class TestOpenInferenceOnTheMatrix(OpenInferenceLaws):
    on = "matrix"


class TestOpenInferenceByName(OpenInferenceLaws):
    on = "columns"


class TensorFlowServingLaws(RemoteLaws):
    def remote(self, url: str) -> Remote:
        definition = tensorflow_serving(url, model="late", missing=-1.0, on=self.on, timeout="20s").definition("far")
        data = describe(definition)
        return TensorFlowServing(definition, encoder(), data=data, digest=digest_of(data))


class TestTensorFlowServingOnTheMatrix(TensorFlowServingLaws):
    on = "matrix"


class TestTensorFlowServingByName(TensorFlowServingLaws):
    on = "columns"
