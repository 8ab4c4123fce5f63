"""Personal models where requests are answered: one read, exact parity with a replay, and how sure the answer is."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agents.personal_cells import PersonalCodec, fold, named
from definitions.declared import ModelDefinition, RouteDefinition
from online_models.personal import Evidence, Instance, PersonalModel, Population
from online_models.personal.exploring import draw
from streams import topics
from streams.messages import Example, Personal, ScoreReply
from streams.records import Partition
from streams.store import Cell, Link, Question, Row, RowKey, fresh_mark
from tests.builders import model_definition, personal_learner, river_learner, xgboost_learner
from tests.releases import linear, release
from tests.unit.agents.test_score import BODY, Scoring, learn

OWN = personal_learner(by=(("carrier",), ("origin", "carrier")))
LATE = model_definition(
    learners=[xgboost_learner(), OWN, river_learner(factory=linear)],
    route=RouteDefinition("own", ("online",), fallback="offline"),
)
FLIGHTS = 40
CARRIERS = ("UA", "AA", "B6")


def body(number: int, **changes: Any) -> dict[str, Any]:
    """Return a request; UA's flights are asked about most often."""
    inputs = {"distance": 300.0 + 50.0 * (number % 7), "carrier": CARRIERS[number % 4 % 3]}
    return {**BODY, "inputs": inputs, "label_key": f"F{number}", **changes}


async def started(model: ModelDefinition, directory: Path) -> Scoring:
    """Return a scoring role that has a release in force."""
    scoring = Scoring(model, directory)
    await scoring.start()
    await scoring.deploy(release(model, scoring.artefacts))
    return scoring


@pytest.fixture
async def scoring(tmp_path: Path) -> AsyncIterator[Scoring]:
    found = await started(LATE, tmp_path)
    yield found
    await found.member.stop(1.0)


async def arrive(scoring: Scoring, number: int) -> None:
    """Publish what became of a flight: UA's are late."""
    event = {
        "flight_id": f"F{number}",
        "delay_min": 60.0 if CARRIERS[number % 4 % 3] == "UA" else 0.0,
        "arrived_at": scoring.log.now_ms() + 1,
    }
    await scoring.log.producer().produce("flights.arrived", json.dumps(event).encode(), key=f"F{number}".encode())


async def fly(scoring: Scoring, flights: int = FLIGHTS) -> list[ScoreReply]:
    """Ask about flights, let them arrive, and learn; return the replies."""
    replies = [await scoring.answer(body(number)) for number in range(flights)]
    for number in range(flights):
        await arrive(scoring, number)
    await learn(scoring)
    return replies


def told(reply: ScoreReply) -> Personal:
    assert isinstance(reply.personal, Personal)
    return reply.personal


async def replayed(scoring: Scoring) -> tuple[PersonalModel, Population, dict[str, Evidence]]:
    """Return what a plain loop over the examples topic comes to: no store, no chain."""
    model = PersonalModel(OWN, LATE.inputs)
    population, known = model.population(), dict[str, Evidence]()
    for record in await scoring.records(topics.examples("demo", LATE)):
        made = msgspec.json.decode(record.value() or b"", type=Example)
        names = [name or "" for name in named(OWN, made.entities)]
        evidence: Sequence[Evidence] = [known.setdefault(name, model.fresh(population)) for name in names]
        instance = Instance(made.vector, made.scores["offline"], made.versions["offline"], made.label, made.at_ms)
        model.learn(instance, evidence, population)
    return model, population, known


async def test_entities_nobody_knows_get_the_offset_to_the_bit(scoring: Scoring) -> None:
    reply = await scoring.answer(body(1))
    [prediction] = await scoring.predictions()

    assert (reply.status, list(reply.scores)) == ("ok", ["own"])
    assert reply.scores["own"] == prediction.scores["offline"]
    assert told(reply).known == {"carrier": 0, "origin,carrier": 0}
    assert told(reply).adds == 0.0
    assert told(reply).deviation > 0.0
    assert prediction.entities == {"carrier": "AA", "origin": "JFK"}
    assert [(each.learner, each.role) for each in reply.versions] == [
        ("own", "champion"), ("offline", "member"), ("online", "shadow"),
    ]  # fmt: skip


async def test_what_was_learned_of_an_entity_moves_its_score_alone(scoring: Scoring) -> None:
    before = await fly(scoring)
    late, other, unknown = [
        await scoring.answer(body(0, inputs={"distance": 300.0, "carrier": carrier})) for carrier in ("UA", "AA", "ZZ")
    ]

    assert late.scores["own"] > before[0].scores["own"] + 0.1
    assert other.scores["own"] < before[1].scores["own"] - 0.05
    assert told(late).known == {"carrier": 20, "origin,carrier": 20}
    assert told(unknown).known == {"carrier": 0, "origin,carrier": 0}
    assert told(unknown).adds == 0.0
    assert told(late).deviation < told(unknown).deviation


async def test_a_score_is_what_a_plain_replay_of_the_examples_gives(scoring: Scoring) -> None:
    """Parity, to the bit: the served score against a loop over the examples topic, from nothing."""
    await fly(scoring)
    await scoring.records(topics.outcomes("demo", LATE))
    model, population, known = await replayed(scoring)
    for number in range(8):
        reply = await scoring.answer(body(number))
        [prediction] = await scoring.predictions()
        version = next(each.digest for each in prediction.versions if each.learner == "offline")
        evidence = [known.get(name or "") or model.fresh(population) for name in named(OWN, prediction.entities)]
        recalled = model.recall(prediction.vector, evidence, population, version)

        assert population.digest == version
        assert (recalled.adds, recalled.deviation) == (told(reply).adds, told(reply).deviation)
        assert model.score(prediction.scores["offline"], recalled.adds) == reply.scores["own"]


async def test_features_and_entities_are_one_question_to_the_store(scoring: Scoring) -> None:
    await fly(scoring)
    asked = len(scoring.store.timeouts_ms)
    for number in range(20):
        await scoring.ask(body(number))

    assert [told(reply).known["carrier"] > 0 for reply in await scoring.replies()] == [True] * 20
    assert len(scoring.store.timeouts_ms) == asked + 1


async def test_without_a_store_the_offset_answers_and_the_reply_says_so(scoring: Scoring) -> None:
    """Could not read is not no data: nobody is told that the entity is unknown."""
    await fly(scoring)
    await scoring.records(topics.outcomes("demo", LATE))
    scoring.store.is_down = True
    reply = await scoring.answer(body(0))
    [prediction] = await scoring.predictions()

    assert (reply.status, reply.reason) == ("degraded", "features_unavailable")
    assert "own" in reply.degraded
    assert reply.personal is msgspec.UNSET
    assert reply.scores["own"] == prediction.scores["offline"]


async def test_a_release_that_nothing_was_learned_on_yet_keeps_what_is_known_less_sure(scoring: Scoring) -> None:
    await fly(scoring)
    before = await scoring.answer(body(0))
    await scoring.deploy(release(LATE, scoring.artefacts, seed=2))
    after = await scoring.answer(body(0))

    assert told(after).adds == pytest.approx(told(before).adds, rel=1e-5)
    assert told(after).deviation > 1.05 * told(before).deviation


async def test_a_cell_of_a_topic_that_is_no_more_does_not_count(scoring: Scoring) -> None:
    await fly(scoring)
    [partition] = await scoring.log.partitions(topics.examples("demo", LATE))
    stale = RowKey(fold(LATE, OWN), Partition(partition.topic, partition.index, "old"))
    held = scoring.store.create_row(stale, Row(next=0, first=0))
    before = await scoring.answer(body(0))
    [cells] = scoring.store.read(Question(cells=[(stale.fold, "carrier/AA")])).cells
    [other] = cells.values()
    codec, old = PersonalCodec(), PersonalModel(OWN, LATE.inputs).population()
    gone = {"carrier/UA": Cell(10**9, other.state), "@population": Cell(10**9, codec.encode(old) or b"")}
    scoring.store.write([Link(stale, held.mark, fresh_mark(), gone, None)])
    after = await scoring.answer(body(0))

    assert (after.scores, after.personal) == (before.scores, before.personal)


async def test_drawn_scores_can_be_had_again_and_their_propensity_is_logged(tmp_path: Path) -> None:
    exploring = personal_learner(by=(("carrier",),), features=(), explore=0.5)
    model = model_definition(learners=[exploring, xgboost_learner()])
    scoring = await started(model, tmp_path)
    replies = [await scoring.answer(body(0)) for _ in range(60)]
    predictions = await scoring.predictions()

    assert len({reply.scores["own"] for reply in replies}) == 60
    for reply, prediction in zip(replies, predictions, strict=True):
        offset = math.log(prediction.scores["offline"] / (1 - prediction.scores["offline"]))
        added = draw(told(reply).adds, told(reply).deviation, seed=f"{reply.request_id}/own")
        above = 0.5 * math.erfc(-offset / told(reply).deviation / math.sqrt(2))

        assert told(reply).drawn
        assert reply.scores["own"] == pytest.approx(1 / (1 + math.exp(-offset - added)), rel=1e-12)
        assert prediction.propensity == pytest.approx(above if reply.scores["own"] >= 0.5 else 1 - above)
    await scoring.member.stop(1.0)
