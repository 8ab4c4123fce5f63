"""The scoring role: takes requests, admits them by what is left of their budget, answers each once, logs predictions.

At most once in effect: a request counts as consumed when it is taken, because its redelivery would come too late to be
of use. Nothing that one request brings about leaves the role; it becomes that request's terminal reply.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from agents.answer import ModelAnswers
from agents.ask_remotes import RemoteAsker
from agents.context import RoleContext
from agents.follow_deployments import DeploymentFollower
from agents.read_features import GuardedReads
from agents.serve_model import ServedModel, monotonic_ms
from agents.tell_answers import Answered
from agents.transport import Assigned, CommitPolicy, StartAt, Subscription
from definitions.declared import AppDefinition, ModelDefinition
from streams import topics
from streams.messages import Prediction, ScoreReply, encode
from streams.records import Partition, RecordBatch
from streams.request_reply import Reason, Rejection, ReplyTo, Request, Status, Unroutable
from streams.request_reply.reader import RequestReader

MICRO_BATCH = 256
"""Requests answered together. Of more, the newest come first: the oldest are the least likely to be in time."""

_NO_REASON = ""
_LIKE_BUDGETS = 2

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Asked:
    """One model as the role serves it: its requests, its answers, and where its predictions go."""

    name: str
    requests: RequestReader
    answers: ModelAnswers
    outcomes: str


class ScoringRole:
    """Answers the requests of every model of an app. Implements `agents.transport.Role`."""

    name = "scoring"

    def __init__(self, app: AppDefinition, context: RoleContext) -> None:
        self._context = context
        self._producer = context.log.producer()
        served = [ServedModel(model, context) for model in app.models]
        reads = GuardedReads(context.store, context.log.now_ms)
        self._follower = DeploymentFollower(served, context)
        self._asked = {
            topics.requests(context.namespace, each.model): self._asked_of(
                each.model,
                ModelAnswers(
                    each, reads, app.views, remotes=RemoteAsker(each.model.name, context.metrics, monotonic_ms)
                ),
            )
            for each in served
        }
        self._inherited: dict[Partition, int] = {}
        self._under_way: dict[asyncio.Task[None], Partition] = {}
        """Micro-batches that wait for a server."""

    def subscription(self) -> Subscription:
        """Return what the role reads: the requests of every model."""
        group = f"{self._context.namespace}.scoring"
        return Subscription(group, tuple(self._asked), CommitPolicy.ON_TAKE, StartAt.END)

    async def open(self, given: Assigned) -> int:
        """Have every release in force that was deployed, and go on where the group stands."""
        await self._follower.start()
        self._inherited[given.partition] = given.end
        # Requests that the log no longer holds have long expired: there is nothing to go back for.
        return given.end if given.committed is None else min(max(given.committed, given.first), given.end)

    async def apply(self, batch: RecordBatch) -> None:
        """Answer the batch's requests, newest micro-batch first."""
        self._follower.check()
        asked = self._asked[batch.partition.topic]
        requests = self._take(asked, batch)
        while requests:
            micro_batch, requests = requests[-MICRO_BATCH:], requests[:-MICRO_BATCH]
            self._answer(asked, micro_batch, batch.partition)
            # Lets replies out, and releases in, between micro-batches.
            await asyncio.sleep(0)

    async def reached_end(self, partition: Partition, end: int, broker_ms: int) -> None:
        """Notice that releases are no longer followed, and tell how many replies the log did not take."""
        del partition, end, broker_ms
        self._follower.check()
        self._context.metrics.set("undelivered_records", self._producer.failed)

    async def close(self, partition: Partition) -> None:
        """Let what waits for a server end, and forget the partition; with the last one, stop following releases."""
        waiting = [task for task, of in self._under_way.items() if of == partition]
        await asyncio.gather(*waiting, return_exceptions=True)
        self._inherited.pop(partition, None)
        if not self._inherited:
            await self._follower.stop()
            for asked in self._asked.values():
                await asked.answers.close()

    def _asked_of(self, model: ModelDefinition, answers: ModelAnswers) -> _Asked:
        namespace = self._context.namespace
        reader = RequestReader(model, reply_prefix=topics.replies(namespace))
        return _Asked(model.name, reader, answers, topics.outcomes(namespace, model))

    def _take(self, asked: _Asked, batch: RecordBatch) -> list[Request]:
        """Return the requests that still have time; answer or count the other records."""
        taken_ms = self._context.log.now_ms()
        admitted = []
        for record in batch.records:
            found = asked.requests.read(record, batch.partition, taken_ms=taken_ms)
            if isinstance(found, Unroutable):
                self._context.metrics.count("requests_unroutable_total", reason=found.reason)
            elif isinstance(found, Rejection):
                self._reply(asked, found.reply_to, found.reply())
            elif found.remaining_ms(taken_ms) > 0:
                admitted.append(found)
            else:
                self._expire(asked, found, inherited=record.offset() < self._inherited[batch.partition])
        return admitted

    def _answer(self, asked: _Asked, requests: list[Request], partition: Partition) -> None:
        now_ms = self._context.log.now_ms()
        in_time = [request for request in requests if request.remaining_ms(now_ms) > 0]
        for request in requests:
            if request.remaining_ms(now_ms) <= 0:
                self._expire(asked, request, inherited=False)
        if in_time and asked.answers.awaits:
            for group in by_budget(in_time, now_ms):
                task = asyncio.create_task(self._answer_awaiting(asked, group, now_ms), name="answer-awaiting")
                self._under_way[task] = partition
                task.add_done_callback(self._ended)
        elif in_time:
            answers = asked.answers.answer_many(in_time, now_ms=now_ms)
            self._reply_all(asked, answers)
            self._log(asked, asked.answers.observe(answers))

    async def _answer_awaiting(self, asked: _Asked, requests: list[Request], now_ms: int) -> None:
        answers = await asked.answers.answer_awaiting(requests, now_ms=now_ms)
        self._reply_all(asked, answers)
        self._log(asked, await asked.answers.observe_awaiting(answers))

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._under_way[task]
        if not task.cancelled() and task.exception() is not None:
            logger.error("a micro-batch was not logged", exc_info=task.exception())

    def _expire(self, asked: _Asked, request: Request, *, inherited: bool) -> None:
        """End a request whose time is over; one that lay there when the partition came is only counted."""
        if inherited:
            self._count(asked, Status.EXPIRED, "redelivered")
            return
        reply = ScoreReply(request_id=request.request_id, status=Status.EXPIRED, reason=Reason.DEADLINE)
        self._reply(asked, request.reply_to, reply)

    def _reply(self, asked: _Asked, to: ReplyTo, reply: ScoreReply) -> None:
        self._producer.send(
            to.topic, encode(reply), key=to.correlation_id, headers=to.headers(), partition=to.partition
        )
        self._count(asked, reply.status, reply.reason or _NO_REASON)

    def _reply_all(self, asked: _Asked, answers: list[Answered]) -> None:
        for answer in answers:
            self._reply(asked, answer.request.reply_to, answer.reply)
        now_ms = self._context.log.now_ms()
        for answer in answers:
            seconds = (now_ms - answer.request.appended_ms) / 1_000
            self._context.metrics.observe("request_seconds", seconds, model=asked.name)

    def _log(self, asked: _Asked, predictions: list[Prediction]) -> None:
        for prediction in predictions:
            key = (prediction.label_key or "").encode()
            self._producer.send(asked.outcomes, encode(prediction), key=key)
        if predictions:
            self._context.metrics.count("predictions_logged_total", len(predictions), model=asked.name)

    def _count(self, asked: _Asked, status: str, reason: str) -> None:
        self._context.metrics.count("requests_total", model=asked.name, status=status, reason=reason)


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
