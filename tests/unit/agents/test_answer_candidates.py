"""Every way in which a request to a graph can end, and what is read of the store for it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from agents import answer_candidates
from agents.follow_matrices import pointer_name
from definitions.declared import GraphDefinition
from online_models.graphs.matrix import Matrix
from streams.messages import ScoreReply, encode
from streams.store import Pointer
from tests.builders import declare
from tests.releases import deployment, release
from tests.unit.agents.test_score import NOW_MS, Scoring, counted, until

APP = """\
from datetime import datetime
from river.linear_model import LogisticRegression
import headrace as hr
class Shown(hr.Event, topic="shown", id="id", at="at", key="item", disorder="15m"):
    id: str; item: str; member: str; price: float; at: datetime
class Clicked(hr.Event, topic="clicked", id="id", at="at", disorder="15m"):
    id: str; item: str; at: datetime
class Items(hr.Features, on=Shown, by="item", version=1):
    shown = hr.count().over("1h", "24h")
class Members(hr.Features, on=Shown, by="member", version=1):
    seen = hr.count().over("1h")
class Click(hr.Model, version=1):
    features = [Items.shown["1h"], Members.seen["1h"], hr.request("price", float)]
    label = hr.Label(Clicked, key="id", value=Clicked.item == "i1", within="1h", otherwise="drop")
    offline = hr.xgboost()
    online = hr.river(LogisticRegression)
    route = hr.Route(champion="offline", shadow=["online"])
class Ranking(hr.Graph, version=1):
    candidates = hr.candidates("item", limit=20)
    price = candidates.input("price", float)
    near = hr.dot(hr.request("taste", list[float], length=2), "tastes")
    answer = (
        candidates.filter(price <= hr.request("budget", float))
        .score(near).top(4)
        .filter(Items.shown["1h"] > 0)
        .score(Click).top(2)
    )
"""
MORE = """
class Everything(hr.Graph, version=1):
    candidates = hr.candidates("item", limit=40_000)
    answer = candidates.score(hr.dot(hr.request("taste", list[float], length=2), "tastes"))
"""
MODULE = declare(APP + MORE)
CLICK = MODULE["Click"].definition
RANKING: GraphDefinition = MODULE["Ranking"].definition
EVERYTHING: GraphDefinition = MODULE["Everything"].definition
ITEMS = [f"i{number}" for number in range(10)]
TASTES = Matrix(ITEMS[:9], np.array([[number, 1.0] for number in range(9)], dtype=np.float32))


def candidates(ids: Sequence[str] = ITEMS, price: Any = 5.0) -> list[dict[str, Any]]:
    return [{"id": each, "inputs": {"price": price}} for each in ids]


def body(**changes: Any) -> dict[str, Any]:
    """Return a request; its best are i8, i7, i6, i5, and of these only i6 and i8 were shown in the last hour."""
    inputs = {"budget": 10.0, "taste": [1.0, 0.0]}
    return {"model": "ranking", "entities": {"member": "m1"}, "inputs": inputs, "candidates": candidates(), **changes}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    directory = tmp_path_factory.mktemp("artefacts")
    return directory, release(CLICK, Scoring(CLICK, directory).artefacts)


@pytest.fixture
async def scoring(trained: tuple[Path, str]) -> AsyncIterator[Scoring]:
    scoring = Scoring(CLICK, trained[0], (RANKING,))
    publish(scoring, TASTES, 1)
    await scoring.start()
    for number, item in enumerate(["i6", "i8", "i6", "i1"]):
        shown = {"id": str(number), "item": item, "member": "m1", "price": 1.0, "at": NOW_MS - 60_000}
        await scoring.log.producer().produce("shown", json.dumps(shown).encode(), partition=number % 2)
    await counted(scoring)
    yield scoring
    await scoring.member.stop(1.0)


def publish(scoring: Scoring, matrix: Matrix, generation: int) -> None:
    digest = scoring.artefacts.put(matrix.to_bytes())
    scoring.store.advance_pointer(pointer_name("tastes"), Pointer(generation, 0, digest))


async def deploy(scoring: Scoring, trained: tuple[Path, str]) -> None:
    before = scoring.count("model_loads", model="click", learner="release", result="loaded")

    await scoring.log.producer().produce("demo.deployments", encode(deployment(scoring.model, trained[1])))
    await until(lambda: scoring.count("model_loads", model="click", learner="release", result="loaded") > before)


async def ask(scoring: Scoring, request: object = None) -> ScoreReply:
    return await scoring.answer(body() if request is None else request, topic="demo.ranking.requests")


def ids(reply: ScoreReply) -> list[str | int]:
    assert reply.candidates is not msgspec.UNSET
    return [each.id for each in reply.candidates]


def read(scoring: Scoring, view: str) -> float:
    return scoring.count("graph_entities_read", graph="ranking", view=view)


async def test_candidates_are_ranked_by_what_the_store_holds_of_those_that_are_left(
    scoring: Scoring, trained: tuple[Path, str]
) -> None:
    await deploy(scoring, trained)

    reply = await ask(scoring)

    assert (reply.status, reply.reason, reply.degraded) == ("ok", None, [])
    assert sorted(map(str, ids(reply))) == ["i6", "i8"]
    assert reply.candidates is not msgspec.UNSET
    scores = [each.score for each in reply.candidates]
    assert None not in scores
    assert scores == sorted(scores, reverse=True)  # type: ignore[type-var]
    assert [(each.learner, each.role) for each in reply.versions] == [
        ("click.offline", "champion"),
        ("tastes", "matrix"),
    ]
    assert reply.features_as_of is not None
    assert set(reply.views) == {view.key for view in RANKING.views}
    assert min(reply.timings.read_ms, reply.timings.assemble_ms, reply.timings.predict_ms) > 0


async def test_a_score_is_what_the_model_itself_gives_for_the_same_values(
    scoring: Scoring, trained: tuple[Path, str]
) -> None:
    await deploy(scoring, trained)

    ranked = await ask(scoring)
    alone = await scoring.answer(
        {"model": "click", "entities": {"item": "i6", "member": "m1"}, "inputs": {"price": 5.0}, "label_key": "k"},
        topic="demo.click.requests",
    )

    assert ranked.candidates is not msgspec.UNSET
    assert {each.id: each.score for each in ranked.candidates}["i6"] == alone.scores["offline"]


async def test_only_candidates_that_are_left_are_read_in_one_round_trip_a_stage(
    scoring: Scoring, trained: tuple[Path, str]
) -> None:
    await deploy(scoring, trained)

    await ask(scoring)

    assert (read(scoring, "items"), read(scoring, "members")) == (4, 1)
    assert scoring.count("graph_round_trips", graph="ranking") == 2
    stages = [scoring.count("graph_candidates", graph="ranking", stage=each.name) for each in RANKING.stages]
    assert stages == [10, 10, 10, 4, 2, 2]


async def test_requests_taken_together_share_their_round_trips_and_get_the_same_answers(
    scoring: Scoring, trained: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answer_candidates, "TOGETHER_MS", 500.0)  # a slow machine would take them one by one
    await deploy(scoring, trained)
    alone = [await ask(scoring, body(entities={"member": each})) for each in ("m1", "m2", "m3")]
    before = scoring.count("graph_round_trips", graph="ranking")

    for member in ("m1", "m2", "m3"):
        await scoring.ask(body(entities={"member": member}), topic="demo.ranking.requests")
    together = sorted(await scoring.replies(), key=lambda each: each.request_id)

    assert [each.candidates for each in together] == [each.candidates for each in alone]
    assert scoring.count("graph_round_trips", graph="ranking") - before == 2


async def test_an_answer_that_the_log_has_no_room_for_is_told_so(trained: tuple[Path, str]) -> None:
    scoring = Scoring(CLICK, trained[0], (EVERYTHING,))
    publish(scoring, TASTES, 1)
    await scoring.start()
    asked = {"model": "everything", "entities": {}, "inputs": {"taste": [1.0, 0.0]}}

    replies = [
        await scoring.answer(
            {**asked, "candidates": [f"item-{number}" for number in range(count)]}, topic="demo.everything.requests"
        )
        for count in (5_000, 40_000)
    ]
    await scoring.member.stop(1.0)

    assert [each.status for each in replies] == ["ok", "rejected"]
    assert (len(ids(replies[0])), replies[1].reason) == (5_000, "too_large")
    assert "send fewer candidates" in (replies[1].message or "")


async def test_no_candidates_are_an_empty_answer(scoring: Scoring) -> None:
    reply = await ask(scoring, body(candidates=[]))

    assert (reply.status, ids(reply)) == ("ok", [])


@pytest.mark.parametrize(
    ("changes", "reason", "text"),
    [
        ({"candidates": None}, "invalid", "$.candidates: expected a list of candidates, got none"),
        (
            {"candidates": candidates([f"i{n}" for n in range(21)])},
            "too_large",
            "$.candidates: expected at most 20, got 21",
        ),
        (
            {"candidates": candidates(["a", "b", "a"])},
            "invalid",
            "$.candidates[2]: expected each id once, got 'a' as at [0]",
        ),
        ({"candidates": candidates(["a", 7])}, "invalid", "$.candidates[1].id: expected str, got int"),  # type: ignore[list-item]
        ({"candidates": candidates(["a", ""])}, "invalid", "$.candidates[1].id"),
        ({"candidates": ["a"]}, "invalid", "$.candidates[0]: expected object, got str"),
        (
            {"candidates": candidates(["a"], "x")},
            "invalid",
            "$.candidates[0].inputs.price: expected float | null, got str",
        ),
        ({"candidates": candidates(["a"], 1e39)}, "invalid", "$.candidates[0].inputs.price: expected a finite number"),
        (
            {"candidates": [{"id": "a", "inputs": {}}]},
            "invalid",
            "$.candidates[0].inputs.price: expected a value, got none",
        ),
        ({"candidates": [True]}, "invalid", "$.candidates[0]"),
        ({"inputs": {"budget": 1.0}}, "invalid", "$.inputs.taste: expected a value, got nothing"),
        ({"entities": {}}, "invalid", "$.entities.member: expected str, got nothing"),
    ],
)
async def test_what_a_request_does_wrong_is_said_at_its_place(
    scoring: Scoring, changes: dict[str, Any], reason: str, text: str
) -> None:
    reply = await ask(scoring, body(**changes))

    assert (reply.status, reply.reason) == ("rejected", reason)
    assert text in (reply.message or "")


async def test_a_number_that_is_none_is_rejected_on_the_wire(scoring: Scoring) -> None:
    wire = json.dumps(body(candidates=candidates(["a"], float("nan")))).encode()

    reply = await ask(scoring, wire)

    assert (reply.status, reply.reason) == ("rejected", "invalid")


async def test_a_candidate_without_a_price_is_not_within_the_budget(
    scoring: Scoring, trained: tuple[Path, str]
) -> None:
    await deploy(scoring, trained)

    reply = await ask(scoring, body(candidates=[*candidates(["i6"]), *candidates(["i8"], None)]))

    assert (reply.status, ids(reply)) == ("ok", ["i6"])


async def test_an_unknown_candidate_has_no_features_and_no_row(scoring: Scoring, trained: tuple[Path, str]) -> None:
    await deploy(scoring, trained)

    reply = await ask(scoring, body(candidates=candidates(["nobody", "i6"])))

    assert (reply.status, ids(reply)) == ("ok", ["i6"])


async def test_without_a_release_the_ranking_before_it_is_answered_and_degraded(scoring: Scoring) -> None:
    reply = await ask(scoring)

    assert (reply.status, reply.reason) == ("degraded", "model_unavailable")
    assert reply.degraded == ["click", "5 score predicted(click)"]
    assert ids(reply) == ["i8", "i6"]


async def test_without_a_store_nothing_is_filtered_by_it_and_the_reply_says_so(
    scoring: Scoring, trained: tuple[Path, str]
) -> None:
    await deploy(scoring, trained)
    await ask(scoring)
    scoring.store.is_down = True

    reply = await ask(scoring)

    assert (reply.status, reply.reason) == ("degraded", "features_unavailable")
    assert reply.degraded == ["items", "4 filter", "members"]
    assert len(ids(reply)) == 2


async def test_a_new_matrix_is_followed_and_a_spoilt_one_is_not(scoring: Scoring, trained: tuple[Path, str]) -> None:
    await deploy(scoring, trained)
    [graph] = scoring.role._graphs
    before = await ask(scoring)
    digest = scoring.artefacts.put(b"no archive")
    scoring.store.advance_pointer(pointer_name("tastes"), Pointer(2, 0, digest))
    await graph.start()
    spoilt = await ask(scoring)
    publish(scoring, Matrix(ITEMS, np.ones((10, 2), dtype=np.float32)), 3)
    await graph.start()
    after = await ask(scoring)

    versions = [[each.digest for each in reply.versions if each.role == "matrix"] for reply in (before, spoilt, after)]
    assert versions[0] == versions[1] != versions[2]
    assert scoring.count("model_loads", model="ranking", learner="tastes", result="refused") == 1
    assert scoring.count("model_loads", model="ranking", learner="tastes", result="loaded") == 2


async def test_where_nothing_can_score_there_is_no_answer(trained: tuple[Path, str]) -> None:
    bare = Scoring(CLICK, trained[0], (RANKING,))
    await bare.start()
    bare.store.is_down = True

    reply = await ask(bare)

    assert (reply.status, reply.reason, ids(reply)) == ("error", "model_unavailable", [])
    await bare.member.stop(1.0)
