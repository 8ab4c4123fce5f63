"""Answers a micro-batch of one graph's requests: candidates ranked, features read as the stages need them.

One round trip to the store for each stage that needs features, for all candidates that are left of all requests. What
fails for requests together is tried for each alone; what then still fails is its own ``error``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from agents.context import RoleContext
from agents.follow_matrices import MatrixFollower
from agents.log_rankings import GraphTurn, RankedAnswer, RankingLog
from agents.read_candidates import CandidateReads
from agents.read_features import GuardedReads
from agents.recall_candidates import CandidateRecall
from agents.recall_personal import PersonalReader
from agents.serve_model import ServedModel, monotonic_ms
from agents.tell_answers import Answered, failed
from definitions.declared import GraphDefinition, ViewDefinition
from online_models.graphs import Ask, GraphRun, Ranked, World
from online_models.graphs.executor import GraphExecutor
from online_models.graphs.matrix import Matrix
from streams.messages import RankedCandidate, ScoreReply, Timings, Version
from streams.request_reply import Reason, Request, Status
from streams.store import Question

TOGETHER_MS = 20.0
"""What requests answered together may take by what was measured: the first of them waits for the last."""
TOGETHER = 256

_REFRESH_MS = 1_000
_REPLY_MS = 2.0
"""What is kept back for replying."""
_SHOWN_DIGITS = 12

logger = logging.getLogger(__name__)


class GraphAnswers:
    """Answers the requests of one graph.

    Args:
        graph: what is asked.
        served: the models in force, at least those that the graph asks.
        reads: the online store.
        views: all that are declared; each is read in its version in force.
        context: of the role.
    """

    awaits = False
    """No server is asked, so answers are there at once."""

    def __init__(
        self,
        graph: GraphDefinition,
        served: Iterable[ServedModel],
        reads: GuardedReads,
        *,
        views: Sequence[ViewDefinition] = (),
        context: RoleContext,
    ) -> None:
        self._graph = graph
        names = {model.name for model in graph.models}
        self._served = [each for each in served if each.model.name in names]
        self._store = reads
        self._reads = CandidateReads(graph, reads, views, context.metrics)
        self._personal = {model.name: PersonalReader(model) for model in graph.models if model.personal}
        self._metrics = context.metrics
        self._log = RankingLog(graph, context.namespace, self._personal)
        self._matrices = MatrixFollower(graph, context)
        self._executor = GraphExecutor(graph, clock=monotonic_ms)
        self._refresh_at_ms = 0.0

    async def start(self) -> None:
        """Have the newest matrices and online learners in force."""
        self._refresh_at_ms = 0.0
        self.refresh()
        await self._matrices.settle()

    def refresh(self) -> None:
        """Follow what was published, at most once a second: by one small read of the store."""
        names = [*self._matrices.pointers, *(name for each in self._served for name in each.pointers)]
        if not names or monotonic_ms() < self._refresh_at_ms:
            return
        self._refresh_at_ms = monotonic_ms() + _REFRESH_MS
        answer = self._store.read(Question(pointers=names), budget_ms=_REFRESH_MS)
        if answer is None:
            return
        own = len(self._matrices.pointers)
        self._matrices.follow(answer.pointers[:own])
        for each in self._served:
            each.follow(answer.pointers[own : own + len(each.pointers)])
            own += len(each.pointers)

    def together(self, requests: Sequence[Request], now_ms: int) -> int:
        """Return how many of the newest requests, which are the last, are answered together: at least one.

        As many as take 20 ms by what was measured, and no more than the one with least time left has time for.
        """
        counts: list[int] = []
        left_ms = TOGETHER_MS
        for request in reversed(requests[-TOGETHER:]):
            counts.append(0 if request.candidates is None else len(request.candidates.ids))
            left_ms = min(left_ms, request.remaining_ms(now_ms))
            if len(counts) > 1 and self._executor.pace.whole_ms(counts) > left_ms:
                return len(counts) - 1
        return len(counts)

    def answer_many(self, requests: Sequence[Request], *, now_ms: int) -> list[Answered]:
        """Return one answer per request, in order. Never raises, and follows what was published while it is asked.

        Cost: `make bench-graph` tells; some 20 ms for 10,000 candidates of which 500 read the store.
        """
        try:
            self.refresh()
            return self._answers(requests, now_ms)
        except Exception as error:
            # The reply boundary: whatever went wrong inside, every caller gets its terminal answer.
            if len(requests) == 1:
                logger.exception("could not answer: %s", requests[0].request_id)
                return [failed(requests[0], Reason.INTERNAL, type(error).__name__)]
            return [answer for request in requests for answer in self.answer_many([request], now_ms=now_ms)]

    def records(self, answers: Sequence[Answered]) -> Iterable[tuple[str, bytes, bytes]]:
        """Return what is to be logged of answers that are out: topic, key and value of each record."""
        return self._log.records(answers)

    async def close(self) -> None:
        """Do nothing: a graph asks no servers."""

    def _answers(self, requests: Sequence[Request], now_ms: int) -> list[Answered]:
        started_ms = monotonic_ms()
        until_ms = started_ms + min(request.remaining_ms(now_ms) for request in requests) - _REPLY_MS
        reading = self._reads.of(requests, until_ms)
        models = {each.model.name: each.executor for each in self._served}
        matrices = dict(self._matrices.in_force)
        recall = CandidateRecall(self._graph, self._personal, requests, models, self._store, until_ms)
        world = World(reading.fetch, models, matrices, until_ms, recall.recall)
        run = self._executor.run([_ask(request) for request in requests], world)
        self._note(run)
        turn = GraphTurn(requests, run, reading, recall, {each.model.name: each.release for each in self._served})
        common = ScoreReply(
            request_id="",
            status=Status.OK,
            versions=_versions(run, matrices),
            features_as_of=reading.as_of_ms,
            views=list(reading.views),
        )
        answers: list[Answered] = []
        for number, (request, ranked) in enumerate(zip(requests, run.answers, strict=True)):
            queue_ms, taken_ms = float(now_ms - request.appended_ms), monotonic_ms() - started_ms
            timings = Timings(
                queue_ms=queue_ms,
                read_ms=round(reading.took_ms, 3),
                assemble_ms=round(taken_ms - run.took_ms, 3),
                predict_ms=round(run.took_ms - reading.took_ms, 3),
                total_ms=round(queue_ms + taken_ms, 3),
            )
            reply = _reply(common, request, ranked, absent=reading.absent[number], timings=timings)
            answers.append(RankedAnswer(request, reply, index=number, ranking=turn))
        return answers

    def _note(self, run: GraphRun) -> None:
        for stage, candidates in run.reached.items():
            self._metrics.count("graph_candidates_total", candidates, graph=self._graph.name, stage=stage)
        for served in self._served:
            served.note([failure for model, failure in run.failures if model == served.model.name])


def _ask(request: Request) -> Ask:
    given = request.candidates
    if given is None:
        return Ask((), request.at_ms, request.inputs)
    return Ask(given.ids, request.at_ms, request.inputs, given.inputs)


def _versions(run: GraphRun, matrices: Mapping[str, Matrix | None]) -> list[Version]:
    asked = [(f"{each.model}.{each.version.learner}", each.version.digest, each.version.role) for each in run.versions]
    resident = [(name, matrix.digest, "matrix") for name, matrix in matrices.items() if matrix is not None]
    return [
        Version(learner=learner, digest=digest[:_SHOWN_DIGITS], role=role)
        for learner, digest, role in (*asked, *resident)
    ]


def _reply(common: ScoreReply, request: Request, ranked: Ranked, *, absent: list[str], timings: Timings) -> ScoreReply:
    status = Status.OK if ranked.reason is None else Status.DEGRADED if ranked.is_answer else Status.ERROR
    ids = () if request.candidates is None else request.candidates.ids
    pairs = zip(ranked.places, ranked.scores, strict=True) if ranked.is_answer else ()
    return msgspec.structs.replace(
        common,
        request_id=request.request_id,
        status=status,
        reason=None if ranked.reason is None else Reason(ranked.reason),
        degraded=list(ranked.degraded),
        absent=absent,
        timings=timings,
        candidates=[RankedCandidate(ids[place], score) for place, score in pairs],
    )
