"""What a caller imports to ask for a score: one question, exactly one outcome, by its deadline.

The wire may carry no reply, one, or several. The client takes the first, resolves ``expired`` itself when the time is
over, and counts what comes afterwards. It refuses before sending what cannot be answered.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypedDict, Unpack

import msgspec
from msgspec import UNSET

from agents.transport import Log, Producer, Tail
from definitions.errors import HeadraceError
from definitions.values import Value
from streams import topics
from streams.messages import ScoreReply, ScoreRequest
from streams.records import Record, headers_of
from streams.request_reply import Reason, ReplyTo, Status, correlation_id_of, well_formed
from streams.request_reply.writer import encode_request, expired, rejected, request_headers

MAX_PENDING = 10_000

_INSTANCE_BYTES = 8
_COUNTER_BYTES = 8
_POLL_S = 0.5


class RequestRefused(HeadraceError):  # noqa: N818  # a state of the world, as in the other rooms
    """A request that could not be sent: no such model, no reply topic, or a client that is not open."""


@dataclass(frozen=True, slots=True)
class _Line:
    """What an open client holds."""

    log: Log
    producer: Producer
    tail: Tail
    reading: asyncio.Task[None]
    reply_topic: str
    reply_partition: int


class ScoreQuestion(TypedDict, total=False):
    """What may be said about a request besides its model and its budget: the keywords of `ScoringClient.score`."""

    entities: Mapping[str, str | int | None] | None
    """Which entity of each kind the features are wanted of; None where there is none."""
    inputs: Mapping[str, Value] | None
    """The values that the request itself brings."""
    label_key: str | int | None
    """What the label will come with; needed where the model has a label."""
    at: int | str | None
    """The event time asked about, epoch ms or RFC 3339 with an offset; None means now."""
    traceparent: str | None
    """The trace that the request belongs to, as W3C Trace Context writes it; left out if it is not well formed."""
    candidates: Sequence[str | int | Mapping[str, Any]] | None
    """What a graph is to rank: ids, or objects of an ``id``, ``inputs`` of its own, ``label_key``; each id once."""


class ScoringClient:
    """Asks the models of one namespace for scores, over the log.

    Open it once per process and share it: it reads one partition of the reply topic for all its requests. It belongs to
    the event loop that opened it; `agents.client.blocking.SyncScoringClient` is the same for code that has none.

    Args:
        namespace: leads the names of the request and reply topics.
        kafka: bootstrap servers, ``host:port``; or else
        log: a log that is already there, and stays open when the client is closed.
        kafka_properties: librdkafka properties passed through, such as TLS and SASL.
        max_pending: requests under way; one more is ``rejected`` as ``overloaded`` at once, and not sent.

    Example::

        async with ScoringClient("flights", kafka="127.0.0.1:9092") as client:
            reply = await client.score(
                "late", entities={"origin": "JFK"}, inputs={"distance": 2475.0}, label_key="F1", timeout_ms=500
            )
    """

    def __init__(
        self,
        namespace: str,
        *,
        kafka: str | None = None,
        log: Log | None = None,
        kafka_properties: Mapping[str, str] | None = None,
        max_pending: int = MAX_PENDING,
    ) -> None:
        if (kafka is None) == (log is None):
            raise RequestRefused("cannot make a client: expected either kafka= or log=, got both or neither")
        self.late_replies = 0
        """Replies that came after their request was resolved: late ones and duplicates."""
        self._namespace = namespace
        self._kafka = kafka
        self._kafka_properties = kafka_properties or {}
        self._given_log = log
        self._max_pending = max_pending
        self._instance = os.urandom(_INSTANCE_BYTES)
        self._counter = itertools.count()
        self._pending: dict[bytes, asyncio.Future[ScoreReply]] = {}
        self._known: set[str] = set()
        self._decoder = msgspec.json.Decoder(ScoreReply)
        self._line: _Line | None = None

    @property
    def is_reading(self) -> bool:
        """Whether replies are read: False before it is open, and once reading them has ended for good."""
        return self._line is not None and not self._line.reading.done()

    async def open(self) -> None:
        """Start to read replies; what is asked afterwards can be answered.

        Raises:
            RequestRefused: the namespace has no reply topic.
            LogUnavailable: the log did not answer.
        """
        log = self._given_log or _connect(self._kafka or "", self._kafka_properties)
        try:
            self._line = await self._connected(log)
        except BaseException:
            await self._let_go(log)
            raise

    async def _connected(self, log: Log) -> _Line:
        topic = topics.replies(self._namespace)
        partitions = await log.partitions(topic)
        if not partitions:
            raise RequestRefused(f"cannot read replies: {topic}: expected a topic, got none; start the app's roles")
        chosen = random.choice(partitions)  # noqa: S311  # spreads instances, keeps no secret
        [(_, end)] = await log.bounds([chosen])
        tail = await log.tail([(chosen, end)])
        reading = asyncio.create_task(self._read_replies(tail), name="scoring-client-replies")
        return _Line(log, log.producer(), tail, reading, topic, chosen.index)

    async def close(self) -> None:
        """Stop reading; requests under way end as ``expired`` now."""
        line, self._line = self._line, None
        if line is None:
            return
        line.reading.cancel()
        await asyncio.gather(line.reading, return_exceptions=True)
        for waiting in self._pending.values():
            _resolve(waiting, expired())
        await line.tail.stop()
        await self._let_go(line.log)

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def score(self, model: str, *, timeout_ms: int, **question: Unpack[ScoreQuestion]) -> ScoreReply:
        """Ask a model, or a graph about ``candidates``; return the one outcome, at the latest after ``timeout_ms``.

        Args:
            model: its name.
            timeout_ms: the budget, 1 to 60,000. It has no default: only the caller knows how long an answer is of use.
            **question: what is asked, see `ScoreQuestion`.

        Raises:
            RequestRefused: there is no such model, or the client is not open; nothing was sent.
            LogUnavailable: replies can no longer be read, or the log did not tell of the model; open a new client.
        """
        [reply] = await self.score_many(model, [question], timeout_ms=timeout_ms)
        return reply

    async def score_many(self, model: str, questions: Iterable[ScoreQuestion], *, timeout_ms: int) -> list[ScoreReply]:
        """Ask for several scores at once, and return an outcome for each, in order, at the latest after ``timeout_ms``.

        Each is a request of its own: one that is refused or late costs no other its answer. Those beyond what may be
        under way are ``rejected`` as ``overloaded``, unsent. Raises what `score` does.

        Cost: 20 us a request before the first is awaited; so ask for thousands in parts.
        """
        line, loop = self._opened(), asyncio.get_running_loop()
        until_s = loop.time() + timeout_ms / 1_000
        asked = [
            (_encoded(model, each, timeout_ms), well_formed((each.get("traceparent") or "").encode()))
            for each in questions
        ]
        topic = topics.requests_of(self._namespace, model)
        if topic not in self._known and any(isinstance(value, bytes) for value, _ in asked):
            try:
                await asyncio.wait_for(self._learn(line, model, topic), timeout_ms / 1_000)
            except TimeoutError:
                return [expired() if isinstance(value, bytes) else value for value, _ in asked]
        return await self._outcomes(line, topic, asked, until_s)

    async def _outcomes(
        self, line: _Line, topic: str, asked: Sequence[tuple[bytes | ScoreReply, bytes | None]], until_s: float
    ) -> list[ScoreReply]:
        """Send what is worth sending, and wait for all of it; what was not answered by ``until_s`` is ``expired``."""
        loop = asyncio.get_running_loop()
        left_ms = max(1, round((until_s - loop.time()) * 1_000))
        waiting: dict[bytes, asyncio.Future[ScoreReply]] = {}
        deadline = loop.call_at(until_s, _expire, waiting)
        outcomes: list[ScoreReply | asyncio.Future[ScoreReply]] = []
        try:
            for value, traceparent in asked:
                if isinstance(value, ScoreReply):
                    outcomes.append(value)
                elif len(self._pending) >= self._max_pending:
                    problem = f"expected fewer than {self._max_pending} requests under way"
                    outcomes.append(rejected(Reason.OVERLOADED, problem))
                else:
                    correlation_id = self._instance + next(self._counter).to_bytes(_COUNTER_BYTES, "big")
                    reply_to = ReplyTo(line.reply_topic, correlation_id, line.reply_partition, traceparent)
                    answer = waiting[correlation_id] = self._pending[correlation_id] = loop.create_future()
                    line.producer.send(topic, value, headers=request_headers(reply_to, left_ms))
                    outcomes.append(answer)
            return [each if isinstance(each, ScoreReply) else await each for each in outcomes]
        finally:
            deadline.cancel()
            for correlation_id in waiting:
                del self._pending[correlation_id]

    def _opened(self) -> _Line:
        if self._line is None:
            raise RequestRefused("cannot ask for a score: the client is not open; use it in a with statement")
        if self._line.reading.done():
            self._line.reading.result()  # raises what ended it: no reply can be read any more
        return self._line

    async def _learn(self, line: _Line, model: str, topic: str) -> None:
        if not await line.log.partitions(topic):
            raise RequestRefused(f"cannot ask for a score: model {model!r}: expected the topic {topic}, got none")
        self._known.add(topic)

    async def _read_replies(self, tail: Tail) -> None:
        while True:
            for _, record in await tail.poll(_POLL_S):
                self._take(record)

    def _take(self, record: Record) -> None:
        """Resolve the request that the record answers, if it is one of ours and still waits."""
        correlation_id = correlation_id_of(headers_of(record))
        if correlation_id is None or not correlation_id.startswith(self._instance):
            return
        waiting = self._pending.get(correlation_id)
        if waiting is None or waiting.done():
            self.late_replies += 1
            return
        try:
            reply = self._decoder.decode(record.value() or b"")
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            problem = f"cannot read reply: {error}"
            reply = ScoreReply(request_id="", status=Status.ERROR, reason=Reason.INTERNAL, message=problem)
        _resolve(waiting, reply)

    async def _let_go(self, log: Log) -> None:
        if log is not self._given_log:
            await log.close()


def _connect(kafka: str, properties: Mapping[str, str]) -> Log:
    from agents.transport.kafka import KafkaLog  # noqa: PLC0415  # a tenth of a second that only Kafka needs

    return KafkaLog(kafka, properties)


def _encoded(model: str, question: ScoreQuestion, timeout_ms: int) -> bytes | ScoreReply:
    candidates = question.get("candidates")
    asked = ScoreRequest(
        model=model,
        entities=dict(question.get("entities") or {}),
        inputs=dict(question.get("inputs") or {}),
        label_key=question.get("label_key"),
        at=question.get("at"),
        candidates=UNSET if candidates is None else list(candidates),
    )
    return encode_request(asked, timeout_ms)


def _expire(waiting: Mapping[bytes, asyncio.Future[ScoreReply]]) -> None:
    for each in waiting.values():
        _resolve(each, expired())


def _resolve(waiting: asyncio.Future[ScoreReply], reply: ScoreReply) -> None:
    if not waiting.done():
        waiting.set_result(reply)
