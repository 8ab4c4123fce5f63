"""The client's law: a caller sees exactly one outcome, by its deadline."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import msgspec
import pytest

from agents.client import RequestRefused, ScoreQuestion, ScoringClient
from agents.client.blocking import SyncScoringClient
from agents.transport import Tail
from agents.transport.in_process import InProcessLog
from streams import topics
from streams.messages import RankedCandidate, ScoreReply, ScoreRequest, encode
from streams.records import Partition, Record
from streams.request_reply import CORRELATION_ID, REPLY_PARTITION, REPLY_TOPIC, TIMEOUT_MS, TRACEPARENT, partition_of
from streams.topics import TopicConfig

REQUESTS = topics.requests_of("demo", "late")
REPLIES = topics.replies("demo")
QUESTION: dict[str, Any] = {
    "entities": {"origin": "JFK", "tail": None},
    "inputs": {"distance": 2475.0},
    "label_key": "F1",
    "at": 5,
}
DEADLINE_S = 30.0


class Scorer:
    """Stands at the other end: reads requests, and replies as a test says."""

    def __init__(self, log: InProcessLog, tail: Tail) -> None:
        self._log = log
        self._tail = tail

    @classmethod
    async def beside(cls, log: InProcessLog) -> Scorer:
        partitions = await log.partitions(REQUESTS)
        return cls(log, await log.tail([(partition, 0) for partition in partitions]))

    async def next_requests(self, count: int = 1) -> list[Record]:
        found: list[Record] = []
        async with asyncio.timeout(DEADLINE_S):
            while len(found) < count:
                found += [record for _, record in await self._tail.poll(DEADLINE_S)]
        return found

    async def reply(self, request: Record, value: bytes) -> None:
        headers = dict(request.headers() or ())
        await self._log.producer().produce(
            headers[REPLY_TOPIC].decode(),
            value,
            headers=[(CORRELATION_ID, headers[CORRELATION_ID])],
            partition=partition_of(headers[REPLY_PARTITION]),
        )


def scored(score: float) -> bytes:
    return encode(ScoreReply(request_id="r", status="ok", scores={"offline": score}))


async def topics_of_demo() -> InProcessLog:
    log = InProcessLog()
    await log.create_topics([TopicConfig(REQUESTS, partitions=4), TopicConfig(REPLIES, partitions=16)])
    return log


@pytest.fixture
async def log() -> InProcessLog:
    return await topics_of_demo()


@pytest.fixture
async def client(log: InProcessLog) -> AsyncIterator[ScoringClient]:
    async with ScoringClient("demo", log=log) as opened:
        yield opened


@pytest.fixture
async def scorer(log: InProcessLog) -> Scorer:
    return await Scorer.beside(log)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110  # what is waited for sets no event
            await asyncio.sleep(0.001)


async def test_a_reply_is_the_outcome(client: ScoringClient, scorer: Scorer) -> None:
    asked = asyncio.create_task(client.score("late", **QUESTION, timeout_ms=4_000))
    [request] = await scorer.next_requests()
    await scorer.reply(request, scored(0.25))

    assert (await asked).scores == {"offline": 0.25}
    assert client.late_replies == 0


async def test_a_request_says_all_that_the_protocol_asks_for(client: ScoringClient, scorer: Scorer) -> None:
    asked = asyncio.create_task(client.score("late", **QUESTION, timeout_ms=4_000))
    [request] = await scorer.next_requests()
    await scorer.reply(request, scored(0.0))
    await asked

    headers = dict(request.headers() or ())
    assert 1 <= len(headers[CORRELATION_ID]) <= 64
    assert headers[REPLY_TOPIC] == b"demo.replies"
    assert len(headers[REPLY_PARTITION]) == 4
    assert headers[TIMEOUT_MS] == b"4000"
    assert request.value() == encode(ScoreRequest(model="late", **QUESTION))


async def test_candidates_are_asked_for_and_come_back_in_order(client: ScoringClient, scorer: Scorer) -> None:
    candidates = [{"id": "a", "inputs": {"price": None}}, {"id": "b", "inputs": {"price": 2.0}}]
    asked = asyncio.create_task(client.score("late", candidates=candidates, timeout_ms=4_000))
    [request] = await scorer.next_requests()
    ranked = [RankedCandidate("b", 0.5), RankedCandidate("a", None)]
    await scorer.reply(request, encode(ScoreReply(request_id="r", status="ok", candidates=ranked)))

    assert msgspec.json.decode(request.value() or b"")["candidates"] == candidates
    assert (await asked).candidates == ranked


async def test_no_reply_is_expired_by_the_deadline(client: ScoringClient) -> None:
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    reply = await client.score("late", **QUESTION, timeout_ms=30)

    assert (reply.status, reply.reason) == ("expired", "deadline")
    assert 0.029 <= loop.time() - started_s < 1.0


class SlowToTell(InProcessLog):
    """A log that tells of a requests topic only when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.let = asyncio.Event()

    async def partitions(self, topic: str) -> tuple[Partition, ...]:
        if topic == REQUESTS:
            await self.let.wait()
        return await super().partitions(topic)


async def test_the_first_request_has_what_looking_its_topic_up_has_left_of_the_budget() -> None:
    log, loop = SlowToTell(), asyncio.get_running_loop()
    await log.create_topics([TopicConfig(REQUESTS, partitions=4), TopicConfig(REPLIES, partitions=16)])
    async with ScoringClient("demo", log=log) as client:
        too_short = await client.score("late", **QUESTION, timeout_ms=20)
        asked = asyncio.create_task(client.score("late", **QUESTION, timeout_ms=4_000))
        loop.call_later(0.1, log.let.set)
        scorer = await Scorer.beside(log)
        [request] = await scorer.next_requests()
        await scorer.reply(request, scored(0.5))
        reply = await asked

    assert (too_short.status, reply.status) == ("expired", "ok")
    assert int(dict(request.headers() or ())[TIMEOUT_MS]) <= 3_900


async def test_a_late_reply_is_counted_and_changes_nothing(client: ScoringClient, scorer: Scorer) -> None:
    first = await client.score("late", **QUESTION, timeout_ms=1)
    [request] = await scorer.next_requests()
    await scorer.reply(request, scored(0.5))
    await until(lambda: client.late_replies == 1)

    assert first.status == "expired"


async def test_of_two_replies_the_first_wins(client: ScoringClient, scorer: Scorer) -> None:
    asked = asyncio.create_task(client.score("late", **QUESTION, timeout_ms=4_000))
    [request] = await scorer.next_requests()
    await scorer.reply(request, scored(0.1))
    await scorer.reply(request, scored(0.9))

    assert (await asked).scores == {"offline": 0.1}
    await until(lambda: client.late_replies == 1)


async def test_replies_reach_the_requests_they_answer_in_any_order(client: ScoringClient, scorer: Scorer) -> None:
    async def ask(place: int) -> float:
        reply = await client.score("late", inputs={"place": place}, label_key=place, timeout_ms=4_000)
        return reply.scores["offline"]

    asked = asyncio.gather(*(ask(place) for place in range(100)))
    requests = await scorer.next_requests(100)
    for request in reversed(requests):
        body = msgspec.json.decode(request.value() or b"", type=ScoreRequest)
        await scorer.reply(request, scored(float(body.label_key or 0)))

    assert await asked == [float(place) for place in range(100)]


async def test_replies_of_another_client_are_none_of_ours(log: InProcessLog) -> None:
    await log.create_topics([TopicConfig("two.replies", partitions=1), TopicConfig("two.late.requests", partitions=1)])
    async with ScoringClient("two", log=log) as mine, ScoringClient("two", log=log) as other:
        [partition] = await log.partitions("two.late.requests")
        requests = Scorer(log, await log.tail([(partition, 0)]))
        asked = asyncio.create_task(mine.score("late", **QUESTION, timeout_ms=4_000))
        [request] = await requests.next_requests()
        await requests.reply(request, scored(0.7))

        assert (await asked).scores == {"offline": 0.7}
        assert other.late_replies == 0


async def test_an_unreadable_reply_is_an_error_not_a_wait(client: ScoringClient, scorer: Scorer) -> None:
    asked = asyncio.create_task(client.score("late", **QUESTION, timeout_ms=4_000))
    [request] = await scorer.next_requests()
    await scorer.reply(request, b"\xff{")

    reply = await asked
    assert (reply.status, reply.reason) == ("error", "internal")


async def test_an_unknown_model_is_the_callers_error_before_it_sends(client: ScoringClient) -> None:
    with pytest.raises(
        RequestRefused, match=r"model 'late-ish': expected the topic demo\.late-ish\.requests, got none"
    ):
        await client.score("late-ish", **QUESTION, timeout_ms=4_000)


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        ({"inputs": {"text": "x" * 1024 * 1024}}, "too_large"),
        ({"inputs": {"distance": float("nan")}}, "invalid"),
        (
            {"candidates": [{"id": "a", "inputs": {"price": 1.0}}, {"id": "b", "inputs": {"price": float("nan")}}]},
            "invalid",
        ),
        ({"timeout_ms": 60_001}, "invalid"),
    ],
)
async def test_what_is_not_worth_sending_is_rejected_unsent(
    client: ScoringClient, log: InProcessLog, question: dict[str, Any], reason: str
) -> None:
    reply = await client.score("late", **{"timeout_ms": 4_000, **question})

    assert (reply.status, reply.reason) == ("rejected", reason)
    assert [end for _, end in await log.bounds(await log.partitions(REQUESTS))] == [0, 0, 0, 0]


async def test_more_requests_than_may_be_under_way_are_rejected_at_once(log: InProcessLog) -> None:
    async with ScoringClient("demo", log=log, max_pending=2) as client:
        replies = await asyncio.gather(*(client.score("late", **QUESTION, timeout_ms=50) for _ in range(3)))
        again = await client.score("late", **QUESTION, timeout_ms=1)

    assert sorted(reply.status for reply in replies) == ["expired", "expired", "rejected"]
    assert [reply.reason for reply in replies if reply.status == "rejected"] == ["overloaded"]
    assert again.status == "expired"


async def test_requests_under_way_end_when_the_client_is_closed(log: InProcessLog, scorer: Scorer) -> None:
    client = ScoringClient("demo", log=log)
    await client.open()
    asked = asyncio.create_task(client.score("late", **QUESTION, timeout_ms=60_000))
    await scorer.next_requests()
    await client.close()

    assert (await asked).status == "expired"
    with pytest.raises(RequestRefused, match="not open"):
        await client.score("late", **QUESTION, timeout_ms=4_000)


async def test_many_are_asked_at_once_and_each_has_its_own_outcome(client: ScoringClient, scorer: Scorer) -> None:
    questions: list[ScoreQuestion] = [{"inputs": {"place": place}, "label_key": place} for place in range(50)]
    questions[7] = {"inputs": {"place": float("nan")}}
    asked = asyncio.create_task(client.score_many("late", questions, timeout_ms=4_000))
    for request in reversed(await scorer.next_requests(49)):
        body = msgspec.json.decode(request.value() or b"", type=ScoreRequest)
        await scorer.reply(request, scored(float(body.label_key or 0)))
    outcomes = await asked

    assert [reply.scores.get("offline") for reply in outcomes if reply.status == "ok"] == [
        float(place) for place in range(50) if place != 7
    ]
    assert (outcomes[7].status, outcomes[7].reason) == ("rejected", "invalid")


async def test_of_many_those_without_a_reply_expire_together_by_the_deadline(
    client: ScoringClient, scorer: Scorer
) -> None:
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    asked = asyncio.create_task(client.score_many("late", [QUESTION] * 3, timeout_ms=300))
    await scorer.reply((await scorer.next_requests(3))[1], scored(0.5))
    outcomes = await asked

    assert sorted(reply.status for reply in outcomes) == ["expired", "expired", "ok"]
    assert 0.299 <= loop.time() - started_s < 3.0


async def test_of_many_those_beyond_what_may_be_under_way_are_not_sent(log: InProcessLog, scorer: Scorer) -> None:
    async with ScoringClient("demo", log=log, max_pending=2) as client:
        outcomes = await client.score_many("late", [QUESTION] * 5, timeout_ms=50)

        assert [reply.status for reply in outcomes] == ["expired"] * 2 + ["rejected"] * 3
        assert {reply.reason for reply in outcomes[2:]} == {"overloaded"}
        assert len(await scorer.next_requests(2)) == 2
        assert await client.score_many("late", [], timeout_ms=50) == []


async def test_nobody_asks_without_a_deadline(client: ScoringClient) -> None:
    with pytest.raises(TypeError, match="timeout_ms"):
        await client.score("late", **QUESTION)


async def test_a_trace_travels_with_the_request_if_it_is_one(client: ScoringClient, scorer: Scorer) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    questions: list[ScoreQuestion] = [{"traceparent": trace}, {"traceparent": "none"}, {}]
    asked = asyncio.create_task(client.score_many("late", questions, timeout_ms=4_000))
    requests = await scorer.next_requests(3)
    for request in requests:
        await scorer.reply(request, scored(0.5))
    await asked

    assert sorted(dict(each.headers() or ()).get(TRACEPARENT, b"") for each in requests) == [b"", b"", trace.encode()]


async def test_a_cancelled_caller_leaves_nothing_behind(log: InProcessLog, scorer: Scorer) -> None:
    async with ScoringClient("demo", log=log, max_pending=1) as client:
        asked = asyncio.create_task(client.score("late", **QUESTION, timeout_ms=60_000))
        [request] = await scorer.next_requests()
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        await scorer.reply(request, scored(0.1))
        await until(lambda: client.late_replies == 1)

        assert (await client.score("late", **QUESTION, timeout_ms=1)).status == "expired"


async def test_a_namespace_without_replies_is_refused() -> None:
    with pytest.raises(RequestRefused, match=r"nowhere\.replies"):
        await ScoringClient("nowhere", log=InProcessLog()).open()


def test_a_client_is_of_one_log() -> None:
    with pytest.raises(RequestRefused, match="either"):
        ScoringClient("demo")
    with pytest.raises(RequestRefused, match="either"):
        ScoringClient("demo", log=InProcessLog(), kafka="127.0.0.1:1")


class EchoLog(InProcessLog):
    """A log at whose other end the model answers at once: for a client that has its own thread."""

    def producer(self) -> Any:
        return self

    def send(self, topic: str, value: bytes | None, *, headers: Sequence[tuple[str, bytes]] = ()) -> None:
        given = dict(headers)
        super().producer().send(topic, value, headers=headers)
        super().producer().send(
            given[REPLY_TOPIC].decode(),
            scored(0.75),
            headers=[(CORRELATION_ID, given[CORRELATION_ID])],
            partition=partition_of(given[REPLY_PARTITION]),
        )


def test_code_without_an_event_loop_asks_the_same() -> None:
    log = EchoLog()
    asyncio.run(log.create_topics([TopicConfig(REQUESTS, partitions=1), TopicConfig(REPLIES, partitions=2)]))
    with SyncScoringClient("demo", log=log) as client:
        assert client.score("late", **QUESTION, timeout_ms=4_000).scores == {"offline": 0.75}
        assert len(client.score_many("late", [QUESTION] * 3, timeout_ms=4_000)) == 3
        with pytest.raises(RequestRefused, match="nosuch"):
            client.score("nosuch", **QUESTION, timeout_ms=4_000)
    with pytest.raises(RequestRefused, match="not open"):
        client.score("late", **QUESTION, timeout_ms=4_000)


def test_a_client_that_cannot_open_leaves_no_thread() -> None:
    client = SyncScoringClient("nowhere", log=InProcessLog())
    with pytest.raises(RequestRefused, match=r"nowhere\.replies"):
        client.open()
    client.close()
