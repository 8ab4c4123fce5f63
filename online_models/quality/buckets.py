"""The state of the fold that counts how well a model's learners do: a bucket per span of prediction time.

Two kinds of partitions are folded, and what they know of a bucket adds up: outcomes bring how many predictions there
were, examples bring the scores beside their labels. A bucket is one cell, and none depends on another.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from definitions.values import Value
from online_models.quality.pairs import Pairs, said_of

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
HOURLY_UP_TO_MS = 6 * HOUR_MS
"""Labels that are waited for longer are counted by day."""
BUCKETS_KEPT = 400
DELAY_BINS = 128
"""How long labels took is counted on so many equal parts of the horizon."""
ALL = ""
"""The slice that everything is in."""
RELEASE = "release"
MISSING, OTHER = "(missing)", "(other)"
MOST_RELEASES = 8
"""So many releases of a bucket have a slice; those behind them share one."""
REACH = "@reach"


def cell_of(bucket: int) -> str:
    """Return the name of a bucket's cell."""
    return f"@bucket/{bucket}"


class Slice(msgspec.Struct, array_like=True):
    """A part of a bucket's predictions: all of them, those of a release, those of a segment."""

    predicted: dict[str, int] = {}
    """Learner to the number of its scores."""
    pairs: dict[str, Pairs] = {}
    """Learner to those of its scores whose labels are known."""

    def merged(self, other: Slice) -> Slice:
        """Return what both know."""
        return Slice(
            {name: self.predicted.get(name, 0) + other.predicted.get(name, 0) for name in _names(self, other)},
            {
                name: self.pairs.get(name, Pairs()).merged(other.pairs.get(name, Pairs()))
                for name in sorted({*self.pairs, *other.pairs})
            },
        )


class Bucket(msgspec.Struct, array_like=True, tag="bucket"):
    """The predictions of one span of time."""

    slices: dict[str, Slice] = {}
    """``""``, ``release=<12 digits>`` or ``<input>=<value>`` to what is known of it."""
    delays: dict[str, dict[int, int]] = {}
    """``true``, ``false`` or ``number`` to how many such labels took how long, on `DELAY_BINS`.

    Behind the last bin are those that took the whole horizon: nothing came, and they were declared otherwise.
    """

    def merged(self, other: Bucket) -> Bucket:
        """Return what both know."""
        slices = {
            name: self.slices.get(name, Slice()).merged(other.slices.get(name, Slice()))
            for name in sorted({*self.slices, *other.slices})
        }
        delays = {
            kind: _added(self.delays.get(kind, {}), other.delays.get(kind, {}))
            for kind in sorted({*self.delays, *other.delays})
        }
        return Bucket(slices, delays)


class Reach(msgspec.Struct, array_like=True, tag="reach"):
    """What is contained of a partition."""

    newest: int | None = None
    """The newest bucket."""
    kept: list[int] = []
    """The buckets that have a cell."""
    positions: dict[str, tuple[int, int]] = {}
    """Outcomes partition to the (next, index) of its last example: what is at or below it is a copy."""


QualityState = Bucket | Reach | None

_ENCODER = msgspec.msgpack.Encoder()
_DECODER: msgspec.msgpack.Decoder[QualityState] = msgspec.msgpack.Decoder(Bucket | Reach | None)


class QualityCodec:
    """How the state becomes bytes and comes back. Maps keep the order in which they grew: equal prefix, equal bytes."""

    def empty(self) -> QualityState:
        """Return the state of a cell that is not there."""
        return None

    def encode(self, state: QualityState) -> bytes | None:
        """Return the state's bytes, None where nothing is left to keep."""
        return None if state is None else _ENCODER.encode(state)

    def decode(self, data: bytes) -> QualityState:
        """Return the state that the bytes were made from."""
        return _DECODER.decode(data)


@dataclass(frozen=True, slots=True)
class Layout:
    """How a model's predictions are cut: by time, by release, by the values of inputs."""

    within_ms: int
    """How long a label is waited for."""
    segments: Mapping[int, tuple[str, frozenset[str]]] = field(default_factory=dict)
    """Place in the vector to the input's name and those of its values that have a slice of their own."""

    @classmethod
    def of(cls, within_ms: int, inputs: Sequence[str], segments: Mapping[str, Iterable[str]]) -> Layout:
        """Return the layout for inputs in the order of the vector."""
        return cls(within_ms, {inputs.index(name): (name, frozenset(values)) for name, values in segments.items()})

    @property
    def width_ms(self) -> int:
        """How long a bucket is: an hour, or a day where labels take longer than `HOURLY_UP_TO_MS`."""
        return HOUR_MS if self.within_ms <= HOURLY_UP_TO_MS else DAY_MS

    def bucket(self, at_ms: int) -> int:
        """Return the number of the bucket that a prediction is in."""
        return at_ms // self.width_ms

    def delay_bin(self, delay_ms: int) -> int:
        """Return where a delay is counted: an early label took no time, one at the horizon is behind the last bin."""
        return min(DELAY_BINS, max(0, delay_ms * DELAY_BINS // self.within_ms))

    def slices(self, bucket: Bucket, release: str, vector: Sequence[Value]) -> list[str]:
        """Return the slices that a prediction is in."""
        found = [ALL]
        if release:
            name = f"{RELEASE}={release[:12]}"
            known = sum(each.startswith(f"{RELEASE}=") for each in bucket.slices)
            found.append(name if name in bucket.slices or known < MOST_RELEASES else f"{RELEASE}={OTHER}")
        for place, (name, values) in self.segments.items():
            value = vector[place] if place < len(vector) else None
            found.append(f"{name}={MISSING if value is None else value if value in values else OTHER}")
        return found


def count_prediction(
    layout: Layout, bucket: Bucket, *, release: str, vector: Sequence[Value], learners: Iterable[str]
) -> None:
    """Count one prediction's scores in its bucket. Cost: 0.5 us a slice and learner."""
    for name in layout.slices(bucket, release, vector):
        predicted = _slice(bucket, name).predicted
        for learner in learners:
            predicted[learner] = predicted.get(learner, 0) + 1


def count_example(  # noqa: PLR0913  # what an example says
    layout: Layout,
    bucket: Bucket,
    *,
    release: str,
    vector: Sequence[Value],
    scores: Mapping[str, float],
    label: float,
    delay_ms: int,
) -> None:
    """Count one example's scores and how long its label took. Cost: 2 us a learner and 1 us a slice and learner."""
    said = {learner: said_of(score, label) for learner, score in scores.items()}
    for name in layout.slices(bucket, release, vector):
        pairs = _slice(bucket, name).pairs
        for learner, each in said.items():
            if learner not in pairs:
                pairs[learner] = Pairs()
            pairs[learner].take(each)
    delays = bucket.delays.setdefault(kind_of(label), {})
    place = layout.delay_bin(delay_ms)
    delays[place] = delays.get(place, 0) + 1


def count_revision(
    layout: Layout,
    bucket: Bucket,
    *,
    release: str,
    vector: Sequence[Value],
    scores: Mapping[str, float],
    labels: tuple[float, float],
) -> None:
    """Count an example whose prediction was counted before with the first of two labels, and has the second now.

    How long labels take is known by the first ones.
    """
    for name in layout.slices(bucket, release, vector):
        pairs = _slice(bucket, name).pairs
        for learner, score in scores.items():
            if learner in pairs:
                pairs[learner].revise(score, *labels)


def _slice(bucket: Bucket, name: str) -> Slice:
    if name not in bucket.slices:
        bucket.slices[name] = Slice()
    return bucket.slices[name]


def kind_of(label: float) -> str:
    """Return the kind of labels whose delays are counted together: those of True and False differ most."""
    return str(label).lower() if isinstance(label, bool) else "number"


def keep(reach: Reach, bucket: int) -> list[int]:
    """Note a bucket that is counted into; return those that are too old now and go."""
    reach.newest = bucket if reach.newest is None else max(reach.newest, bucket)
    oldest = reach.newest - BUCKETS_KEPT + 1
    gone = [each for each in reach.kept if each < oldest]
    reach.kept = sorted({*reach.kept, bucket}.difference(gone))
    return gone


def is_too_old(reach: Reach, bucket: int) -> bool:
    """Return whether a bucket is not counted any more."""
    return reach.newest is not None and bucket <= reach.newest - BUCKETS_KEPT


def _names(mine: Slice, theirs: Slice) -> list[str]:
    return sorted({*mine.predicted, *theirs.predicted})


def _added(mine: Mapping[int, int], theirs: Mapping[int, int]) -> dict[int, int]:
    return {place: mine.get(place, 0) + theirs.get(place, 0) for place in sorted({*mine, *theirs})}
