"""Ensembles and personal models in a graph: each candidate gets what a request about it alone would get."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from definitions.declared import GraphDefinition, ModelDefinition
from streams.messages import ScoreReply
from tests.builders import declare
from tests.releases import release
from tests.unit.agents.test_answer_candidates import APP, deploy
from tests.unit.agents.test_score import NOW_MS, Scoring, counted, learn

LEARNERS = """\
    both = hr.ensemble("offline", "online", weights=(2, 1), by="logit")
    own = hr.personal(of="offline", by=("item", ("item", "member")), features=["price"]{explore})
    route = hr.Route(champion="{champion}", shadow=["online"])
class Ranking(hr.Graph, version=1):
    candidates = hr.candidates("item", limit=20)
    price = candidates.input("price", float)
    answer = candidates.score(Click).top(6)
"""
ITEMS = [f"i{number}" for number in range(8)]
FEW = 30


def app(champion: str, explore: str = "") -> tuple[ModelDefinition, GraphDefinition]:
    head = APP[: APP.index("    route = hr.Route")]
    module = declare(head + LEARNERS.format(champion=champion, explore=explore))
    return module["Click"].definition, module["Ranking"].definition


@pytest.fixture(params=["both", "own"])
async def scoring(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Scoring]:
    found = await started(tmp_path, *app(request.param))
    yield found
    await found.member.stop(1.0)


async def started(directory: Path, model: ModelDefinition, graph: GraphDefinition) -> Scoring:
    """Return a role in whose store some items were shown, and personal coefficients were learned."""
    scoring = Scoring(model, directory, (graph,))
    await scoring.start()
    for number in range(FEW):
        shown = {"id": str(number), "item": ITEMS[number % 3], "member": "m1", "price": 1.0, "at": NOW_MS - 60_000}
        await scoring.log.producer().produce("shown", json.dumps(shown).encode(), partition=number % 2)
    await counted(scoring)
    await deploy(scoring, (directory, release(model, scoring.artefacts)))
    for number in range(FEW):
        await scoring.answer(
            alone(ITEMS[number % 4], price(number), label_key=f"F{number}"), topic="demo.click.requests"
        )
        # Of one item all are clicked on, of the others none.
        clicked = {"id": f"F{number}", "item": "i1" if number % 4 == 1 else "i2", "at": scoring.log.now_ms() + 1}
        await scoring.log.producer().produce("clicked", json.dumps(clicked).encode(), key=b"F%d" % number)
    await learn(scoring)
    return scoring


def price(number: int) -> float:
    return 1.0 + 7.5 * number


def alone(item: str, paid: float, **changes: Any) -> dict[str, Any]:
    entities = {"item": item, "member": "m1"}
    return {"model": "click", "entities": entities, "inputs": {"price": paid}, "label_key": "k", **changes}


async def ranked(scoring: Scoring) -> ScoreReply:
    given = [{"id": each, "inputs": {"price": price(number)}} for number, each in enumerate(ITEMS)]
    body = {"model": "ranking", "entities": {"member": "m1"}, "candidates": given}
    return await scoring.answer(body, topic="demo.ranking.requests")


def scores(reply: ScoreReply) -> dict[str | int, float | None]:
    assert reply.candidates is not msgspec.UNSET
    return {each.id: each.score for each in reply.candidates}


async def test_a_candidate_has_the_score_of_a_request_about_it_alone_to_the_bit(scoring: Scoring) -> None:
    plain: dict[str, float] = {}
    for number, item in enumerate(ITEMS):
        one = await scoring.answer(alone(item, price(number)), topic="demo.click.requests")
        assert one.status == "ok"
        [plain[item]] = one.scores.values()
    reply = await ranked(scoring)

    best = sorted(plain, key=lambda item: (-plain[item], ITEMS.index(item)))[:6]
    champion = scoring.model.route.champion
    assert (reply.status, reply.degraded) == ("ok", [])
    assert list(scores(reply)) == best
    assert scores(reply) == {item: plain[item] for item in best}
    members = ["offline", "online"] if champion == "both" else ["offline"]
    assert [(each.learner, each.role) for each in reply.versions] == [
        (f"click.{champion}", "champion"),
        *((f"click.{each}", "member") for each in members),
    ]


async def test_what_was_learned_of_an_item_moves_it(tmp_path: Path) -> None:
    model, graph = app("own")
    scoring = await started(tmp_path, model, graph)

    learned = scores(await ranked(scoring))
    scoring.store.is_down = True
    without = await ranked(scoring)
    await scoring.member.stop(1.0)

    assert learned["i1"] == max(each or 0.0 for each in learned.values())
    assert (without.status, without.reason) == ("degraded", "features_unavailable")
    assert {"items", "members", "click.own"} <= set(without.degraded)


async def test_a_store_that_is_silent_for_memory_alone_leaves_the_offset(tmp_path: Path) -> None:
    model, graph = app("own")
    scoring = await started(tmp_path, model, graph)
    [answers] = scoring.role._graphs
    answers._refresh_at_ms = float("inf")  # else a read of pointers may come between, once a second
    asked = len(scoring.store.timeouts_ms)
    await ranked(scoring)
    a_ranking = len(scoring.store.timeouts_ms) - asked

    scoring.store.fails_at = len(scoring.store.timeouts_ms) + a_ranking
    reply = await ranked(scoring)
    scoring.store.fails_at = 0
    await scoring.member.stop(1.0)

    assert a_ranking == 2, "one round trip for the features, one for what is remembered"
    assert (reply.status, reply.reason) == ("degraded", "features_unavailable")
    assert reply.degraded == ["click.own"]
    assert len(scores(reply)) == 6


async def test_what_is_drawn_for_a_candidate_is_its_own(tmp_path: Path) -> None:
    """Candidates about whom nothing is known are equal, but what is drawn for them is not."""
    model, graph = app("own", ", explore=0.5")
    scoring = await started(tmp_path, model, graph)
    given = [{"id": f"new{number}", "inputs": {"price": 3.0}} for number in range(5)]
    body = {"model": "ranking", "entities": {"member": "m9"}, "candidates": given}

    reply = await scoring.answer(body, topic="demo.ranking.requests")
    await scoring.member.stop(1.0)

    assert len(set(scores(reply).values())) == 5
