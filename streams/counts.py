"""What one outcomes partition tells of live traffic: counts by day for health, and what was served, for the catalogue.

Pure state of the fold ``monitor.<model key>``, in three cells that are always written together:

==============  ==========================================================================================
``@days``       counts on the baseline's bins per event-time day and release, until the day is over
``@served``     per input of the model: how often it was served, missing, and its mean, range or top values
``@minutes``    predictions per minute of LogAppendTime, the last 60: how often the model's inputs are read
==============  ==========================================================================================

Readers merge the cells of all partitions: `read_served`, `read_minutes`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo
from typing import Protocol

import msgspec

from definitions.values import Value, magnitude
from streams.codecs import LATEST_MS
from streams.messages import Prediction, Progress, Tick
from streams.store import OnlineStore, Question

GRACE_MS = 3_600_000
"""How far event time has to be past a day's end before the day is told: slots and partitions are not in step."""
FUTURE_MS = 5 * 60_000
"""A prediction further ahead of the broker's clock than this does not move event time."""
MOST_OPEN = 64
"""How many (day, release) pairs are counted at a time; predictions about yet other days are not."""
MINUTES_KEPT = 60
TOP_VALUES = 50
"""How many values of a category are counted by name, the first ones seen."""

DAYS, SERVED, MINUTES = "@days", "@served", "@minutes"
CELLS = (DAYS, SERVED, MINUTES)

_MINUTE_MS = 60_000
_DAY_MS = 86_400_000


def fold(model_key: str) -> str:
    """Return the name of the model's monitor in the store."""
    return f"monitor.{model_key}"


class Counter(Protocol):
    """Counts predictions on one release's frozen bins: `online_models.baseline.BaselineCounter` and its baseline."""

    def empty(self) -> dict[str, list[int]]:
        """Return counts of nothing."""
        ...

    def count(self, counts: dict[str, list[int]], vector: Sequence[Value], scores: Mapping[str, float]) -> None:
        """Add one prediction to ``counts``."""
        ...


class Days(msgspec.Struct, tag="days"):
    """Counts of days that are not over yet, and how far event time has come."""

    newest_ms: int | None = None
    closed: str = ""
    """The last day that was told, ISO."""
    open: dict[str, dict[str, dict[str, list[int]]]] = {}
    """Day to release to signal to counts."""


class ServedInput(msgspec.Struct, array_like=True):
    """What was served of one input. Numbers have a sum and a range, categories and bools have ``top``.

    An embedding is counted by its Euclidean length.
    """

    n: int = 0
    missing: int = 0
    total: float = 0.0
    least: float | None = None
    greatest: float | None = None
    top: dict[str, int] = {}

    def add(self, value: Value) -> None:
        """Count one value served. Cost: 0.3 us."""
        self.n += 1
        if value is None:
            self.missing += 1
        elif isinstance(value, bool | str):
            name = value if isinstance(value, str) else str(value).lower()
            if name in self.top or len(self.top) < TOP_VALUES:
                self.top[name] = self.top.get(name, 0) + 1
        else:
            number = magnitude(value)
            self.total += number
            self.least = number if self.least is None else min(self.least, number)
            self.greatest = number if self.greatest is None else max(self.greatest, number)

    @property
    def mean(self) -> float | None:
        """The mean of the numbers served, None while there are none."""
        return None if self.least is None else self.total / (self.n - self.missing)

    def plus(self, other: ServedInput) -> ServedInput:
        """Return what was served by both."""
        ends = [each for each in (self.least, other.least) if each is not None]
        tops = [each for each in (self.greatest, other.greatest) if each is not None]
        names = sorted({*self.top, *other.top})
        return ServedInput(
            self.n + other.n,
            self.missing + other.missing,
            self.total + other.total,
            min(ends, default=None),
            max(tops, default=None),
            {name: self.top.get(name, 0) + other.top.get(name, 0) for name in names},
        )


class Served(msgspec.Struct, tag="served"):
    """What was served of every input, by the input's name."""

    inputs: dict[str, ServedInput] = {}


class Minutes(msgspec.Struct, tag="minutes"):
    """Predictions per minute of LogAppendTime: the minute's number since the epoch, as text, to their number."""

    reads: dict[str, int] = {}

    def add(self, minute: int) -> None:
        """Count a prediction; forget minutes that are an hour older than the newest."""
        self.reads[str(minute)] = self.reads.get(str(minute), 0) + 1
        if len(self.reads) > MINUTES_KEPT:
            newest = max(map(int, self.reads))
            self.reads = {each: n for each, n in self.reads.items() if int(each) > newest - MINUTES_KEPT}


MonitorState = Days | Served | Minutes | None

_ENCODER = msgspec.msgpack.Encoder(order="deterministic")
_DECODER: msgspec.msgpack.Decoder[MonitorState] = msgspec.msgpack.Decoder(Days | Served | Minutes | None)


class MonitorCodec:
    """Implements `streams.chain.StateCodec` for the monitor's cells."""

    def empty(self) -> MonitorState:
        """Return the state of a cell that is not there."""
        return None

    def encode(self, state: MonitorState) -> bytes | None:
        """Return the state's bytes."""
        return None if state is None else _ENCODER.encode(state)

    def decode(self, data: bytes) -> MonitorState:
        """Return the state that the bytes were made from."""
        return _DECODER.decode(data)


@dataclass(slots=True)
class Monitor:
    """The three cells of one partition, and how records change them. Called in log order."""

    model: str
    inputs: Sequence[str]
    zone: tzinfo
    outcomes: str
    partitions: int
    counter_of: Callable[[str], Counter | None]
    """From a release's digest to its bins, None where it has none."""
    days: Days
    served: Served
    minutes: Minutes

    def take(self, asked: Prediction, *, after: int, appended_ms: int) -> tuple[str, list[Tick]]:
        """Count a prediction; return its fate and the ticks that it makes due. Cost: 0.6 us per input and signal."""
        self.minutes.add(appended_ms // _MINUTE_MS)
        for name, value in zip(self.inputs, asked.vector, strict=False):
            self.served.inputs.setdefault(name, ServedInput()).add(value)
        fate = self._count(asked)
        is_future = asked.at_ms > appended_ms + FUTURE_MS
        return fate, [] if is_future else list(self._move(asked.at_ms, after))

    def progress(self, told: Progress, *, after: int) -> list[Tick]:
        """Move event time on; return the ticks that this makes due."""
        return [] if told.idle else list(self._move(told.newest_ms, after))

    def _count(self, asked: Prediction) -> str:
        counter = self.counter_of(asked.release)
        if counter is None or len(asked.vector) != len(self.inputs):
            return "no_entity"
        day = self._day(asked.at_ms)
        if day <= self.days.closed:
            return "too_late"
        releases = self.days.open.get(day, {})
        if asked.release not in releases and sum(map(len, self.days.open.values())) >= MOST_OPEN:
            return "too_late"
        counts = self.days.open.setdefault(day, {}).setdefault(asked.release, {}) or counter.empty()
        counter.count(counts, asked.vector, asked.scores)
        self.days.open[day][asked.release] = counts
        return "applied"

    def _move(self, at_ms: int, after: int) -> Iterator[Tick]:
        days = self.days
        days.newest_ms = at_ms if days.newest_ms is None else max(days.newest_ms, at_ms)
        over = (date.fromisoformat(self._day(days.newest_ms - GRACE_MS)) - timedelta(days=1)).isoformat()
        if over <= days.closed:
            return
        days.closed = over
        for day in sorted(each for each in days.open if each <= over):
            for release, counts in sorted(days.open.pop(day).items()):
                yield self._tick(day, release, counts, after)
        yield self._tick(over, "", {}, after)

    def _tick(self, day: str, release: str, counts: dict[str, list[int]], after: int) -> Tick:
        return Tick(
            model=self.model,
            release=release,
            day=day,
            outcomes=self.outcomes,
            partitions=self.partitions,
            next=after,
            counts=counts,
        )

    def _day(self, at_ms: int) -> str:
        within = min(max(at_ms, _DAY_MS), LATEST_MS - _DAY_MS)
        return datetime.fromtimestamp(within / 1_000, self.zone).date().isoformat()


def read_served(store: OnlineStore, model_key: str) -> dict[str, ServedInput]:
    """Return what was served of each input of a model, over all partitions.

    Raises:
        StoreUnavailable: the store did not answer.
    """
    total: dict[str, ServedInput] = {}
    for state in _read(store, model_key, SERVED):
        if isinstance(state, Served):
            for name, each in state.inputs.items():
                total[name] = each.plus(total[name]) if name in total else each
    return total


def read_minutes(store: OnlineStore, model_key: str, *, now_ms: int) -> list[int]:
    """Return the model's predictions of each of the 60 minutes before ``now_ms``, oldest first.

    Raises:
        StoreUnavailable: the store did not answer.
    """
    states = [state for state in _read(store, model_key, MINUTES) if isinstance(state, Minutes)]
    this = now_ms // _MINUTE_MS
    minutes = range(this - MINUTES_KEPT, this)
    return [sum(state.reads.get(str(minute), 0) for state in states) for minute in minutes]


def _read(store: OnlineStore, model_key: str, cell: str) -> list[MonitorState]:
    [cells] = store.read(Question(cells=[(fold(model_key), cell)])).cells
    return [_DECODER.decode(each.state) for each in cells.values()]
