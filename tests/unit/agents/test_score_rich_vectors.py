"""A model of expressions, lookups and embeddings: answered in two round trips, and as its training set has it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from batch.build_training_set import build_training_set, question_of
from definitions.declared import ModelDefinition
from streams.messages import Prediction, ScoreRequest
from tests.builders import declare
from tests.releases import release
from tests.unit.agents.test_score import HOUR_MS, NOW_MS, Scoring, counted
from tests.unit.batch.memory_history import MemoryHistory

APP = """\
from datetime import datetime
from typing import Annotated
from river.linear_model import LogisticRegression
import headrace as hr
class Departed(hr.Event, topic="flights.departed", id="flight_id", at="departed_at", disorder="15m"):
    flight_id: str; origin: str; carrier: str; tail: str | None
    delay_min: Annotated[float, hr.Unit("min")]
    state: Annotated[list[float] | None, hr.Length(3)]
    departed_at: datetime
class Arrived(hr.Event, topic="flights.arrived", id="flight_id", at="arrived_at"):
    flight_id: str; delay_min: float; arrived_at: datetime
class Origin(hr.Features, on=Departed, by="origin", version=1):
    flights = hr.count().over("1h")
    newest = hr.last(Departed.departed_at).over("1h", every="1h")
    state = hr.last(Departed.state).over("1h", every="1h")
    idle = hr.asked_at() - newest["1h"]
class Carrier(hr.Features, on=Departed, by="carrier", version=1):
    delay = hr.mean(Departed.delay_min).over("1h")
class Tail(hr.Features, on=Departed, by="tail", version=1):
    carrier = hr.last(Departed.carrier).over("1h")
class Late(hr.Model, version=1):
    features = [
        Origin.state["1h"],
        Origin.idle,
        hr.named("per_seat", Origin.flights["1h"] / hr.request("seats", int)),
        hr.lookup(Carrier.delay["1h"], by=Tail.carrier["1h"]),
        hr.named("slow", (hr.lookup(Carrier.delay["1h"], by=Tail.carrier["1h"]) > 4).else_(False)),
        hr.named("hour", hr.hour(hr.asked_at(), tz="America/New_York")),
        hr.request("query", list[float], length=2),
    ]
    label = hr.Label(Arrived, key="flight_id", value=Arrived.delay_min > 15, within="24h")
    online = hr.river(lambda: LogisticRegression())
    offline = hr.xgboost(objective="binary:logistic")
    route = hr.Route(champion="offline", shadow=["online"])
"""
LATE: ModelDefinition = declare(APP)["Late"].definition
AGE_IN_HOUR_MS, AGE_IN_MINUTE_MS = NOW_MS % HOUR_MS, NOW_MS % 60_000
"""How long before now the tiles began that the newest events are in."""
LOOKED_UP = "carrier@tail.carrier_1h"
BODY: dict[str, Any] = {
    "model": "late",
    "entities": {"origin": "JFK", "tail": "N1"},
    "inputs": {"seats": 4, "query": [1, -0.5]},
    "label_key": "F1",
}
EVENTS: list[dict[str, Any]] = [
    {"flight_id": f"F{place}", "origin": "JFK", "carrier": carrier, "tail": tail, "delay_min": delay, "state": state,
     "departed_at": NOW_MS - ago_ms}
    for place, (carrier, tail, delay, state, ago_ms) in enumerate(
        [("UA", "N1", 3.0, [1, 2.5, -0.0], 9_000), ("UA", None, 6.0, None, 8_000), ("AA", "N2", 9.0, None, 7_000)]
    )
]  # fmt: skip


@pytest.fixture
async def scoring(tmp_path: Path) -> AsyncIterator[Scoring]:
    scoring = Scoring(LATE, tmp_path)
    await scoring.start()
    for event in EVENTS:
        await scoring.log.producer().produce("flights.departed", json.dumps(event).encode(), partition=0)
    await counted(scoring)
    await scoring.deploy(release(LATE, scoring.artefacts))
    scoring.store.timeouts_ms.clear()
    yield scoring
    await scoring.member.stop(1.0)


async def logged(scoring: Scoring) -> Prediction:
    [prediction] = await scoring.predictions()
    return prediction


async def test_the_vector_holds_expressions_lookups_and_embeddings(scoring: Scoring) -> None:
    reply = await scoring.answer(BODY)

    assert (reply.status, reply.degraded, reply.absent) == ("ok", [], [])
    [prediction] = await scoring.predictions()
    assert prediction.vector == [[1.0, 2.5, 0.0], 7_000, 0.75, 4.5, True, 12, [1.0, -0.5]]
    assert prediction.ages_ms == [AGE_IN_HOUR_MS, AGE_IN_HOUR_MS, *3 * [AGE_IN_MINUTE_MS], None, None]
    assert set(prediction.scores) == {"offline", "online"}
    carrier, tail, origin = (
        view.key for name in ("carrier", "tail", "origin") for view in LATE.all_views if view.name == name
    )
    assert prediction.positions.keys() == {origin, tail, f"{carrier}@tail.carrier_1h"}


async def test_a_whole_batch_is_two_questions_to_the_store(scoring: Scoring) -> None:
    for _ in range(20):
        await scoring.ask(BODY)

    assert [reply.status for reply in await scoring.replies()] == ["ok"] * 20
    assert len(scoring.store.timeouts_ms) == 2


async def test_what_is_served_is_what_a_training_set_has_for_that_time(scoring: Scoring) -> None:
    await scoring.answer({**BODY, "at": NOW_MS})
    served = (await logged(scoring)).vector
    history = MemoryHistory(
        {
            "flights.departed": [[json.dumps(each).encode() for each in EVENTS]],
            "flights.arrived": [[json.dumps({"flight_id": "F1", "delay_min": 0, "arrived_at": NOW_MS + 1}).encode()]],
        }
    )

    training = build_training_set(LATE, [question_of(ScoreRequest(**BODY, at=NOW_MS), LATE, 1)], history)

    assert [repr(each) for each in training.vectors[0]] == [repr(each) for each in served]


async def test_a_tail_without_flights_looks_nothing_up(scoring: Scoring) -> None:
    reply = await scoring.answer({**BODY, "entities": {"origin": "JFK", "tail": None}})

    assert (reply.status, reply.absent) == ("ok", ["tail", LOOKED_UP])
    prediction = await logged(scoring)
    assert (prediction.vector[3:5], prediction.ages_ms[3:5]) == ([None, False], [None, None])


async def test_a_store_that_fails_on_the_way_costs_the_lookups_only(scoring: Scoring) -> None:
    scoring.store.fails_at = 2
    reply = await scoring.answer(BODY)

    assert (reply.status, reply.reason, reply.degraded) == ("degraded", "features_unavailable", [LOOKED_UP])
    prediction = await logged(scoring)
    assert prediction.vector == [[1.0, 2.5, 0.0], 7_000, 0.75, None, None, 12, [1.0, -0.5]]
    assert prediction.ages_ms == [AGE_IN_HOUR_MS, AGE_IN_HOUR_MS, AGE_IN_MINUTE_MS, *4 * [None]]


async def test_without_a_store_only_what_the_request_tells_is_known(scoring: Scoring) -> None:
    scoring.store.is_down = True
    reply = await scoring.answer(BODY)

    assert (reply.status, reply.degraded) == ("degraded", ["origin", "tail", LOOKED_UP])
    assert (await logged(scoring)).vector == [None, None, None, None, None, 12, [1.0, -0.5]]


async def test_an_old_question_cannot_be_looked_up_by_what_is_no_longer_kept(scoring: Scoring) -> None:
    later = {**EVENTS[0], "flight_id": "F9", "departed_at": NOW_MS + 72 * HOUR_MS, "origin": "LAX", "carrier": "AA"}
    scoring.clock.advance(72 * HOUR_MS)
    await scoring.log.producer().produce("flights.departed", json.dumps(later).encode(), partition=0)
    await counted(scoring)
    reply = await scoring.answer({**BODY, "at": NOW_MS})

    assert (reply.status, reply.reason) == ("degraded", "features_unavailable")
    assert {"tail.carrier_1h", "carrier.delay_1h@tail.carrier_1h"} <= set(reply.degraded)
    assert (await logged(scoring)).vector[3:5] == [None, None]


@pytest.mark.parametrize(
    ("inputs", "path"),
    [
        ({"query": [1, 2]}, "$.inputs.seats"),
        ({"seats": 4, "query": [1]}, "$.inputs.query"),
        ({"seats": 4, "query": [1, "2"]}, "$.inputs.query"),
        ({"seats": 4, "query": 1}, "$.inputs.query"),
    ],
)
async def test_what_expressions_read_is_asked_for_as_the_vector_is(
    scoring: Scoring, inputs: dict[str, object], path: str
) -> None:
    reply = await scoring.answer({**BODY, "inputs": inputs})

    assert (reply.status, reply.reason) == ("rejected", "invalid")
    assert (reply.message or "").startswith(f"cannot read request: {path}: ")
