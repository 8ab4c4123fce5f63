"""What each kind of learner refuses to load, and how it fails when it is asked: with an error, never with a score."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from definitions.declared import Input, LearnerDefinition
from definitions.encoder import Encoder
from definitions.learners import ensemble, open_inference, python, tensorflow_serving
from definitions.values import ValueType
from online_models.errors import AnswerUnreadable, ArtefactRefused, LearnerUnusable
from online_models.learners.combining import Ensemble
from online_models.learners.describing import describe
from online_models.learners.onnx import OnnxScorer
from online_models.learners.python import PythonScorer
from online_models.learners.remote.open_inference import OpenInference
from online_models.learners.remote.tensorflow_serving import TensorFlowServing
from online_models.learners.restoring import restore_scorer
from online_models.snapshots import digest_of
from tests.onnx_graphs import matrix_graph, named_graph

ENCODER = Encoder(
    (
        Input("distance", ValueType.FLOAT),
        Input("view.carrier", ValueType.CATEGORY),
        Input("state", ValueType.EMBEDDING, length=2),
    ),
    {"view.carrier": ("AA", "UA")},
)
VECTORS: list[Any] = [[1.5, "UA", [0.5, 0.25]], [None, None, None]]


def loaded(kind: Callable[..., Any], definition: LearnerDefinition, *, of: LearnerDefinition | None = None) -> Any:
    data = describe(of or definition)
    more = {} if kind is Ensemble else {"encoder": ENCODER}
    return kind(definition, data=data, digest=digest_of(data), **more)


def net(data: bytes, encoder: Encoder = ENCODER, **parameters: str) -> OnnxScorer:
    definition = LearnerDefinition("net", "onnx", parameters={"output": "", **parameters})
    return OnnxScorer(definition, encoder, data=data, digest=digest_of(data))


@pytest.mark.parametrize(
    ("kind", "declared", "other"),
    [
        (PythonScorer, python(lambda _: 1.0), python(lambda _: 2.0)),
        (Ensemble, ensemble("a", "b"), ensemble("a", "b", weights=(1, 2))),
        (
            OpenInference,
            open_inference("http://m", model="late", missing=0),
            open_inference("http://m", model="late", missing=1),
        ),
        (
            TensorFlowServing,
            tensorflow_serving("http://m", model="late", missing=0),
            tensorflow_serving("http://m", model="late", missing=0, version="2"),
        ),
    ],
    ids=["python", "ensemble", "open_inference", "tensorflow_serving"],
)
def test_another_learner_than_the_release_s_is_refused(kind: Any, declared: Any, other: Any) -> None:
    assert loaded(kind, declared.definition("x")).name == "x"
    with pytest.raises(ArtefactRefused, match="expected the x that is declared here, got another one"):
        loaded(kind, declared.definition("x"), of=other.definition("x"))


def test_bytes_that_are_not_what_the_digest_says_are_refused() -> None:
    definition = python(lambda _: 1.0).definition("rule")
    with pytest.raises(ArtefactRefused, match="expected its own digest"):
        PythonScorer(definition, ENCODER, data=describe(definition), digest="0" * 64)


@pytest.mark.parametrize("given", [None, "0.5", float("nan"), float("inf"), [0.5], 1j])
@pytest.mark.parametrize("on", ["rows", "columns"])
def test_a_function_that_gives_no_number_fails(given: Any, on: str) -> None:
    definition = LearnerDefinition(
        "rule", "python", parameters={"code": "", "on": on}, function=lambda _: given if on == "rows" else [given]
    )

    with pytest.raises(LearnerUnusable, match="cannot score: rule: expected a finite score, got "):
        loaded(PythonScorer, definition).score_many(VECTORS[:1])


@pytest.mark.parametrize("given", [None, 0.5, [], [0.5], [0.5] * 3])
def test_a_function_of_columns_that_gives_not_one_score_a_row_fails(given: Any) -> None:
    definition = LearnerDefinition("rule", "python", parameters={"code": "", "on": "columns"}, function=lambda _: given)

    with pytest.raises(LearnerUnusable, match="expected 2 scores from the function"):
        loaded(PythonScorer, definition).score_many(VECTORS)


def test_a_function_sees_names_and_none() -> None:
    seen: list[Any] = []
    definition = LearnerDefinition(
        "rule", "python", parameters={"code": "", "on": "rows"}, function=lambda row: bool(seen.append(row) or True)
    )

    assert loaded(PythonScorer, definition).score_many(VECTORS) == [1.0, 1.0]
    assert seen == [
        {"distance": 1.5, "view.carrier": "UA", "state": [0.5, 0.25]},
        {"distance": None, "view.carrier": None, "state": None},
    ]


def test_a_graph_that_does_not_take_the_inputs_is_refused() -> None:
    assert len(net(matrix_graph(4)).score_many(VECTORS)) == 2
    with pytest.raises(ArtefactRefused, match="expected a graph that takes 4 inputs"):
        net(matrix_graph(3))
    with pytest.raises(ArtefactRefused, match=r"expected inputs \['distance', 'state', 'view_carrier'\]"):
        net(named_graph())
    with pytest.raises(ArtefactRefused, match="expected a graph, got"):
        net(b"no graph")
    with pytest.raises(ArtefactRefused, match=r"expected other of floats, got .*; name it with output="):
        net(matrix_graph(4), output="other")


def test_a_kind_that_does_not_score_by_itself_is_named() -> None:
    with pytest.raises(LearnerUnusable, match="expected kind river, xgboost, onnx or python, got 'abacus'"):
        restore_scorer(LearnerDefinition("x", "abacus"), ENCODER, data=b"", digest="")


def far(**changes: Any) -> Any:
    declared = open_inference("http://m/", model="la te/1", **{"missing": -1, **changes})
    return loaded(OpenInference, declared.definition("far"))


def tower(**changes: Any) -> Any:
    declared = tensorflow_serving("http://m/tf", model="late", **{"missing": -1, **changes})
    return loaded(TensorFlowServing, declared.definition("tower"))


def test_an_inference_request_is_what_the_protocol_says() -> None:
    assert far().url == "http://m/v2/models/la%20te%2F1/infer"
    assert far(version="7").url == "http://m/v2/models/la%20te%2F1/versions/7/infer"
    assert far().request(VECTORS) == (
        b'{"inputs":[{"name":"input-0","shape":[2,4],"datatype":"FP32","data":[1.5,1.0,0.5,0.25,-1.0,-1.0,-1.0,-1.0]}]}'
    )
    assert far(on="columns", output="score").request(VECTORS) == (
        b'{"inputs":[{"name":"distance","shape":[2,1],"datatype":"FP32","data":[1.5,-1.0]},'
        b'{"name":"view.carrier","shape":[2,1],"datatype":"BYTES","data":["UA",""]},'
        b'{"name":"state","shape":[2,2],"datatype":"FP32","data":[0.5,0.25,-1.0,-1.0]}],'
        b'"outputs":[{"name":"score"}]}'
    )


def test_a_predict_request_is_what_tensorflow_serving_s_documentation_says() -> None:
    assert tower().url == "http://m/tf/v1/models/late:predict"
    assert tower(version="123").url == "http://m/tf/v1/models/late/versions/123:predict"
    assert tower().request(VECTORS) == b'{"instances":[[1.5,1.0,0.5,0.25],[-1.0,-1.0,-1.0,-1.0]]}'
    assert tower(on="columns", signature="serving_default").request(VECTORS) == (
        b'{"signature_name":"serving_default","instances":'
        b'[{"distance":1.5,"view.carrier":"UA","state":[0.5,0.25]},{"distance":-1.0,"view.carrier":"","state":[-1.0,-1.0]}]}'
    )


@pytest.mark.parametrize(
    ("learner", "body", "scores"),
    [
        (
            far(),
            b'{"id":"1","outputs":[{"name":"o","shape":[2],"datatype":"FP32","data":[0.5,1]}]}',
            [0.5, 1.0],
        ),
        (far(), b'{"outputs":[{"name":"o","shape":[2,2],"datatype":"FP32","data":[0.9,0.1,0.2,0.8]}]}', [0.1, 0.8]),
        (far(), b'{"outputs":[{"name":"o","shape":[2,2],"datatype":"FP32","data":[[0.9,0.1],[0.2,0.8]]}]}', [0.1, 0.8]),
        (far(output="p"), b'{"outputs":[{"name":"o","data":[1,1]},{"name":"p","data":[3,4]}]}', [3.0, 4.0]),
        (tower(), b'{ "predictions": [3.5, 4.0] }', [3.5, 4.0]),
        (tower(), b'{ "predictions": [[0.9, 0.1], [0.2, 0.8]] }', [0.1, 0.8]),
        (tower(output="p"), b'{ "predictions": [{"p": [0.5], "c": [1]}, {"p": [0.7], "c": [1]}] }', [0.5, 0.7]),
    ],
)
def test_scores_are_found_in_an_answer(learner: Any, body: bytes, scores: list[float]) -> None:
    assert learner.scores(body, expected=2) == scores


@pytest.mark.parametrize(
    ("learner", "body"),
    [
        (tower(), b'{ "predictions": [3.5] }'),
        (tower(), b'{ "predictions": [3.5, NaN] }'),
        (tower(), b'{ "predictions": [3.5, true] }'),
        (tower(), b'{ "predictions": [3.5, [] ] }'),
        (tower(), b'{ "predictions": 3.5 }'),
        (tower(output="p"), b'{ "predictions": [{"c": 1}, {"p": 1}] }'),
        (tower(), b'{ "error": "Servable not found" }'),
        (far(), b'{"outputs":[{"name":"o","data":[1,2,3]}]}'),
        (far(output="p"), b'{"outputs":[{"name":"o","data":[1,1]}]}'),
        (far(), b"\xff\xfe"),
        (far(), b""),
    ],
)
def test_an_answer_without_scores_is_unreadable(learner: Any, body: bytes) -> None:
    with pytest.raises(AnswerUnreadable, match="cannot read answer: "):
        learner.scores(body, expected=2)
