"""The scoring role: takes requests, admits them by what is left of their budget, answers each once, logs predictions.

At most once in effect: a request counts as consumed when it is taken, because its redelivery would come too late to be
of use. Nothing that one request brings about leaves the role; it becomes that request's terminal reply.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from agents.answer import Answered, ModelAnswers
from agents.answer_candidates import GraphAnswers
from agents.context import RoleContext
from agents.follow_deployments import DeploymentFollower
from agents.read_features import GuardedReads
from agents.serve_model import ServedModel
from agents.transport import Assigned, CommitPolicy, StartAt, Subscription
from definitions.declared import AppDefinition, GraphDefinition, ModelDefinition
from streams import topics
from streams.messages import ScoreReply, encode
from streams.records import Partition, RecordBatch
from streams.request_reply import Reason, Rejection, ReplyTo, Request, Status, Unroutable
from streams.request_reply.reader import RequestReader

MICRO_BATCH = 256
"""Requests answered together. Of more, the newest come first: the oldest are the least likely to be in time."""

_NO_REASON = ""


@dataclass(frozen=True, slots=True)
class _Asked:
    """One model or graph as the role serves it: its requests, its answers, and where its predictions go."""

    name: str
    requests: RequestReader
    answers: ModelAnswers | GraphAnswers
    outcomes: str = ""

    def together(self, requests: list[Request], now_ms: int) -> int:
        """Return how many of the newest requests are answered together."""
        return self.answers.together(requests, now_ms) if isinstance(self.answers, GraphAnswers) else MICRO_BATCH


class ScoringRole:
    """Answers the requests of every model and graph of an app. Implements `agents.transport.Role`."""

    name = "scoring"

    def __init__(self, app: AppDefinition, context: RoleContext) -> None:
        self._context = context
        self._producer = context.log.producer()
        served = [ServedModel(model, context) for model in app.models]
        reads = GuardedReads(context.store, context.log.now_ms)
        self._follower = DeploymentFollower(served, context)
        self._asked = {
            topics.requests(context.namespace, each.model): self._asked_of(
                each.model, ModelAnswers(each, reads, app.views)
            )
            for each in served
        }
        self._graphs = [GraphAnswers(each, served, reads, views=app.views, context=context) for each in app.graphs]
        self._asked |= {
            topics.requests(context.namespace, graph): self._ranking_of(graph, answers)
            for graph, answers in zip(app.graphs, self._graphs, strict=True)
        }
        self._inherited: dict[Partition, int] = {}

    def subscription(self) -> Subscription:
        """Return what the role reads: the requests of every model and graph."""
        group = f"{self._context.namespace}.scoring"
        return Subscription(group, tuple(self._asked), CommitPolicy.ON_TAKE, StartAt.END)

    async def open(self, given: Assigned) -> int:
        """Have every release in force that was deployed, and go on where the group stands."""
        await self._follower.start()
        for graph in self._graphs:
            await graph.start()
        self._inherited[given.partition] = given.end
        # Requests that the log no longer holds have long expired: there is nothing to go back for.
        return given.end if given.committed is None else min(max(given.committed, given.first), given.end)

    async def apply(self, batch: RecordBatch) -> None:
        """Answer the batch's requests, newest micro-batch first."""
        self._follower.check()
        asked = self._asked[batch.partition.topic]
        requests = self._take(asked, batch)
        while requests:
            size = asked.together(requests, self._context.log.now_ms())
            micro_batch, requests = requests[-size:], requests[:-size]
            self._answer(asked, micro_batch)
            # Lets replies out, and releases in, between micro-batches.
            await asyncio.sleep(0)

    async def reached_end(self, partition: Partition, end: int, broker_ms: int) -> None:
        """Notice that releases are no longer followed, and tell how many replies the log did not take."""
        del partition, end, broker_ms
        self._follower.check()
        self._context.metrics.set("undelivered_records", self._producer.failed)

    async def close(self, partition: Partition) -> None:
        """Forget the partition; with the last one, stop following releases."""
        self._inherited.pop(partition, None)
        if not self._inherited:
            await self._follower.stop()

    def _asked_of(self, model: ModelDefinition, answers: ModelAnswers) -> _Asked:
        namespace = self._context.namespace
        reader = RequestReader(model, reply_prefix=topics.replies(namespace))
        return _Asked(model.name, reader, answers, topics.outcomes(namespace, model))

    def _ranking_of(self, graph: GraphDefinition, answers: GraphAnswers) -> _Asked:
        reader = RequestReader(graph, reply_prefix=topics.replies(self._context.namespace))
        return _Asked(graph.name, reader, answers)

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

    def _answer(self, asked: _Asked, requests: list[Request]) -> None:
        now_ms = self._context.log.now_ms()
        in_time = [request for request in requests if request.remaining_ms(now_ms) > 0]
        for request in requests:
            if request.remaining_ms(now_ms) <= 0:
                self._expire(asked, request, inherited=False)
        if in_time:
            answers = asked.answers.answer_many(in_time, now_ms=now_ms)
            for answer in answers:
                self._reply(asked, answer.request.reply_to, answer.reply)
            self._log(asked, answers)

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

    def _log(self, asked: _Asked, answers: list[Answered]) -> None:
        now_ms = self._context.log.now_ms()
        logged = 0
        for answer in answers:
            seconds = (now_ms - answer.request.appended_ms) / 1_000
            self._context.metrics.observe("request_seconds", seconds, model=asked.name)
            prediction = answer.prediction
            if prediction is not None and prediction.label_key is not None:
                self._producer.send(asked.outcomes, encode(prediction), key=prediction.label_key.encode())
                logged += 1
        if logged:
            self._context.metrics.count("predictions_logged_total", logged, model=asked.name)

    def _count(self, asked: _Asked, status: str, reason: str) -> None:
        self._context.metrics.count("requests_total", model=asked.name, status=status, reason=reason)
