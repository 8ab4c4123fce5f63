"""What is logged of rankings: enough to have each place again, no more than declared, and where labels meet it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agents import log_rankings
from batch.read_predictions import PredictionReader, Probe, Unread
from definitions.declared import GraphDefinition
from streams import topics
from streams.messages import Example, Prediction, ScoreReply
from streams.rankings import Ranking
from streams.records import Record
from streams.request_reply import TRACEPARENT
from streams.vectors import VectorLayout
from tests.builders import app_definition, declare
from tests.releases import release
from tests.unit.agents.test_answer_candidates import APP, CLICK, ITEMS, RANKING, TASTES, body, deploy, publish
from tests.unit.agents.test_score import HOUR_MS, NOW_MS, TRACE, Scoring, counted, learn
from tests.unit.batch.test_read_predictions import RecordsHistory

PAID = 5.0


def keyed(items: Sequence[str] = ITEMS) -> list[dict[str, Any]]:
    """Return candidates whose labels will come."""
    return [{"id": each, "inputs": {"price": PAID}, "label_key": f"K{each}"} for each in items]


async def started(directory: Path, graph: GraphDefinition = RANKING) -> Scoring:
    """Return a role that has everything in force, and a store in which three items were shown."""
    scoring = Scoring(CLICK, directory, (graph,))
    publish(scoring, TASTES, 1)
    await scoring.start()
    for number, item in enumerate(["i6", "i8", "i6", "i1"]):
        shown = {"id": str(number), "item": item, "member": "m1", "price": 1.0, "at": NOW_MS - 60_000}
        await scoring.log.producer().produce("shown", json.dumps(shown).encode(), partition=number % 2)
    await counted(scoring)
    await deploy(scoring, (directory, release(CLICK, scoring.artefacts)))
    return scoring


@pytest.fixture
async def scoring(tmp_path: Path) -> AsyncIterator[Scoring]:
    found = await started(tmp_path)
    yield found
    await found.member.stop(1.0)


async def ask(scoring: Scoring, request: object, **given: Any) -> ScoreReply:
    return await scoring.answer(request, topic="demo.ranking.requests", **given)


async def by_partition(scoring: Scoring, topic: str) -> list[list[Record]]:
    found = []
    for partition in await scoring.log.partitions(topic):
        tail = await scoring.log.tail([(partition, 0)])
        found.append([record for _, record in await tail.poll(0)])
        await tail.stop()
    return found


async def rankings(scoring: Scoring) -> list[Ranking]:
    records = await scoring.records(topics.rankings("demo", RANKING))
    return [msgspec.json.decode(each.value() or b"", type=Ranking) for each in records]


def known(ranking: Ranking, place: int) -> dict[str, Any]:
    return dict(zip(ranking.names, ranking.places[place].values, strict=True))


async def test_a_place_is_logged_with_all_that_it_was_ranked_by(scoring: Scoring) -> None:
    reply = await ask(scoring, body(), headers={TRACEPARENT: TRACE})

    [logged] = await rankings(scoring)
    assert reply.candidates is not msgspec.UNSET
    assert [(each.id, each.score) for each in logged.places] == [(each.id, each.score) for each in reply.candidates]
    assert [ITEMS[each.place] for each in logged.places] == [each.id for each in logged.places]
    assert (logged.request_id, logged.graph, logged.definition) == (reply.request_id, "ranking.v1", RANKING.digest)
    assert (logged.status, logged.candidates, logged.answered) == ("ok", 10, 2)
    assert (logged.entities, logged.inputs) == ({"member": "m1"}, {"budget": 10.0, "taste": [1.0, 0.0]})
    assert (logged.versions, logged.features_as_of) == (reply.versions, reply.features_as_of)
    assert logged.releases == {"click": release(CLICK, scoring.artefacts)}
    assert logged.traceparent == TRACE.decode()
    first = known(logged, [each.id for each in logged.places].index("i6"))
    assert (first["price"], first["near"], first["items.shown_1h"], first["members.seen_1h"]) == (PAID, 6.0, 2, 4)
    assert first["click:offline"] in [each.score for each in reply.candidates]
    ages = dict(zip(logged.names, logged.places[0].ages_ms, strict=True))
    assert 0 < (ages["items.shown_1h"] or 0) <= HOUR_MS
    assert ages["near"] is None
    sources = {view.name: view.sources[0].key for view in RANKING.views}
    assert set(logged.positions) == {sources["members"]}
    assert all(set(each.positions) == {sources["items"]} for each in logged.places)


async def test_a_candidate_with_a_label_key_is_the_prediction_that_a_request_about_it_alone_is(
    scoring: Scoring,
) -> None:
    reply = await ask(scoring, body(candidates=keyed()))
    predicted = {each.label_key: each for each in await scoring.predictions()}
    alone = {
        "model": "click",
        "entities": {"item": "i6", "member": "m1"},
        "inputs": {"price": PAID},
        "label_key": "Ki6",
    }
    await scoring.answer(alone, topic="demo.click.requests")
    [plain] = await scoring.predictions()

    ranked = predicted["Ki6"]
    assert set(predicted) == {"Ki6", "Ki8"}, "those that were answered, and no others"
    assert ranked.request_id == f"{reply.request_id}#6"
    same = ("model", "release", "vector", "ages_ms", "positions", "champion", "arm", "propensity", "status", "entities")
    assert [getattr(ranked, each) for each in same] == [getattr(plain, each) for each in same]
    assert ranked.scores == {"offline": plain.scores["offline"]}
    assert [(each.learner, each.role) for each in ranked.versions] == [("offline", "champion")]
    [logged] = await rankings(scoring)
    assert {each.label_key for each in logged.places} == {"Ki6", "Ki8"}


async def test_labels_meet_candidates_in_the_join_that_there_is(scoring: Scoring) -> None:
    reply = await ask(scoring, body(candidates=keyed()))
    [ranked] = [each for each in await scoring.predictions() if each.label_key == "Ki8"]
    clicked = {"id": "Ki8", "item": "i1", "at": scoring.log.now_ms() + 1}
    await scoring.log.producer().produce("clicked", json.dumps(clicked).encode(), key=b"Ki8")
    await learn(scoring)

    [example] = [
        msgspec.json.decode(each.value() or b"", type=Example)
        for each in await scoring.records(topics.examples("demo", CLICK))
    ]
    assert reply.status == "ok"
    assert (example.label_key, example.label, example.vector) == ("Ki8", True, ranked.vector)
    assert example.scores == ranked.scores


async def test_a_logged_candidate_is_a_probe_of_parity(scoring: Scoring) -> None:
    """What was served is asked of the log again: whom it was about is in the graph's request."""
    reply = await ask(scoring, body(candidates=keyed()))
    names = ("demo.ranking.requests", topics.outcomes("demo", CLICK))
    history = RecordsHistory({name: await by_partition(scoring, name) for name in names})  # type: ignore[misc]
    reader = PredictionReader(CLICK, "demo", history, graphs=[RANKING])
    blind = PredictionReader(CLICK, "demo", history)

    probes = {each.request_id: each for each in reader.read(reader.spans())}

    probe = probes[f"{reply.request_id}#6"]
    assert isinstance(probe, Probe)
    assert (probe.entities, probe.inputs["price"]) == ({"member": "m1", "item": "i6"}, PAID)
    served = {"items.shown_1h": probe.vector[0], "members.seen_1h": probe.vector[1]}
    assert probe.vector == VectorLayout.of(CLICK).vector({**served, **probe.inputs})
    assert [type(each) for each in blind.read(blind.spans())] == [Unread, Unread]


@pytest.mark.parametrize(("written", "logged"), [("", 2), (", logged=1", 1), (", logged=0", 0)])
async def test_no_more_places_are_logged_than_declared(tmp_path: Path, written: str, logged: int) -> None:
    module = declare(APP.replace("class Ranking(hr.Graph, version=1", f"class Ranking(hr.Graph, version=1{written}"))
    graph = module["Ranking"].definition
    scoring = await started(tmp_path, graph)

    reply = await ask(scoring, body(candidates=keyed() if logged else body()["candidates"]))

    found = await rankings(scoring)
    predicted = await scoring.predictions()
    await scoring.member.stop(1.0)
    assert reply.candidates is not msgspec.UNSET
    assert len(reply.candidates) == 2
    assert [len(each.places) for each in found] == ([logged] if logged else [])
    assert len(predicted) == logged


def test_only_a_graph_that_logs_has_a_topic_for_it() -> None:
    silent = declare(APP.replace("class Ranking(hr.Graph, version=1", "class Ranking(hr.Graph, version=1, logged=0"))
    apps = [app_definition(models=(CLICK,), graphs=(each,)) for each in (RANKING, silent["Ranking"].definition)]

    names = [{each.name for each in topics.declared(each, "demo")} for each in apps]

    assert [topics.rankings("demo", RANKING) in each for each in names] == [True, False]


async def test_an_eager_graph_logs_the_same(scoring: Scoring, tmp_path: Path) -> None:
    module = declare(APP.replace("hr.Graph, version=1", 'hr.Graph, version=1, evaluation="eager"'))
    eager = await started(tmp_path / "eager", module["Ranking"].definition)
    await ask(scoring, body(candidates=keyed()))
    await ask(eager, body(candidates=keyed()))

    [one], [other] = await rankings(scoring), await rankings(eager)
    await eager.member.stop(1.0)

    assert [known(one, place) for place in (0, 1)] == [known(other, place) for place in (0, 1)]
    assert [each.score for each in one.places] == [each.score for each in other.places]


async def test_what_could_not_be_read_has_no_positions_and_the_record_says_what_was_missing(scoring: Scoring) -> None:
    scoring.store.is_down = True

    reply = await ask(scoring, body(candidates=keyed()))

    [logged] = await rankings(scoring)
    assert (logged.status, logged.reason, logged.degraded) == ("degraded", "features_unavailable", reply.degraded)
    assert all(each.positions == {} for each in logged.places)
    predicted: list[Prediction] = await scoring.predictions()
    assert [(each.positions, each.status) for each in predicted] == [({}, "degraded")] * 2


async def test_what_cannot_be_logged_costs_nobody_an_answer(scoring: Scoring, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> bytes:
        raise ZeroDivisionError("an encoder that fails")

    monkeypatch.setattr(log_rankings, "encode", broken)

    first, second = await ask(scoring, body()), await ask(scoring, body())

    assert (first.status, second.status) == ("ok", "ok")
    assert await rankings(scoring) == []
