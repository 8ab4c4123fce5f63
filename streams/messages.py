"""The records that headrace writes and reads itself, as typed values in JSON.

Unknown fields are ignored, so a newer writer does not break an older reader; an unknown major version is refused by
the ``kind`` tag where a topic carries several kinds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from definitions.declared import RouteDefinition
from definitions.values import Value


class ScoreRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """The body of a scoring request (DESIGN 7). Header fields are in `streams.request_reply`."""

    model: str
    entities: dict[str, str | int | None] = {}
    inputs: dict[str, Value] = {}
    label_key: str | int | None = None
    at: int | str | None = None
    """The event time asked about: epoch ms or RFC 3339; None means the request's LogAppendTime."""
    candidates: Sequence[str | int | Mapping[str, Any]] | msgspec.UnsetType = msgspec.UNSET
    """What a graph is to rank: ids, or objects of ``id``, ``inputs``, ``label_key``. Left out where it is a model."""


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """One trained version that took part: the learner's name and its artefact's digest (12 hex digits)."""

    learner: str
    digest: str
    role: str
    """``champion``, ``canary``, ``weighted``, ``fallback``, ``shadow``, or ``member`` of an ensemble."""


class Timings(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a request's time went, in ms, from the broker's stamp until its reply was put together."""

    queue_ms: float = 0.0
    read_ms: float = 0.0
    assemble_ms: float = 0.0
    """Making the vectors and the reply of what was read and predicted."""
    predict_ms: float = 0.0
    """Waiting for the scores of servers is in it."""
    total_ms: float = 0.0
    """All of it: from the broker's stamp until this reply was put together, by the clock and not by the others' sum."""


class RankedCandidate(msgspec.Struct, frozen=True, gc=False):
    """A candidate in the answer of a graph; ``score`` is None where it has none."""

    id: str | int
    score: float | None


class Personal(msgspec.Struct, frozen=True, kw_only=True):
    """What a personal model knows of the entities of a request, beside the score."""

    adds: float
    """What the entities add to the offset: in log-odds, or in the label's unit where it is a number."""
    deviation: float
    """The standard deviation of what they add: large where little is known."""
    known: dict[str, int]
    """Kind of entity to how many examples of the one asked about were learned."""
    drawn: bool = False
    """The score was drawn from what is believed (Thompson sampling)."""


class ScoreReply(msgspec.Struct, frozen=True, kw_only=True):
    """The one terminal answer to a request. ``request_id`` is the request's position, ``topic/partition@offset``."""

    request_id: str
    status: str
    """``ok``, ``degraded``, ``rejected``, ``error`` or ``expired``."""
    scores: dict[str, float] = {}
    """The learner that answered to its score, ``constant`` where the route's constant did; shadows are not in it."""
    versions: list[Version] = []
    """What the answer rests on: the learner that gave it and, of an ensemble, its members."""
    features_as_of: int | None = None
    """Epoch ms: everything the broker had at that time is contained in the features served."""
    degraded: list[str] = []
    """What was done without: views or features that could not be read, a champion that did not answer."""
    absent: list[str] = []
    """Names of the views that know nothing of the entity asked about."""
    views: list[str] = []
    """Keys of the view versions that the features are of: those in force, not always those trained on."""
    reason: str | None = None
    message: str | None = None
    """For people: what was wrong with the request, and at which ``$.path``; why a learner did not answer."""
    timings: Timings = Timings()
    candidates: list[RankedCandidate] | msgspec.UnsetType = msgspec.UNSET
    """A graph's answer, in order. Left out where it is a model's."""
    personal: Personal | msgspec.UnsetType = msgspec.UNSET
    """How sure the answer is of the entities asked about. Left out where no personal model answered."""


class Prediction(msgspec.Struct, frozen=True, kw_only=True, tag="prediction", tag_field="kind", gc=False):
    """The record of one scoring, in the model's outcomes topic, keyed by the label key."""

    request_id: str
    """Where a graph asked the model, with ``#`` and the candidate's place in the request behind it."""
    model: str
    release: str
    label_key: str | None
    at_ms: int
    vector: list[Value]
    """As served, in the order of the model's inputs."""
    ages_ms: list[int | None] = []
    """How old each value of the vector was: `streams.vectors.VectorLayout.ages_ms`. Empty of an older headrace."""
    scores: dict[str, float]
    versions: list[Version]
    champion: str
    status: str
    arm: str = ""
    """The learner that was to answer; ``champion`` names the one that did."""
    propensity: float = 1.0
    """How probable it was that the route gave the request to this arm; where the answer was drawn, times how probable a
    draw was on its side of the score from which callers act."""
    positions: Mapping[str, Mapping[str, int]]
    """View key to (partition field to the next offset that the cell read contained).

    A view that was looked up has the names of what it was looked up by behind its key (`Lookup.suffix`): a replay reads
    it at these positions, for the entity that those values name.
    """
    features_as_of: int | None
    traceparent: str | None = None
    """The trace that the request belongs to (W3C Trace Context), None where its header names none."""
    entities: dict[str, str | int] = {}
    """What personal models know the request's entities by. Empty where the model has none."""


class LabelSeen(msgspec.Struct, frozen=True, kw_only=True, tag="label", tag_field="kind", gc=False):
    """A label event copied into the outcomes topic. ``source`` is its position there, ``field@offset``."""

    label_key: str
    at_ms: int
    label: Value
    source: str


class Progress(msgspec.Struct, frozen=True, kw_only=True, tag="progress", tag_field="kind"):
    """How far the label topic's partition has come, in event time; written into every outcomes partition."""

    source: str
    """The label partition, as `Partition.field`."""
    partitions: int
    """How many label partitions there are: no label is missing before each has told its progress."""
    newest_ms: int
    idle: bool = False
    """The partition has been read to its end for a while: until it tells more, it holds no horizon back."""


Outcome = Prediction | LabelSeen | Progress
"""What the outcomes topic carries."""


class Example(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A prediction joined with its label. Its position is in the ``headrace-position`` header too."""

    model: str
    label_key: str
    at_ms: int
    vector: list[Value]
    label: Value
    scores: dict[str, float]
    champion: str
    outcomes: str
    """The outcomes partition, as `Partition.field`."""
    next: int
    index: int
    """(outcomes, next, index) is the example's position: learners skip what is at or below their own."""
    is_revision: bool = False
    """The prediction became an example before, with a label that was revised since."""
    replaces: Value = None
    """That label; None where the example is no revision, or an older headrace made it."""
    release: str = ""
    """Digest of the release that scored."""
    label_at_ms: int | None = None
    """When the label happened; None where none came within the horizon. Unknown of an older headrace, as None."""
    entities: dict[str, str | int] = {}
    """As the prediction says."""
    versions: dict[str, str] = {}
    """Learner to the digest (12 hex digits) of the trained version that gave its score; empty without personal models.
    """


class Tick(msgspec.Struct, frozen=True, kw_only=True):
    """Counts that one outcomes partition contributes to one event-time day of one model."""

    model: str
    release: str
    day: str
    """ISO date in the model's time zone."""
    outcomes: str
    partitions: int
    """How many outcomes partitions there are: the day is complete when each has sent its tick."""
    next: int
    counts: dict[str, list[int]]
    """Signal (``score:<learner>`` or ``feature:<input>``) to counts on the baseline's frozen bins."""


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """The record on the alerts topic, keyed by fingerprint: the last one of a key is the incident's state."""

    fingerprint: str
    incident: str
    state: str
    """``firing`` or ``resolved``."""
    model: str
    release: str
    signal: str
    day: str
    since: str
    n: int
    psi: float
    total_variation: float
    message: str


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """A release put in force for a model, on the deployments topic, read from its start at boot."""

    model: str
    release: str
    """Digest of the release manifest in the artefact store."""
    champion: str
    shadow: list[str]
    at_ms: int
    fallback: str | float | None = None
    canary: tuple[str, float] | None = None
    weights: dict[str, float] = {}

    @classmethod
    def of(cls, model: str, release: str, route: RouteDefinition, *, at_ms: int) -> Deployment:
        """Return the record that puts a release in force by a route."""
        return cls(
            model=model,
            release=release,
            champion=route.champion,
            shadow=list(route.shadow),
            at_ms=at_ms,
            fallback=route.fallback,
            canary=route.canary,
            weights=dict(route.weights),
        )

    @property
    def route(self) -> RouteDefinition:
        """The route that it brings. Whether it fits the model: `definitions.routes.misrouted`."""
        weights = tuple(self.weights.items())
        return RouteDefinition(self.champion, tuple(self.shadow), self.fallback, self.canary, weights)


_ENCODER = msgspec.json.Encoder()


def encode(message: msgspec.Struct) -> bytes:
    """Return the message as JSON bytes."""
    return _ENCODER.encode(message)
