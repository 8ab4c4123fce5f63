"""Serves the requests that were taken from the log: the newest first, each once, whatever partition it came from.

Taking is quick and never waits, so that under overload the queue is here, where the newest can be found, and not in the
log. One task answers a micro-batch at a time; what has to ask a server goes on beside the others.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
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

_NO_REASON = ""
_LIKE_BUDGETS = 2

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Asked:
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

    def __init__(self, context: RoleContext) -> None:
        self._context = context
        self._producer = context.log.producer()
        self._asked: list[Asked] = []
        self._wake = asyncio.Event()
        self._serving: asyncio.Task[None] | None = None
        self._under_way: set[asyncio.Task[None]] = set()
        """Micro-batches that wait for a server."""

    def put(self, asked: Asked, requests: Sequence[Request]) -> None:
        """Let requests wait for their turn; the oldest that there is no room for are told so.

        Raises:
            Exception: what ended the serving; nothing can be answered any more.
        """
        if self._serving is None:
            self._serving = asyncio.create_task(self._serve(), name="serve-requests")
        if self._serving.done():
            self._serving.result()
        if asked not in self._asked:
            self._asked.append(asked)
        self._overloaded(asked, asked.waiting.put(requests))
        self._wake.set()

    async def drain(self) -> None:
        """Return when everything that waited is answered, and logged."""
        for asked in self._asked:
            while asked.waiting:
                self._serve_some(asked)
                await asyncio.sleep(0)
        await asyncio.gather(*self._under_way, return_exceptions=True)

    async def stop(self) -> None:
        """Serve no more."""
        if self._serving is not None:
            self._serving.cancel()
            await asyncio.gather(self._serving, return_exceptions=True)
            self._serving = None

    def reply(self, asked: Asked, to: ReplyTo, reply: ScoreReply) -> None:
        """Send the one reply to a request, and count it."""
        self._producer.send(
            to.topic, encode(reply), key=to.correlation_id, headers=to.headers(), partition=to.partition
        )
        self.count(asked, reply.status, reply.reason or _NO_REASON)

    def expire(self, asked: Asked, request: Request) -> None:
        """End a request whose time is over, or too short for an answer."""
        reply = ScoreReply(request_id=request.request_id, status=Status.EXPIRED, reason=Reason.DEADLINE)
        self.reply(asked, request.reply_to, reply)

    def count(self, asked: Asked, status: str, reason: str) -> None:
        """Count an outcome."""
        self._context.metrics.count("requests_total", model=asked.name, status=status, reason=reason)

    async def _serve(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while any(each.waiting for each in self._asked):
                for asked in self._asked:
                    self._serve_some(asked)
                    # Lets replies out, and newer requests and releases in, between micro-batches.
                    await asyncio.sleep(0)
                collect_after_batch()

    def _serve_some(self, asked: Asked) -> None:
        """Answer one micro-batch of what waits, and tell those that cannot be answered in time."""
        if not asked.waiting:
            return
        now_ms = self._context.log.now_ms()
        taken = asked.waiting.take(now_ms, asked.together(now_ms))
        for request in taken.expired:
            self.expire(asked, request)
        self._overloaded(asked, taken.overloaded)
        if taken.batch and asked.answers.awaits:
            for group in by_budget(taken.batch, now_ms):
                task = asyncio.create_task(self._answer_awaiting(asked, group, now_ms), name="answer-awaiting")
                self._under_way.add(task)
                task.add_done_callback(self._ended)
        elif taken.batch:
            started_ms = monotonic_ms()
            answers = asked.answers.answer_many(taken.batch, now_ms=now_ms)
            self._reply_all(asked, answers)
            self._log(asked, asked.answers.observe(answers))
            asked.service.note(len(taken.batch), monotonic_ms() - started_ms)

    def _overloaded(self, asked: Asked, requests: Sequence[Request]) -> None:
        for request in requests:
            reply = ScoreReply(
                request_id=request.request_id,
                status=Status.REJECTED,
                reason=Reason.OVERLOADED,
                message="newer requests are served first, and there was no time left for this one; send fewer",
            )
            self.reply(asked, request.reply_to, reply)

    async def _answer_awaiting(self, asked: Asked, requests: list[Request], now_ms: int) -> None:
        answering = asked.answers
        assert isinstance(answering, ModelAnswers)  # noqa: S101  # graphs ask no servers
        answers = await answering.answer_awaiting(requests, now_ms=now_ms)
        self._reply_all(asked, answers)
        self._log(asked, await answering.observe_awaiting(answers))

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error("a micro-batch was not logged", exc_info=task.exception())

    def _reply_all(self, asked: Asked, answers: list[Answered]) -> None:
        for answer in answers:
            self.reply(asked, answer.request.reply_to, answer.reply)
        now_ms = self._context.log.now_ms()
        for answer in answers:
            seconds = (now_ms - answer.request.appended_ms) / 1_000
            self._context.metrics.observe("request_seconds", seconds, model=asked.name)

    def _log(self, asked: Asked, predictions: list[Prediction]) -> None:
        for prediction in predictions:
            key = (prediction.label_key or "").encode()
            self._producer.send(asked.outcomes, encode(prediction), key=key)
        if predictions:
            self._context.metrics.count("predictions_logged_total", len(predictions), model=asked.name)


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
