"""Answers a micro-batch of one model's requests: features, scores, replies, predictions.

Features come in one round trip to the store; a model that looks features up by others takes a second one.

A request that cannot be answered in the company of others is answered alone; what then still fails is its own
``error``. So one request costs no other its answer.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from agents.read_features import GuardedReads
from agents.serve_model import ServedModel, monotonic_ms
from definitions.declared import ViewDefinition
from definitions.values import Value
from online_models.executor import CHAMPION, Executor, MicroBatch, Scored
from streams.lookups import LookupReader, row_of
from streams.messages import Prediction, ScoreReply, Timings, Version
from streams.reading import Served
from streams.request_reply import Reason, Request, Status
from streams.vectors import VectorLayout
from streams.versions import ModelReader

_SHOWN_DIGITS = 12

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Answered:
    """A request with its one reply, and the prediction to be logged if there is one."""

    request: Request
    reply: ScoreReply
    prediction: Prediction | None = None


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of one request. ``lost`` names the views or features that the store told nothing about."""

    row: Mapping[str, Value]
    lost: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    positions: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    as_of_ms: int | None = None
    versions: tuple[str, ...] = ()
    """Keys of the views that were read."""


@dataclass(frozen=True, slots=True)
class _Turn:
    """How one request was scored: its place in a micro-batch, the champion that was to answer, the time it took."""

    batch: MicroBatch
    index: int
    champion: str
    timings: Timings


class ModelAnswers:
    """Answers the requests of one model.

    Args:
        served: the trained versions in force.
        reads: the online store.
        views: all that are declared; each is read in its version in force.
    """

    def __init__(self, served: ServedModel, reads: GuardedReads, views: Sequence[ViewDefinition] = ()) -> None:
        self._served = served
        self._model = served.model
        self._reads = reads
        self._reader = ModelReader(served.model, views)
        self._lookups = LookupReader(served.model.lookups)
        self._views = (*(view.name for view in served.model.views), *self._lookups.names)
        self._layout = VectorLayout.of(served.model)

    def answer_many(self, requests: Sequence[Request], *, now_ms: int) -> list[Answered]:
        """Return one answer per request, in order. Never raises.

        Cost: one round trip to the store, two where the model looks features up, and one call of each learner, 0.3 ms
        for XGBoost's; then 60-100 us a request.
        """
        if self._served.executor is None:
            problem = f"no release of {self._model.key} is in force"
            return [_failed(request, Reason.MODEL_UNAVAILABLE, problem) for request in requests]
        try:
            return list(self._answers(self._served.executor, requests, now_ms))
        except Exception as error:
            # The reply boundary: whatever went wrong inside, every caller gets its terminal answer.
            if len(requests) == 1:
                logger.exception("could not answer: %s", requests[0].request_id)
                return [_failed(requests[0], Reason.INTERNAL, type(error).__name__)]
            return [answer for request in requests for answer in self.answer_many([request], now_ms=now_ms)]

    def _answers(self, executor: Executor, requests: Sequence[Request], now_ms: int) -> Iterator[Answered]:
        started_ms = monotonic_ms()
        known = self._read(requests, now_ms)
        read_ms = monotonic_ms() - started_ms
        vectors = [self._layout.vector(each.row) for each in known]
        least_ms = min(request.remaining_ms(now_ms) for request in requests)
        scored = self._score(executor, vectors, until_ms=started_ms + least_ms)
        for request, each, vector, (batch, index) in zip(requests, known, vectors, scored, strict=True):
            timings = Timings(
                queue_ms=float(now_ms - request.appended_ms),
                read_ms=round(read_ms, 3),
                predict_ms=round(batch.predict_ms, 3),
            )
            yield self._answered(request, each, vector, _Turn(batch, index, executor.route.champion, timings))

    def _read(self, requests: Sequence[Request], now_ms: int) -> list[_Known]:
        budget_ms = max(request.remaining_ms(now_ms) for request in requests)
        until_ms = monotonic_ms() + budget_ms
        found = self._reader.read(
            [request.entities for request in requests],
            [request.at_ms for request in requests],
            partial(self._reads.read, budget_ms=budget_ms),
            pointers=self._served.pointers,
        )
        if found is None:
            return [_Known(row_of(_NOTHING, request.inputs, request.at_ms), lost=self._views) for request in requests]
        self._served.follow(found.pointers)
        versions = tuple(view.key for view in found.views)
        if self._model.lookups:
            return self._look_up(requests, found.served, versions, until_ms=until_ms)
        return [_known(request, each, versions) for request, each in zip(requests, found.served, strict=True)]

    def _look_up(
        self, requests: Sequence[Request], served: Sequence[Served], versions: tuple[str, ...], *, until_ms: float
    ) -> list[_Known]:
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

    def _score(
        self, executor: Executor, vectors: list[list[Value]], *, until_ms: float
    ) -> list[tuple[MicroBatch, int]]:
        """Return for each vector the scored micro-batch that it was in, and its place there."""
        batch = executor.score(vectors, until_ms=until_ms)
        self._served.note(batch.failures)
        if len(vectors) > 1 and any(failure.role == CHAMPION for failure in batch.failures):
            # One vector may have made the champion fail for all of them.
            return [(executor.score([vector], until_ms=until_ms), 0) for vector in vectors]
        return [(batch, index) for index in range(len(vectors))]

    def _answered(self, request: Request, known: _Known, vector: list[Value], turn: _Turn) -> Answered:
        batch = turn.batch
        outcome = batch.answers[turn.index]
        if outcome.score is None or batch.answered_by is None:
            # The request itself was valid: a vector that no learner may see is this side's fault.
            is_missing = outcome.reason == Reason.MODEL_UNAVAILABLE
            return _failed(request, Reason.MODEL_UNAVAILABLE if is_missing else Reason.INTERNAL, outcome.message)
        status, reason = _status(known, outcome, is_stale=self._is_stale(request, known))
        versions = [Version(learner=v.learner, digest=v.digest[:_SHOWN_DIGITS], role=v.role) for v in batch.versions]
        reply = ScoreReply(
            request_id=request.request_id,
            status=status,
            scores={batch.answered_by: outcome.score},
            versions=versions,
            features_as_of=known.as_of_ms,
            degraded=[*known.lost, *([] if batch.answered_by == turn.champion else [turn.champion])],
            absent=list(known.absent),
            views=list(known.versions),
            reason=reason,
            timings=turn.timings,
        )
        if request.label_key is None:
            return Answered(request, reply)
        prediction = Prediction(
            request_id=request.request_id,
            model=self._model.key,
            release=self._served.release,
            label_key=request.label_key,
            at_ms=request.at_ms,
            vector=vector,
            scores=batch.scores_of(turn.index),
            versions=versions,
            champion=batch.answered_by,
            status=status,
            positions={view: dict(reached) for view, reached in known.positions.items()},
            features_as_of=known.as_of_ms,
            traceparent=request.traceparent,
        )
        return Answered(request, reply, prediction)

    def _is_stale(self, request: Request, known: _Known) -> bool:
        """Return whether the features are further behind the broker's clock than the model's author allows."""
        limit_ms = self._model.fresh_within_ms
        if limit_ms is None or not known.versions:
            return False
        return known.as_of_ms is None or request.appended_ms - known.as_of_ms > limit_ms


_NOTHING = Served({}, {}, None)


def _known(request: Request, served: Served, versions: tuple[str, ...], *, lost: tuple[str, ...] = ()) -> _Known:
    return _Known(
        row=row_of(served, request.inputs, request.at_ms),
        lost=(*served.unanswerable, *lost),
        absent=served.absent,
        positions=served.positions,
        as_of_ms=served.as_of_ms,
        versions=versions,
    )


def _status(known: _Known, outcome: Scored, *, is_stale: bool) -> tuple[Status, Reason | None]:
    if outcome.reason is not None:
        return Status.DEGRADED, Reason(outcome.reason)
    if known.lost:
        return Status.DEGRADED, Reason.FEATURES_UNAVAILABLE
    return (Status.DEGRADED, Reason.FEATURES_STALE) if is_stale else (Status.OK, None)


def _failed(request: Request, reason: Reason, message: str) -> Answered:
    reply = ScoreReply(request_id=request.request_id, status=Status.ERROR, reason=reason, message=message)
    return Answered(request, reply)
