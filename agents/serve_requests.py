"""Serves the requests that were taken from the log: the newest first, each once, whatever partition it came from.

Taking is quick and never waits, so that under overload the queue is here, where the newest can be found, and not in the
log. One task answers a micro-batch at a time; what has to ask a server goes on beside the others.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from agents.answer import ModelAnswers
from agents.answer_candidates import GraphAnswers
from agents.context import RoleContext
from agents.garbage import collect_after_batch
from agents.serve_model import monotonic_ms
from agents.tell_answers import Answered
from streams.messages import Prediction, ScoreReply, encode
from streams.request_reply import Reason, ReplyTo, Request, Status
from streams.request_reply.admission import MICRO_BATCH, ServiceTime, Waiting
from streams.request_reply.reader import RequestReader
from streams.request_reply.replying import encode_reply

PREDICTION_LINGER_MS = 25
"""How long a prediction may wait for company on its way to the log: its label comes later by far."""

_NO_REASON = ""
_LIKE_BUDGETS = 2

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One model or graph as it is served: its requests, its answers, and where its predictions go."""

    name: str
    requests: RequestReader
    answers: ModelAnswers | GraphAnswers
    outcomes: str = ""
    service: ServiceTime = field(default_factory=ServiceTime)
    waiting: Waiting[Request] = field(init=False)

    def __post_init__(self) -> None:
        """Make the queue, which knows how long answers take."""
        object.__setattr__(self, "waiting", Waiting[Request](self.service))

    def together(self, now_ms: int) -> int:
        """Return how many of the newest requests are answered together."""
        if isinstance(self.answers, GraphAnswers):
            return self.answers.together(self.waiting.requests, now_ms)
        return MICRO_BATCH


class RequestServer:
    """Answers what waits, newest first, in a task of its own."""

    def __init__(self, endpoints: Sequence[Endpoint], context: RoleContext) -> None:
        self._context = context
        self._replies = context.log.reply_producer()
        self._unhurried = context.log.unhurried_producer(PREDICTION_LINGER_MS)
        self._endpoints = endpoints
        self._wake = asyncio.Event()
        self._serving: asyncio.Task[None] | None = None
        self._under_way: set[asyncio.Task[None]] = set()
        """Micro-batches that wait for a server."""

    def put(self, endpoint: Endpoint, requests: Sequence[Request]) -> None:
        """Let requests wait for their turn; the oldest that there is no room for are told so.

        Raises:
            Exception: what ended the serving; nothing can be answered any more.
        """
        if self._serving is None:
            self._serving = asyncio.create_task(self._serve(), name="serve-requests")
        if self._serving.done():
            self._serving.result()
        self._overloaded(endpoint, endpoint.waiting.put(requests))
        self._wake.set()

    async def drain(self) -> None:
        """Return when everything that waited is answered, and logged."""
        for endpoint in self._endpoints:
            while endpoint.waiting:
                self._serve_some(endpoint)
                await asyncio.sleep(0)
        await asyncio.gather(*self._under_way, return_exceptions=True)

    async def stop(self) -> None:
        """Serve no more."""
        if self._serving is not None:
            self._serving.cancel()
            await asyncio.gather(self._serving, return_exceptions=True)
            self._serving = None

    def reply(self, endpoint: Endpoint, to: ReplyTo, reply: ScoreReply) -> None:
        """Send the one reply to a request, and count it."""
        sent = self._send(to, reply)
        self.count(endpoint, sent.status, sent.reason or _NO_REASON)

    def expire(self, endpoint: Endpoint, request: Request) -> None:
        """End a request whose time is over, or too short for an answer."""
        reply = ScoreReply(request_id=request.request_id, status=Status.EXPIRED, reason=Reason.DEADLINE)
        self.reply(endpoint, request.reply_to, reply)

    def count(self, endpoint: Endpoint, status: str, reason: str, times: int = 1) -> None:
        """Count an outcome."""
        self._context.metrics.count("requests_total", times, model=endpoint.name, status=status, reason=reason)

    def _send(self, to: ReplyTo, reply: ScoreReply) -> ScoreReply:
        """Send a reply; return what was sent, for one that the log has no room for is told so."""
        data, sent = encode_reply(reply)
        self._replies.send(to.topic, data, key=to.correlation_id, headers=to.headers(), partition=to.partition)
        return sent

    async def _serve(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while waited_for := [each for each in self._endpoints if each.waiting]:
                for endpoint in waited_for:
                    self._serve_some(endpoint)
                    # Lets replies out, and newer requests and releases in, between micro-batches.
                    await asyncio.sleep(0)
                collect_after_batch()

    def _serve_some(self, endpoint: Endpoint) -> None:
        """Answer one micro-batch of what waits, and tell those that cannot be answered in time."""
        now_ms = self._context.log.now_ms()
        taken = endpoint.waiting.take(now_ms, endpoint.together(now_ms))
        for request in taken.expired:
            self.expire(endpoint, request)
        self._overloaded(endpoint, taken.overloaded)
        if taken.batch and endpoint.answers.awaits:
            for group in by_budget(taken.batch, now_ms):
                task = asyncio.create_task(self._answer_awaiting(endpoint, group, now_ms), name="answer-awaiting")
                self._under_way.add(task)
                task.add_done_callback(self._ended)
        elif taken.batch:
            started_ms = monotonic_ms()
            answers = endpoint.answers.answer_many(taken.batch, now_ms=now_ms)
            self._reply_all(endpoint, answers)
            if isinstance(endpoint.answers, GraphAnswers):
                self._log_rankings(endpoint, endpoint.answers.records(answers))
            else:
                self._log(endpoint, endpoint.answers.observe(answers))
            endpoint.service.note(len(taken.batch), monotonic_ms() - started_ms)

    def _overloaded(self, endpoint: Endpoint, requests: Sequence[Request]) -> None:
        for request in requests:
            reply = ScoreReply(
                request_id=request.request_id,
                status=Status.REJECTED,
                reason=Reason.OVERLOADED,
                message="newer requests are served first, and there was no time left for this one; send fewer",
            )
            self.reply(endpoint, request.reply_to, reply)

    async def _answer_awaiting(self, endpoint: Endpoint, requests: list[Request], now_ms: int) -> None:
        answering = endpoint.answers
        assert isinstance(answering, ModelAnswers)  # noqa: S101  # graphs ask no servers
        answers = await answering.answer_awaiting(requests, now_ms=now_ms)
        self._reply_all(endpoint, answers)
        self._log(endpoint, await answering.observe_awaiting(answers))

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error("a micro-batch was not logged", exc_info=task.exception())

    def _reply_all(self, endpoint: Endpoint, answers: list[Answered]) -> None:
        ended: dict[tuple[str, str], int] = {}
        for answer in answers:
            sent = self._send(answer.request.reply_to, answer.reply)
            how = sent.status, sent.reason or _NO_REASON
            ended[how] = ended.get(how, 0) + 1
        now_ms = self._context.log.now_ms()
        for (status, reason), times in ended.items():
            self.count(endpoint, status, reason, times)
        took_s = [(now_ms - answer.request.appended_ms) / 1_000 for answer in answers]
        self._context.metrics.observe_all("request_seconds", took_s, model=endpoint.name)

    def _log(self, endpoint: Endpoint, predictions: list[Prediction]) -> None:
        for prediction in predictions:
            key = (prediction.label_key or "").encode()
            self._unhurried.send(endpoint.outcomes, encode(prediction), key=key)
        if predictions:
            self._context.metrics.count("predictions_logged_total", len(predictions), model=endpoint.name)

    def _log_rankings(self, endpoint: Endpoint, records: Iterable[tuple[str, bytes, bytes]]) -> None:
        """Log by what answers were ranked. What cannot be put into words costs nobody an answer: they are out."""
        try:
            for topic, key, value in records:
                self._unhurried.send(topic, value, key=key)
                self._context.metrics.count("predictions_logged_total", model=endpoint.name)
        except Exception:
            logger.exception("a ranking was not logged: %s", endpoint.name)


def by_budget(requests: list[Request], now_ms: int) -> list[list[Request]]:
    """Return the requests in groups in which nobody has more than twice as much time left as another.

    A server is asked once for a group and waited for as long as the first of it has time: who has next to none must not
    cut short those who have.
    """
    groups: list[list[Request]] = []
    for request in sorted(requests, key=lambda each: each.deadline_ms):
        if groups and request.remaining_ms(now_ms) <= _LIKE_BUDGETS * groups[-1][0].remaining_ms(now_ms):
            groups[-1].append(request)
        else:
            groups.append([request])
    return groups
