"""Learners of every kind and routes among them: what `hr.…` reads, what it refuses, and what a digest covers."""

from __future__ import annotations

import pytest

from definitions.declared import ModelDefinition, RouteDefinition
from definitions.errors import DefinitionError
from definitions.routes import misrouted, named_in
from tests.builders import EVENTS, VIEW, declare

KINDS = {
    "rule": "hr.python(lambda row: row['distance'] / 100)",
    "net": 'hr.onnx("late.onnx")',
    "both": 'hr.ensemble("offline", "rule", weights=(2, 1), by="logit")',
    "far": 'hr.open_inference("http://models:8080/", model="late", missing=-1)',
    "tower": 'hr.tensorflow_serving("https://tf/serving", model="late", missing=0, version="3", timeout="50ms")',
}


def source(**changes: str) -> str:
    """Return a model whose class statement is line 13 and whose route is line 16 of the module."""
    parts = {
        "features": '[hr.request("distance", float), OriginTraffic.worsening]',
        "label": 'hr.Label(Arrived, key="flight_id", value=Arrived.late, within="24h")',
        "route": 'hr.Route(champion="offline")',
        "offline": "hr.xgboost()",
        **KINDS,
        **changes,
    }
    return "class Late(hr.Model, version=1):\n" + "".join(f"    {name} = {text}\n" for name, text in parts.items())


def declared(**changes: str) -> ModelDefinition:
    model: ModelDefinition = declare(EVENTS, VIEW, source(**changes))["Late"].definition
    return model


def refusal(**changes: str) -> str:
    with pytest.raises(DefinitionError) as refused:
        declared(**changes)
    return str(refused.value)


def test_every_kind_of_learner_becomes_its_definition() -> None:
    learners = declared().learners

    assert {name: each.kind for name, each in learners.items()} == {
        "offline": "xgboost",
        "rule": "python",
        "net": "onnx",
        "both": "ensemble",
        "far": "open_inference",
        "tower": "tensorflow_serving",
    }
    assert learners["net"].place.endswith("late.onnx")
    assert learners["both"].members == {"offline": 2.0, "rule": 1.0}
    assert (learners["far"].place, learners["far"].patience_ms) == ("http://models:8080", 100)
    assert (learners["tower"].place, learners["tower"].patience_ms) == ("https://tf/serving", 50)
    assert learners["tower"].parameters["version"] == "3"
    assert learners["rule"].function is not None
    assert len(str(learners["rule"].parameters["code"])) == 64


def test_a_route_says_who_answers_whom() -> None:
    text = 'hr.Route(champion="offline", shadow=["far"], fallback=0.1, canary=("net", 0.05))'

    assert declared(route=text).route == RouteDefinition("offline", ("far",), 0.1, ("net", 0.05))
    weighted = declared(route='hr.Route(champion="offline", fallback="rule", weights={"net": 0.2, "far": 0.1})').route
    assert weighted == RouteDefinition("offline", (), "rule", None, (("net", 0.2), ("far", 0.1)))
    assert named_in(weighted) == ("offline", "net", "far", "rule")


@pytest.mark.parametrize(
    ("route", "text"),
    [
        (
            'champion="offline", fallback="offline"',
            "to name another learner than the champion, got 'offline'",
        ),
        ('champion="offline", fallback="rul"', "expected route to name one of offline, rule, net, both, far, tower"),
        ('champion="offline", fallback="rul"', "got 'rul'; did you mean 'rule'?"),
        ('champion="offline", fallback="far"', "fallback= to name a learner that scores in this process, got 'far'"),
        ('champion="offline", fallback="mixed"', "fallback= to name a learner that scores in this process"),
        ('champion="offline", fallback=True', "fallback= to be a learner or a number, got True"),
        ('champion="offline", fallback=float("nan")', "fallback= to be a finite number, got nan"),
        ('champion="offline", canary="net"', "canary= to be a learner and its share, got 'net'"),
        ('champion="offline", canary=("net", 1.5)', "the share of net to be a number from 0 to 1, got 1.5"),
        ('champion="offline", canary=("net", float("nan"))', "the share of net to be a number from 0 to 1, got nan"),
        ('champion="offline", canary=("offline", 0.5)', "shares of learners other than the champion, got 'offline'"),
        ('champion="offline", canary=("nett", 0.5)', "got 'nett'; did you mean 'net'?"),
        ('champion="offline", weights={"net": 0.7, "far": 0.7}', "shares of at most 1 together, got 1.4"),
        ('champion="offline", weights=[1]', "weights= to be learners and their shares, got [1]"),
        ('champion="offline", canary=("net", 0.1), weights={"far": 0.1}', "expected canary= or weights=, got both"),
    ],
)
def test_a_route_that_cannot_be_is_refused_at_its_line(route: str, text: str) -> None:
    said = refusal(mixed='hr.ensemble("offline", "far")', route=f"hr.Route({route})")

    assert text in said
    assert ":16: expected" in said


@pytest.mark.parametrize(
    ("learner", "text"),
    [
        ("hr.python(5)", "a function that reads what a digest can tell, got 5, which is not a function"),
        ("hr.python(len)", "which is not a function written in Python"),
        ("hr.python(lambda row: open, on='cells')", "on= to be one of rows, columns, got 'cells'"),
        ("hr.python(lambda row: nowhere)", "got nowhere, which has no value yet"),
        ("hr.onnx(5)", "the path of an ONNX file, got 5"),
        ('hr.ensemble("offline")', "the names of at least two learners, got ['offline']"),
        ('hr.ensemble("offline", "offline")', "each learner once"),
        ('hr.ensemble("offline", "rule", weights=(1,))', "weights= to be 2 numbers above 0, got [1]"),
        ('hr.ensemble("offline", "rule", weights=(1, 0))', "weights= to be 2 numbers above 0"),
        ('hr.ensemble("offline", "rule", by="median")', "by= to be one of mean, logit, got 'median'"),
        ('hr.ensemble("offline", "rul")', "extra to combine one of offline, rule, net, far, tower, got 'rul'"),
        ('hr.ensemble("offline", "both")', "extra to combine one of offline, rule, net, far, tower, got 'both'"),
        ('hr.open_inference("models:8080", model="late", missing=0)', "the URL of a server, got 'models:8080'"),
        ('hr.open_inference("http://m?x=1", model="late", missing=0)', "the URL of a server"),
        ('hr.open_inference("http://m", model="", missing=0)', "model= to name a model of the server, got ''"),
        (
            'hr.open_inference("http://m", model="x", missing=None)',
            "to be the number that stands for no value",
        ),
        ('hr.tensorflow_serving("http://m", model="x", missing=float("nan"))', "missing= to be the number"),
        (
            'hr.tensorflow_serving("http://m", model="x", missing=0, timeout="x")',
            "expected a number and ms, s, m, h",
        ),
        ('hr.tensorflow_serving("http://m", model="x", missing=0, on="row")', "on= to be one of matrix, columns"),
    ],
)
def test_a_learner_that_cannot_be_is_refused_at_its_line(learner: str, text: str) -> None:
    said = refusal(extra=learner)

    assert text in said
    assert "app.py:23: " in said


def test_the_name_of_a_constant_is_taken() -> None:
    assert "a name other than constant" in refusal(constant="hr.xgboost()")


@pytest.mark.parametrize(
    "changes",
    [
        {"rule": "hr.python(lambda row: row['distance'] / 200)"},
        {"rule": "hr.python(lambda row: row['distance'] / 100, on='columns')"},
        {"net": 'hr.onnx("late.onnx", output="p")'},
        {"both": 'hr.ensemble("offline", "rule", weights=(1, 1), by="logit")'},
        {"both": 'hr.ensemble("offline", "rule", weights=(2, 1))'},
        {"far": 'hr.open_inference("http://models:8080/", model="later", missing=-1)'},
        {"far": 'hr.open_inference("http://models:8080/", model="late", missing=0)'},
    ],
)
def test_what_a_learner_is_changes_the_digest(changes: dict[str, str]) -> None:
    assert declared(**changes).digest != declared().digest


@pytest.mark.parametrize(
    "changes",
    [
        {"rule": "hr.python(lambda flight: flight['distance'] / 100)  # in hundreds"},
        {"net": 'hr.onnx("elsewhere/late.onnx")'},
        {"far": 'hr.open_inference("https://elsewhere", model="late", missing=-1, timeout="1s")'},
        {"route": 'hr.Route(champion="offline", canary=("net", 0.5), fallback=0.5)'},
    ],
)
def test_where_a_learner_is_found_and_who_answers_does_not(changes: dict[str, str]) -> None:
    assert declared(**changes).digest == declared().digest


def test_a_route_that_is_deployed_is_judged_by_the_same_rules() -> None:
    learners = declared().learners

    assert misrouted(RouteDefinition("offline", canary=("net", 0.5)), learners) is None
    assert misrouted(RouteDefinition("offline", canary=("net", 2.0)), learners) is not None
    assert misrouted(RouteDefinition("nobody"), learners) is not None
    assert misrouted(RouteDefinition("offline", fallback="far"), learners) is not None
