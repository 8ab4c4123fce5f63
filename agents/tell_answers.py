"""Puts into words how requests were scored: the reply, which goes out first, and the prediction, logged behind it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import msgspec

from agents.recall_personal import Remembered
from agents.serve_model import monotonic_ms
from definitions.values import Value
from online_models.executor import Executor, MicroBatch, Scored, TrainedVersion, Turn
from streams.messages import Prediction, ScoreReply, Timings, Version
from streams.reading import Served
from streams.request_reply import Reason, Request, Status
from streams.vectors import VectorLayout

_SHOWN_DIGITS = 12


class Known(msgspec.Struct, frozen=True):
    """What is known of one request. ``lost`` names the views or features that the store told nothing about."""

    row: Mapping[str, Value]
    served: Served
    lost: tuple[str, ...] = ()
    versions: tuple[str, ...] = ()
    """Keys of the views that were read."""


@dataclass(frozen=True, slots=True)
class OpenTurn:
    """A micro-batch whose features were read: everything that was in force then, and stays so for its answers."""

    executor: Executor
    release: str
    requests: Sequence[Request]
    known: Sequence[Known]
    turn: Turn
    now_ms: int
    started_ms: float
    """When reading began, by the monotonic clock."""
    read_ms: float
    assemble_ms: float
    """What the vectors took, without reading."""
    until_ms: float
    """When the first of the requests is over, by the monotonic clock."""
    fresh_within_ms: int | None = None
    """How far the features may be behind the broker's clock."""
    entities: Sequence[Mapping[str, str | int]] = ()
    """Per request, what personal learners know its entities by."""
    remembered: Mapping[str, Sequence[Remembered | None]] = field(default_factory=dict)
    """Personal learner to what it knows of each request's entities."""

    def remembers(self, learner: str | None, index: int) -> Remembered | None:
        """Return what a learner knows of the entities of a request, None where that is nothing to go by."""
        found = self.remembered.get(learner or "")
        return None if found is None else found[index]


class Answered(msgspec.Struct, frozen=True):
    """A request with its one reply, and how it was scored if it was."""

    request: Request
    reply: ScoreReply
    opened: OpenTurn | None = None
    batch: MicroBatch | None = None
    index: int = 0


def reply_to(opened: OpenTurn, index: int, outcome: Scored, versions: list[Version], timings: Timings) -> ScoreReply:
    """Return the reply to the request at a place of the turn. ``versions`` are those behind its outcome."""
    request, known, arm = opened.requests[index], opened.known[index], opened.turn.arm(index)
    remembered = opened.remembers(outcome.by, index)
    status, reason = _status(known, outcome, is_stale=_is_stale(request, known, opened.fresh_within_ms))
    return ScoreReply(
        request_id=request.request_id,
        status=status,
        scores={outcome.by or "": outcome.score or 0.0},
        versions=versions,
        features_as_of=known.served.as_of_ms,
        degraded=[*known.lost, *([] if outcome.by == arm.learner else [arm.learner])],
        absent=list(known.served.absent),
        views=list(known.versions),
        reason=reason,
        message=outcome.message or None,
        timings=timings,
        personal=msgspec.UNSET if remembered is None else remembered.told(),
    )


def timings(opened: OpenTurn, index: int, *, predict_ms: float, told_ms: float) -> Timings:
    """Return where the time of the request at a place of the turn went.

    Args:
        opened: the turn.
        index: the place.
        predict_ms: what its scores took.
        told_ms: what the replies have taken so far.
    """
    queue_ms = float(opened.now_ms - opened.requests[index].appended_ms)
    return Timings(
        queue_ms=queue_ms,
        read_ms=round(opened.read_ms, 3),
        assemble_ms=round(opened.assemble_ms + told_ms, 3),
        predict_ms=round(predict_ms, 3),
        total_ms=round(queue_ms + monotonic_ms() - opened.started_ms, 3),
    )


def predictions(
    model: str, layout: VectorLayout, opened: OpenTurn, batch: MicroBatch, given: Sequence[Answered]
) -> Iterator[Prediction]:
    """Yield what is logged of a turn's answers: the vector as served, every score, and who was to answer why.

    Args:
        model: the model's key.
        layout: of its vector.
        opened: the turn.
        batch: its scores, those of shadows included.
        given: its answers.
    """
    told: dict[tuple[str | None, ...], list[Version]] = {}
    for answer in given:
        request, reply, index = answer.request, answer.reply, answer.index
        if request.label_key is None:
            continue
        served, arm, outcome = opened.known[index].served, opened.turn.arm(index), batch.answers[index]
        scores = batch.scores_of(index)
        scored = (outcome.by, outcome.role, *scores)
        if scored not in told:
            told[scored] = versions(batch.versions_of(index))
        yield Prediction(
            request_id=request.request_id,
            model=model,
            release=opened.release,
            label_key=request.label_key,
            at_ms=request.at_ms,
            vector=list(opened.turn.vectors[index]),
            ages_ms=layout.ages_ms(served.ages_ms()),
            scores=scores | reply.scores,
            versions=told[scored],
            champion=outcome.by or "",
            status=reply.status,
            arm=arm.learner,
            propensity=arm.propensity * _drawn(opened, batch, index),
            positions=served.positions,
            features_as_of=served.as_of_ms,
            traceparent=request.traceparent,
            entities=dict(opened.entities[index]),
        )


def _drawn(opened: OpenTurn, batch: MicroBatch, index: int) -> float:
    """Return how probable it was that the answer, if it was drawn, fell as it did for a caller who acts on it."""
    remembered = opened.remembers(batch.answers[index].by, index)
    if remembered is None:
        return 1.0
    return remembered.propensity(batch.scores_of(index)[remembered.model.offset])


def versions(found: Sequence[TrainedVersion]) -> list[Version]:
    """Return trained versions as replies and predictions name them."""
    return list(map(_told, found))


@lru_cache(maxsize=1_000)
def _told(version: TrainedVersion) -> Version:
    """Return a trained version as it is told: there are few at a time, and each answer names some of them."""
    return Version(learner=version.learner, digest=version.digest[:_SHOWN_DIGITS], role=version.role)


def turns(answers: Sequence[Answered]) -> Iterator[tuple[OpenTurn, MicroBatch, list[Answered]]]:
    """Yield each turn that gave some of the answers, with them."""
    turns: dict[int, tuple[OpenTurn, MicroBatch, list[Answered]]] = {}
    for answer in answers:
        if answer.opened is not None and answer.batch is not None:
            turns.setdefault(id(answer.batch), (answer.opened, answer.batch, []))[2].append(answer)
    yield from turns.values()


def entity_of(request: Request) -> str:
    """Return what a request is about as one text: its entities, without any its label key, without that itself."""
    if request.entities:
        return "\x1f".join(str(request.entities[name]) for name in sorted(request.entities))
    return request.label_key or request.request_id


def _is_stale(request: Request, known: Known, limit_ms: int | None) -> bool:
    """Return whether the features are further behind the broker's clock than the model's author allows."""
    if limit_ms is None or not known.versions:
        return False
    as_of_ms = known.served.as_of_ms
    return as_of_ms is None or request.appended_ms - as_of_ms > limit_ms


def _status(known: Known, outcome: Scored, *, is_stale: bool) -> tuple[Status, Reason | None]:
    if outcome.reason is not None:
        return Status.DEGRADED, Reason(outcome.reason)
    if known.lost:
        return Status.DEGRADED, Reason.FEATURES_UNAVAILABLE
    return (Status.DEGRADED, Reason.FEATURES_STALE) if is_stale else (Status.OK, None)


def failed(request: Request, reason: Reason, message: str) -> Answered:
    """Return the answer of a request that gets no score."""
    reply = ScoreReply(request_id=request.request_id, status=Status.ERROR, reason=reason, message=message)
    return Answered(request, reply)
