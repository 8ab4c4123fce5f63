"""The scoring role: takes requests, admits them by what is left of their budget, answers each once, logs predictions.

At most once in effect: a request counts as consumed when it is taken, because its redelivery would come too late to be
of use. Nothing that one request brings about leaves the role; it becomes that request's terminal reply.
"""

from __future__ import annotations

from agents.answer import ModelAnswers
from agents.answer_candidates import GraphAnswers
from agents.ask_remotes import RemoteAsker
from agents.context import RoleContext
from agents.follow_deployments import DeploymentFollower
from agents.read_features import GuardedReads
from agents.serve_model import ServedModel, monotonic_ms
from agents.serve_requests import PREDICTION_LINGER_MS, Endpoint, RequestServer
from agents.transport import Assigned, CommitPolicy, StartAt, Subscription
from definitions.declared import AppDefinition, GraphDefinition
from streams import topics
from streams.records import Partition, RecordBatch
from streams.request_reply import Rejection, Request, Status, Unroutable
from streams.request_reply.reader import RequestReader


class ScoringRole:
    """Answers the requests of every model and graph of an app. Implements `agents.transport.Role`."""

    name = "scoring"

    def __init__(self, app: AppDefinition, context: RoleContext) -> None:
        self._context = context
        self._producers = (context.log.reply_producer(), context.log.unhurried_producer(PREDICTION_LINGER_MS))
        served = [ServedModel(model, context) for model in app.models]
        reads = GuardedReads(context.store, context.log.now_ms)
        self._follower = DeploymentFollower(served, context)
        self._graphs = [GraphAnswers(each, served, reads, views=app.views, context=context) for each in app.graphs]
        self._endpoints = {
            topics.requests(context.namespace, each.model): self._endpoint_of(each, reads, app) for each in served
        } | {
            topics.requests(context.namespace, graph): self._ranking_of(graph, answers)
            for graph, answers in zip(app.graphs, self._graphs, strict=True)
        }
        self._server = RequestServer(tuple(self._endpoints.values()), context)
        self._inherited: dict[Partition, int] = {}

    def subscription(self) -> Subscription:
        """Return what the role reads: the requests of every model and graph."""
        group = f"{self._context.namespace}.scoring"
        return Subscription(group, tuple(self._endpoints), CommitPolicy.ON_TAKE, StartAt.END)

    async def open(self, given: Assigned) -> int:
        """Have every release in force that was deployed, and go on where the group stands."""
        await self._follower.start()
        for graph in self._graphs:
            await graph.start()
        self._inherited[given.partition] = given.end
        # Requests that the log no longer holds have long expired: there is nothing to go back for.
        return given.end if given.committed is None else min(max(given.committed, given.first), given.end)

    async def apply(self, batch: RecordBatch) -> None:
        """Take the batch's requests; they are answered beside the taking, the newest first."""
        self._follower.check()
        endpoint = self._endpoints[batch.partition.topic]
        self._server.put(endpoint, self._take(endpoint, batch))

    async def reached_end(self, partition: Partition, end: int, broker_ms: int) -> None:
        """Notice that releases are no longer followed, and tell how many replies the log did not take."""
        del partition, end, broker_ms
        self._follower.check()
        self._context.metrics.set("undelivered_records", sum(each.failed for each in self._producers))

    async def close(self, partition: Partition) -> None:
        """Answer what was taken, and forget the partition; with the last one, stop following releases."""
        await self._server.drain()
        self._inherited.pop(partition, None)
        if not self._inherited:
            await self._server.stop()
            await self._follower.stop()
            for endpoint in self._endpoints.values():
                await endpoint.answers.close()

    def _endpoint_of(self, served: ServedModel, reads: GuardedReads, app: AppDefinition) -> Endpoint:
        namespace, model = self._context.namespace, served.model
        remotes = RemoteAsker(model.name, self._context.metrics, monotonic_ms)
        reader = RequestReader(model, reply_prefix=topics.replies(namespace))
        answers = ModelAnswers(served, reads, app.views, remotes=remotes)
        return Endpoint(model.name, reader, answers, topics.outcomes(namespace, model))

    def _ranking_of(self, graph: GraphDefinition, answers: GraphAnswers) -> Endpoint:
        reader = RequestReader(graph, reply_prefix=topics.replies(self._context.namespace))
        return Endpoint(graph.name, reader, answers)

    def _take(self, endpoint: Endpoint, batch: RecordBatch) -> list[Request]:
        """Return the requests that still have time; answer or count the other records."""
        taken_ms = self._context.log.now_ms()
        admitted = []
        for record in batch.records:
            found = endpoint.requests.read(record, batch.partition, taken_ms=taken_ms)
            if isinstance(found, Unroutable):
                self._context.metrics.count("requests_unroutable_total", reason=found.reason)
            elif isinstance(found, Rejection):
                self._server.reply(endpoint, found.reply_to, found.reply())
            elif found.remaining_ms(taken_ms) > 0:
                admitted.append(found)
            elif record.offset() < self._inherited[batch.partition]:
                # It lay there when the partition came: whoever asked has been told by its own clock.
                self._server.count(endpoint, Status.EXPIRED, "redelivered")
            else:
                self._server.expire(endpoint, found)
        return admitted
