"""Answers a micro-batch of one model's requests: features, scores and replies first, then shadows and predictions.

Features come in one round trip to the store; a model that looks features up by others takes a second one.

A request that cannot be answered in the company of others is answered alone; what then still fails is its own
``error``. So one request costs no other its answer.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial

from agents.ask_remotes import RemoteAsker
from agents.read_features import GuardedReads
from agents.recall_personal import Cells, PersonalReader
from agents.serve_model import ServedModel, monotonic_ms
from agents.tell_answers import (
    Answered,
    Known,
    OpenTurn,
    entity_of,
    failed,
    predictions,
    reply_to,
    timings,
    turns,
    versions,
)
from definitions.declared import RouteDefinition, ViewDefinition
from online_models.executor import Executor
from online_models.routing import Arm, arm_of
from streams.lookups import LookupReader, row_of
from streams.messages import Prediction, Version
from streams.reading import Served
from streams.request_reply import Reason, Request
from streams.vectors import VectorLayout
from streams.versions import ModelReader

logger = logging.getLogger(__name__)


class ModelAnswers:
    """Answers the requests of one model.

    `answer_many` and then `observe`; or, where a learner of the route is on a server (`awaits`), `answer_awaiting` and
    `observe_awaiting`, which let others have their turn meanwhile.

    Args:
        served: the trained versions in force.
        reads: the online store.
        views: all that are declared; each is read in its version in force.
        remotes: asks the servers of remote learners.
    """

    def __init__(
        self,
        served: ServedModel,
        reads: GuardedReads,
        views: Sequence[ViewDefinition] = (),
        *,
        remotes: RemoteAsker,
    ) -> None:
        self._served = served
        self._model = served.model
        self._reads = reads
        self._remotes = remotes
        self._reader = ModelReader(served.model, views)
        self._lookups = LookupReader(served.model.lookups)
        self._personal = PersonalReader(served.model)
        self._views = (*(view.name for view in served.model.views), *self._lookups.names, *self._personal.names)
        self._layout = VectorLayout.of(served.model)

    @property
    def awaits(self) -> bool:
        """Whether a learner of the route in force is on a server."""
        return self._served.executor is not None and self._served.executor.awaits

    async def close(self) -> None:
        """Close the connections to servers."""
        await self._remotes.close()

    def answer_many(self, requests: Sequence[Request], *, now_ms: int) -> list[Answered]:
        """Return one answer per request, in order. Never raises.

        Cost: one round trip to the store, two where the model looks features up, and one call of the learner that
        answers, 0.3 ms for XGBoost's; then 60-100 us a request.
        """
        if self._served.executor is None:
            return self._unavailable(requests)
        try:
            return self._answers(self._open(self._served.executor, requests, now_ms))
        except Exception as error:  # noqa: BLE001
            # The reply boundary: whatever went wrong inside, every caller gets its terminal answer.
            if len(requests) == 1:
                return [self._broken(requests[0], error)]
            return [answer for request in requests for answer in self.answer_many([request], now_ms=now_ms)]

    async def answer_awaiting(self, requests: Sequence[Request], *, now_ms: int) -> list[Answered]:
        """Return the same, with the scores of servers, which are waited for no longer than the requests have time."""
        if self._served.executor is None:
            return self._unavailable(requests)
        try:
            opened = self._open(self._served.executor, requests, now_ms)
            asked_ms = monotonic_ms()
            await self._remotes.ask(opened.turn, opened.turn.calls(), left_ms=opened.until_ms - asked_ms)
            return self._answers(opened, waited_ms=monotonic_ms() - asked_ms)
        except Exception as error:  # noqa: BLE001  # the reply boundary, as above
            if len(requests) == 1:
                return [self._broken(requests[0], error)]
            return [answer for request in requests for answer in await self.answer_awaiting([request], now_ms=now_ms)]

    def observe(self, answers: Sequence[Answered]) -> list[Prediction]:
        """Score the shadows of answers that are out, while their requests last; return what is to be logged."""
        observed: list[Prediction] = []
        for opened, batch, given in turns(answers):
            seen = opened.executor.observe(opened.turn, batch, until_ms=opened.until_ms)
            self._served.note(seen.failures[len(batch.failures) :])
            observed += predictions(self._model.key, self._layout, opened, seen, given)
        return observed

    async def observe_awaiting(self, answers: Sequence[Answered]) -> list[Prediction]:
        """Do the same, with the shadows that are on servers."""
        for opened, _, _ in turns(answers):
            left_ms = opened.until_ms - monotonic_ms()
            await self._remotes.ask(opened.turn, opened.turn.shadow_calls(), left_ms=left_ms)
        return self.observe(answers)

    def _broken(self, request: Request, error: Exception) -> Answered:
        logger.error("could not answer: %s", request.request_id, exc_info=error)
        return failed(request, Reason.INTERNAL, type(error).__name__)

    def _unavailable(self, requests: Sequence[Request]) -> list[Answered]:
        problem = f"no release of {self._model.key} is in force"
        return [failed(request, Reason.MODEL_UNAVAILABLE, problem) for request in requests]

    def _open(self, executor: Executor, requests: Sequence[Request], now_ms: int) -> OpenTurn:
        """Read the features and begin the turn. From here on nothing that is swapped touches these requests."""
        started_ms = monotonic_ms()
        least_ms = min(request.remaining_ms(now_ms) for request in requests)
        known, cells = self._read(requests, now_ms)
        begun_ms = monotonic_ms()
        vectors = [self._layout.vector(each.row) for each in known]
        turn = executor.begin(vectors, self._arms(executor.route, requests))
        remembered = self._personal.recall(requests, turn, cells)
        turn.beside = {name: [each.added if each else 0.0 for each in found] for name, found in remembered.items()}
        release = self._served.release
        return OpenTurn(
            executor,
            release,
            requests,
            known,
            turn,
            now_ms,
            started_ms=started_ms,
            read_ms=begun_ms - started_ms,
            assemble_ms=monotonic_ms() - begun_ms,
            until_ms=started_ms + least_ms,
            fresh_within_ms=self._model.fresh_within_ms,
            entities=[self._personal.entities(request) for request in requests],
            remembered=remembered,
        )

    def _arms(self, route: RouteDefinition, requests: Sequence[Request]) -> list[Arm]:
        """Return who is to answer each request; nothing where the champion answers all."""
        if route.canary is None and not route.weights:
            return []
        key = self._model.key
        return [arm_of(route, key, entity=entity_of(request), request_id=request.request_id) for request in requests]

    def _answers(self, opened: OpenTurn, *, waited_ms: float = 0.0) -> list[Answered]:
        batch = opened.executor.answer(opened.turn)
        predict_ms, scored_ms = waited_ms + batch.predict_ms, monotonic_ms()
        self._served.note(batch.failures)
        behind: dict[tuple[str | None, str], list[Version]] = {}
        answers = []
        for index, (request, outcome) in enumerate(zip(opened.requests, batch.answers, strict=True)):
            if outcome.score is None or outcome.by is None:
                # The request itself was valid: a vector that no learner may see is this side's fault.
                is_missing = outcome.reason == Reason.MODEL_UNAVAILABLE
                reason = Reason.MODEL_UNAVAILABLE if is_missing else Reason.INTERNAL
                answers.append(failed(request, reason, outcome.message))
                continue
            key = (outcome.by, outcome.role)
            if key not in behind:
                behind[key] = versions(batch.behind(outcome))
            spent = timings(opened, index, predict_ms=predict_ms, told_ms=monotonic_ms() - scored_ms)
            reply = reply_to(opened, index, outcome, behind[key], spent)
            answers.append(Answered(request, reply, opened, batch, index))
        return answers

    def _read(self, requests: Sequence[Request], now_ms: int) -> tuple[list[Known], Cells | None]:
        """Return what is known of each request, and the cells of personal learners; None where the store is silent."""
        budget_ms = max(request.remaining_ms(now_ms) for request in requests)
        until_ms = monotonic_ms() + budget_ms
        wanted = self._personal.cells(requests)
        found = self._reader.read(
            [request.entities for request in requests],
            [request.at_ms for request in requests],
            partial(self._reads.read, budget_ms=budget_ms),
            pointers=self._served.pointers,
            beside=wanted,
        )
        if found is None:
            return [_known(request, _NOTHING, (), lost=self._views) for request in requests], None
        cells = dict(zip(wanted, found.beside, strict=True))
        self._served.follow(found.pointers)
        if self._model.lookups:
            return self._look_up(requests, found.served, found.versions, until_ms=until_ms), cells
        pairs = zip(requests, found.served, strict=True)
        return [_known(request, each, found.versions) for request, each in pairs], cells

    def _look_up(
        self, requests: Sequence[Request], served: Sequence[Served], versions: tuple[str, ...], *, until_ms: float
    ) -> list[Known]:
        """Return what is known once the store has told of the entities that served values name."""
        rows = [row_of(each, request.inputs, request.at_ms) for request, each in zip(requests, served, strict=True)]
        question = self._lookups.question(rows)
        answer = self._reads.read(question, budget_ms=until_ms - monotonic_ms())
        if answer is None:
            lost = self._lookups.names
            return [_known(request, each, versions, lost=lost) for request, each in zip(requests, served, strict=True)]
        looked = [
            self._lookups.serve(question, answer, index, rows[index], after=each, at_ms=request.at_ms)
            for index, (request, each) in enumerate(zip(requests, served, strict=True))
        ]
        return [_known(request, each, versions) for request, each in zip(requests, looked, strict=True)]


_NOTHING = Served({}, {}, None)


def _known(request: Request, served: Served, versions: tuple[str, ...], *, lost: tuple[str, ...] = ()) -> Known:
    return Known(row_of(served, request.inputs, request.at_ms), served, (*served.unanswerable, *lost), versions)
