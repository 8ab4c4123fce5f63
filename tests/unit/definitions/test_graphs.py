"""What `hr.Graph` and its stages read, and what they refuse: on the author's line, with the mend."""

from __future__ import annotations

import pytest

from definitions.declared import (
    CandidatesDefinition,
    Dot,
    Field,
    GraphDefinition,
    Input,
    Predicted,
    StageDefinition,
    StageKind,
)
from definitions.errors import DefinitionError
from definitions.expressions import Name, Operation
from definitions.values import ValueType
from tests.builders import EVENTS, declare

MODULE = """\
class Traffic(hr.Features, on=Departed, by="origin", version=1):
    flights = hr.count().over("1h", "24h")
class Tails(hr.Features, on=Departed, by="tail", version=1):
    delay = hr.mean(Departed.delay_min).over("24h")
class Late(hr.Model, version=1):
    features = [Traffic.flights["1h"], Tails.delay["24h"], hr.request("price", float), hr.request("hour", int)]
    label = hr.Label(Arrived, key="flight_id", value=Arrived.late, within="24h", otherwise="drop")
    online = hr.river(lambda: object())
    offline = hr.xgboost()
    route = hr.Route(champion="offline")
"""
"""Lines 9 to 18 of the author's module: a view of the candidate, one of the request's tail, and a model of both."""

PARTS = {
    "candidates": 'hr.candidates("origin", limit=1_000)',
    "price": 'candidates.input("price", float)',
    "late": "hr.predicted(Late)",
    "value": "price - 2 * late",
    "answer": (
        'candidates.filter(price <= hr.request("budget", float)).score(late).top(100)'
        '.group(candidates.input("gate", str), at_most=3).score(value).top(10).sort(price, descending=False)'
    ),
}


def graph(keywords: str = "version=1", /, **changes: str | None) -> str:
    """Return a graph whose class statement is line 19 of the module; a part that is None is left out."""
    parts = {**PARTS, **changes}
    lines = [f"class Ranking(hr.Graph, {keywords}):", *(f"    {name} = {text}" for name, text in parts.items() if text)]
    return "\n".join(lines) + "\n"


def declared(keywords: str = "version=1", /, **changes: str | None) -> GraphDefinition:
    found: GraphDefinition = declare(EVENTS, MODULE, graph(keywords, **changes))["Ranking"].definition
    return found


def refusal(keywords: str = "version=1", /, **changes: str | None) -> str:
    """Return the text with which the author's module is refused."""
    with pytest.raises(DefinitionError) as refused:
        declare(EVENTS, MODULE, graph(keywords, **changes))
    return str(refused.value)


def test_a_class_becomes_its_definition() -> None:
    found = declared('version=3, owner="ops-ml", timeout="250ms", evaluation="eager"')

    assert (found.key, found.owner, found.timeout_ms, found.eager) == ("ranking.v3", "ops-ml", 250, True)
    assert found.candidates == CandidatesDefinition(
        Field("origin", ValueType.CATEGORY),
        1_000,
        (Input("price", ValueType.FLOAT), Input("gate", ValueType.CATEGORY)),
    )
    assert found.requests == (Input("budget", ValueType.FLOAT), Input("hour", ValueType.INT))
    assert [view.name for view in found.views] == ["traffic", "tails"]
    assert [found.is_of_candidates(view) for view in found.views] == [True, False]
    assert [model.name for model in found.models] == ["late"]
    assert found.reads == {"traffic.flights_1h", "tails.delay_24h"}


def test_stages_come_in_the_order_written_each_with_the_name_of_what_it_reads() -> None:
    assert declared().stages == (
        StageDefinition("1 filter", StageKind.FILTER, "filter 1"),
        StageDefinition("2 score late", StageKind.SCORE, "late"),
        StageDefinition("3 top", StageKind.TOP, count=100),
        StageDefinition("4 group gate", StageKind.GROUP, "gate", count=3),
        StageDefinition("5 score value", StageKind.SCORE, "value"),
        StageDefinition("6 top", StageKind.TOP, count=10),
        StageDefinition("7 sort price", StageKind.SORT, "price", descending=False),
    )


def test_a_column_comes_behind_those_that_it_reads_and_is_there_once() -> None:
    columns = declared().columns

    assert list(columns) == ["filter 1", "late", "value"]
    assert columns["filter 1"].made == Operation("<=", Name("price"), Name("budget"))
    assert columns["late"].made == Predicted("late")
    assert isinstance(columns["value"].made, Operation)
    assert (columns["filter 1"].type, columns["late"].type) == (ValueType.BOOL, ValueType.FLOAT)


def test_a_model_a_learner_and_a_matrix_score_without_a_name_of_their_own() -> None:
    taste = 'hr.request("taste", list[float], length=4)'
    answer = (
        f'candidates.score(Late).top(9).score(hr.predicted(Late, "online")).top(8).score(hr.dot({taste}, "routes"))'
        ".filter(price > 1)"
    )
    found = declared(late=None, value=None, answer=answer)

    assert [each.made for each in found.columns.values()][:3] == [
        Predicted("late"),
        Predicted("late", "online"),
        Dot("taste", "routes"),
    ]
    assert found.matrices == {"routes": 4}
    assert [each.name for each in found.stages][::2] == [
        "1 score predicted(late)",
        "3 score predicted(late, 'online')",
        "5 score dot(hr.request('taste'), 'routes')",
    ]


def test_the_digest_covers_what_decides_an_answer_and_nothing_else() -> None:
    digest = declared().digest

    assert declared('version=2, owner="x", timeout="9s", evaluation="eager"').digest == digest
    assert declared(value="price - 3 * late").digest != digest
    assert declared(candidates='hr.candidates("origin", limit=999)').digest != digest
    assert declared(answer=PARTS["answer"].replace("top(10)", "top(11)")).digest != digest
    assert declared(late='hr.predicted(Late, "online")').digest != digest


@pytest.mark.parametrize(
    ("keywords", "changes", "text"),
    [
        ("version=0", {}, "app.py:19: expected version= to be a whole number from 1 on, got 0"),
        ('version=1, evaluation="fast"', {}, "app.py:19: expected evaluation= to be lazy or eager, got 'fast'"),
        (
            "version=1, speed=1",
            {},
            "app.py:19: expected the keywords version, evaluation, logged, owner, timeout, got speed=",
        ),
        (
            "version=1",
            {"answer": None},
            "app.py:19: expected answer to say the stages, got none; write answer = candidates.score(…).top(…)",
        ),
        ("version=1", {"candidates": "1", "price": None, "value": "late", "answer": None}, "what is ranked, got 1"),
        ("version=1", {"candidates": 'hr.candidates("origin", limit=0)'}, "app.py:20: expected limit= to be a whole"),
        ("version=1", {"candidates": 'hr.candidates("origin", limit=10**6)'}, "at most 100000, got 1000000"),
        (
            "version=1",
            {"candidates": 'hr.candidates("origin", limit=9, kind=int)'},
            "app.py:20: expected origin of one type, got int, where traffic has str; write kind=str",
        ),
        (
            "version=1",
            {"answer": "candidates.score(price).score(late).score(value).filter(price)"},
            "declare stage 4 .filter(…): app.py:24: expected a condition, such as a > b, got a float: origin.price",
        ),
        (
            "version=1",
            {"answer": "candidates.top(3).score(value)"},
            "cannot declare stage 1 .top(…): app.py:24: expected a score to go by, got none; write .score(…) before it",
        ),
        (
            "version=1",
            {"answer": "candidates.score(value).top(3).top(5)"},
            "stage 3 .top(…): app.py:24: expected fewer than the 3 that are left, got 5",
        ),
        (
            "version=1",
            {"answer": "candidates.score(value).top(0)"},
            "app.py:24: expected count= to be a whole number from 1 on, got 0",
        ),
        (
            "version=1",
            {"answer": "candidates.score(value).group(price, at_most=2)"},
            "stage 2 .group(…): app.py:24: expected a str, an int or a bool, got a float: origin.price",
        ),
        ("version=1", {"late": "hr.predicted(Traffic)"}, "app.py:22: expected a class of hr.Model, got Traffic"),
        (
            "version=1",
            {"late": 'hr.predicted(Late, "ofline")'},
            "app.py:22: expected one of online, offline, got 'ofline'; did you mean 'offline'?",
        ),
        (
            "version=1",
            {"late": 'hr.dot(hr.request("hour", int), "routes")'},
            "app.py:22: expected an embedding that the request carries, or a feature, got an int",
        ),
        (
            "version=1",
            {"spare": "price * 2"},
            "app.py:19: expected spare to be read by a stage, got no stage that does",
        ),
        (
            "version=1",
            {"value": 'price - hr.request("price", float)'},
            "app.py:24: expected price to name one thing, got an input of the request and of the candidates; rename",
        ),
        (
            "version=1",
            {"price": 'candidates.input("price", int)'},
            "app.py:24: expected price of type float, as late has it, got int",
        ),
        ("version=1", {"other": "Traffic.flights"}, "expected candidates and answer and terms, got other ="),
        ("version=1", {"value": "price - Departed.delay_min"}, "app.py:24: expected features, inputs, hr.predicted"),
        (
            "version=1",
            {"value": "price\n    hour = price + late", "answer": "candidates.score(hour).sort(value)"},
            "hour to name one",
        ),
    ],
)
def test_what_cannot_mean_anything_is_refused_on_the_authors_line(
    keywords: str, changes: dict[str, str | None], text: str
) -> None:
    assert text in refusal(keywords, **changes)


def test_a_model_that_looks_up_is_refused() -> None:
    looking = """\
class Looking(hr.Model, version=1):
    features = [hr.lookup(Traffic.flights["1h"], by=hr.request("hub", str))]
    label = hr.Label(Arrived, key="flight_id", value=Arrived.late, within="24h", otherwise="drop")
    online = hr.river(lambda: object())
    route = hr.Route(champion="online")
class Ranking(hr.Graph, version=1):
    candidates = hr.candidates("origin", limit=9)
    answer = candidates.score(Looking)
"""
    with pytest.raises(DefinitionError, match=r"app.py:26: expected a model that looks nothing up, got looking"):
        declare(EVENTS, MODULE, looking)


def test_a_chain_of_other_candidates_is_refused() -> None:
    source = 'other = hr.candidates("tail", limit=5)\n' + graph(answer="other.score(value)")
    with pytest.raises(DefinitionError, match="expected answer to begin with the graph's own candidates"):
        declare(EVENTS, MODULE, source)


def test_a_stage_leaves_the_chain_before_it_as_it_was() -> None:
    module = declare("import headrace as hr\n", 'c = hr.candidates("x", limit=5)\na = c.score(c.input("p", float))\n')
    before = module["a"].stages
    longer = module["a"].top(2)

    assert module["a"].stages == before
    assert [each.kind for each in longer.stages] == [StageKind.SCORE, StageKind.TOP]
