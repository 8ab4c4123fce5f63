"""``headrace score`` and ``headrace load``: what the command line means, and how load is measured."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice

import pytest

from agents.client import ScoreQuestion, ScoringClient
from agents.transport.in_process import InProcessLog
from definitions.declared import Field, Input
from definitions.requests import RequestValues, check_inputs
from definitions.values import ValueType
from headrace.command.load import LoadResult, ask_at_rate, made_up
from headrace.command.score import read_entities, read_inputs
from headrace.errors import UsageError
from streams import topics
from streams.messages import ScoreReply
from streams.topics import TopicConfig
from tests.builders import event_definition, model_definition, request_input, view_definition

GATE = event_definition(fields=(*event_definition().fields, Field("gate", ValueType.INT)))
MODEL = model_definition(
    views=[view_definition(), view_definition(on=GATE, by=("gate", "tail"), name="gate_traffic")],
    inputs=[
        request_input("distance"),
        request_input("stops", ValueType.INT),
        request_input("holiday", ValueType.BOOL),
        request_input("carrier", ValueType.CATEGORY),
    ],
    carried=(Input("query", ValueType.EMBEDDING, length=2),),
)


def test_values_are_typed_as_the_model_declares_them() -> None:
    entities = read_entities(MODEL, ["origin=JFK", "gate=12", "tail="])
    inputs = read_inputs(MODEL, ["distance=2475", "stops=0", "holiday=True", "carrier=a=b", "query=[0.5, -1]"])

    assert entities == {"origin": "JFK", "gate": 12, "tail": None}
    assert inputs == {"distance": 2475.0, "stops": 0, "holiday": True, "carrier": "a=b", "query": [0.5, -1.0]}
    assert isinstance(check_inputs(MODEL, entities, inputs), RequestValues)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("distance", "expected NAME=VALUE, got 'distance'"),
        ("distanse=1", "did you mean 'distance'"),
        ("distance=far", "--input distance: expected float, got 'far'"),
        ("stops=1.5", "--input stops: expected int, got '1.5'"),
        ("holiday=maybe", "--input holiday: expected bool, got 'maybe'"),
        ("query=0.5,far", "--input query: expected embedding, got '0.5,far'"),
    ],
)
def test_a_value_that_cannot_be_meant_is_wrong_usage(given: str, problem: str) -> None:
    with pytest.raises(UsageError, match="cannot read --input") as raised:
        read_inputs(MODEL, [given])
    assert problem in str(raised.value)


def test_questions_are_made_up_of_what_the_model_asks_for() -> None:
    first, second = islice(made_up(MODEL, {"origin": "JFK"}, {"distance": 7.0}), 2)

    for question in (first, second):
        assert isinstance(check_inputs(MODEL, question["entities"] or {}, question["inputs"] or {}), RequestValues)
        assert (question["entities"] or {})["origin"] == "JFK"
        assert (question["inputs"] or {})["distance"] == 7.0
    assert first["label_key"] != second["label_key"]


def test_percentiles_are_those_of_the_nearest_rank() -> None:
    result = LoadResult(latencies_ms=[float(each) for each in range(1, 101)])

    assert result.percentiles_ms() == {"p50": 51.0, "p90": 91.0, "p99": 100.0, "p999": 100.0, "max": 100.0}
    assert LoadResult().percentiles_ms()["p99"] == 0.0


def test_a_reply_by_the_role_is_no_unanswered_request() -> None:
    result = LoadResult()
    result.note(ScoreReply(request_id="t/0@1", status="expired", reason="deadline"), 5.0)
    result.note(ScoreReply(request_id="", status="expired", reason="deadline"), 5.0)

    assert (result.replies["expired"], result.reasons["deadline"], result.unanswered) == (2, 2, 1)


async def test_latency_counts_from_the_time_a_request_was_due() -> None:
    """A caller that waits for a stalled one is not asked less often: every request of the stall is late."""
    log = InProcessLog()
    await log.create_topics([TopicConfig(topics.requests("demo", MODEL), 1), TopicConfig(topics.replies("demo"), 1)])
    async with ScoringClient("demo", log=log) as client:
        questions = made_up(MODEL, {}, {})
        result = await ask_at_rate(client, MODEL.name, questions, rate=1_000, seconds=0.05, timeout_ms=100)

    assert result.replies == {"expired": 50}
    assert result.unanswered == 50
    assert min(result.latencies_ms) >= 99
    assert result.percentiles_ms(scored=True)["p99"] == 0.0


async def test_a_stall_of_the_one_who_asks_is_seen_in_every_latency_and_said() -> None:
    log = InProcessLog()
    await log.create_topics([TopicConfig(topics.requests("demo", MODEL), 1), TopicConfig(topics.replies("demo"), 1)])

    def stalling() -> Iterator[ScoreQuestion]:
        for place, question in enumerate(made_up(MODEL, {}, {})):
            if place == 1:
                time.sleep(0.2)  # the asking process does not turn
            yield question

    async with ScoringClient("demo", log=log) as client:
        result = await ask_at_rate(client, MODEL.name, stalling(), rate=1_000, seconds=0.01, timeout_ms=1)

    assert result.behind_ms >= 190
    assert sum(latency >= 190 for latency in result.latencies_ms) == 10  # the first was due, and not yet sent
