"""Whatever is sent to a requests topic gets its stated answer, in the company of requests that get their scores."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from agents.client import ScoreQuestion, ScoringClient
from streams import topics
from streams.records import Record
from streams.request_reply import CORRELATION_ID, REPLY_PARTITION, REPLY_TOPIC, TIMEOUT_MS, partition_bytes
from tests.answering import NAMESPACE, Answering, answering
from tests.bad_requests import MEGABYTE, QUESTION, REJECTED, SERVED, UNROUTABLE, Bad, headers_of
from tests.builders import model_definition, river_learner
from tests.releases import linear

LATE = model_definition(learners=[river_learner(factory=linear)])
TIMEOUT = 20_000
GOOD: ScoreQuestion = {
    "entities": QUESTION["entities"], "inputs": QUESTION["inputs"], "label_key": "F1"
}  # fmt: skip
OF_THE_CLIENT: dict[str, tuple[dict[str, Any], str]] = {
    "5 MB": ({"inputs": {"carrier": "x" * 5_000_000}}, "too_large"),
    "a mebibyte of many": ({"inputs": {f"{number}": 1.0 for number in range(100_000)}}, "too_large"),
    "NaN": ({"inputs": {"distance": float("nan")}}, "invalid"),
    "what JSON cannot say": ({"inputs": {"distance": object()}}, "invalid"),
}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[Answering]:
    async with answering(LATE, tmp_path) as world:
        yield world


async def beside_others(world: Answering, bads: Mapping[str, Bad]) -> dict[str, list[dict[str, Any]]]:
    """Send requests among good ones, which all get their scores; return the replies that each got, by its name."""
    sent: dict[str, bytes] = {}
    async with ScoringClient(NAMESPACE, log=world.log) as client:
        for name, bad in bads.items():
            sent[name] = await send(world, bad, name)
            replies = await client.score_many("late", [GOOD] * 5, timeout_ms=TIMEOUT)
            assert [(each.status, len(each.scores)) for each in replies] == [("ok", 1)] * 5, name
    partitions = await world.log.partitions(topics.replies(NAMESPACE))
    tail = await world.log.tail([(each, 0) for each in partitions])
    records = [record for _, record in await tail.poll(1.0)]
    await tail.stop()
    assert len(records) == len([each for each in records if _id_of(each) in sent.values()]) + 5 * len(bads)
    return {
        name: [json.loads(each.value() or b"") for each in records if _id_of(each) == correlation_id]
        for name, correlation_id in sent.items()
    }


async def send(world: Answering, bad: Bad, name: str) -> bytes:
    """Send a request; return its correlation id, which is its name unless it brings another."""
    good = {
        CORRELATION_ID: name.encode(),
        REPLY_TOPIC: topics.replies(NAMESPACE).encode(),
        REPLY_PARTITION: partition_bytes(3),
        TIMEOUT_MS: b"%d" % TIMEOUT,
    }
    headers = headers_of(bad, NAMESPACE, good)
    await world.log.producer().produce(topics.requests(NAMESPACE, LATE), bad.value, headers=headers, partition=0)
    return dict(headers).get(CORRELATION_ID, b"none")


def _id_of(record: Record) -> bytes:
    return dict(record.headers() or ())[CORRELATION_ID]


async def test_what_is_wrong_is_rejected_with_its_reason_and_path(world: Answering) -> None:
    answers = await beside_others(world, {name: bad for name, (bad, _, _) in REJECTED.items()})

    for name, (_, reason, path) in REJECTED.items():
        [reply] = answers[name]
        assert (reply["status"], reply["reason"]) == ("rejected", reason), name
        assert reply["message"].startswith(f"cannot read request: {path}: "), name
        assert reply["message"].isprintable(), name
        assert len(reply["message"]) < 250, name


async def test_what_is_odd_and_yet_asks_something_gets_its_score(world: Answering) -> None:
    answers = await beside_others(world, SERVED)

    assert {name: [each["status"] for each in replies] for name, replies in answers.items()} == {
        name: ["ok"] for name in SERVED
    }


async def test_what_cannot_be_routed_is_counted_and_nothing_is_written_elsewhere(world: Answering) -> None:
    answers = await beside_others(world, {name: bad for name, (bad, _) in UNROUTABLE.items()})

    assert set(map(len, answers.values())) == {0}
    counts = Counter(reason for _, reason in UNROUTABLE.values())
    assert {reason: world.count("requests_unroutable", reason=reason) for reason in counts} == counts
    elsewhere = [topics.outcomes(NAMESPACE, LATE), LATE.views[0].sources[0].event.topic]
    partitions = [each for topic in elsewhere for each in await world.log.partitions(topic)]
    assert sum(await world.log.ends(partitions)) == 5 * len(UNROUTABLE)  # the predictions of the good ones


async def test_what_is_not_worth_sending_is_refused_by_the_client(world: Answering) -> None:
    for name, (changes, reason) in OF_THE_CLIENT.items():
        async with ScoringClient(NAMESPACE, log=world.log) as client:
            refused: ScoreQuestion = {**GOOD, **changes}  # type: ignore[typeddict-item]
            replies = await client.score_many("late", [GOOD, refused, GOOD], timeout_ms=TIMEOUT)

        assert [each.status for each in replies] == ["ok", "rejected", "ok"], name
        assert (replies[1].reason, len(replies[1].message or "") < 250) == (reason, True), name
    requests = await world.log.partitions(topics.requests(NAMESPACE, LATE))
    assert sum(await world.log.ends(requests)) == 2 * len(OF_THE_CLIENT)


async def test_no_metric_has_a_label_that_a_caller_makes_up(world: Answering) -> None:
    megabyte = Bad(json.dumps({**QUESTION, "model": MEGABYTE}).encode())
    unknown = {name: bad for name, (bad, _, _) in REJECTED.items() if "model" in name}
    await beside_others(world, {**unknown, "a megabyte": megabyte, **SERVED})

    models = {
        sample.labels["model"]
        for metric in world.metrics.registry.collect()
        for sample in metric.samples
        if "model" in sample.labels
    }
    assert models == {"late"}
