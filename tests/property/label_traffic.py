"""Predictions and labels as they come in life: late, missing, early, revised, twice, reused; in the order of a log."""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from streams.messages import LabelSeen, Outcome, Prediction, Progress

SOURCES = ("labels/0", "labels/1")
MISSING, REVISED, EARLY, TWICE, STRANGERS, REUSED, STRAYED = 0.15, 0.05, 0.03, 0.05, 0.01, 0.01, 0.002
"""Shares of the predictions; ``TWICE`` of predictions and labels alike, ``STRANGERS`` are labels nobody asked for,
``STRAYED`` ones that reach the log more than a horizon after they happened."""

_MEDIAN_DELAY, _SIGMA = 1 / 24, 1.5
"""Of the log-normal delay: an hour of a horizon of a day; 1.7 % of the labels come after it."""


@dataclass
class Traffic:
    """One outcomes partition's log, drawn as it is read. Equal arguments, equal logs.

    Args:
        predictions: how many there are.
        a_horizon: how many of them fall into one horizon.
        within_ms: the horizon.
        disorder_ms: how late a label may come behind its partition's newest.
    """

    predictions: int
    a_horizon: int
    within_ms: int
    disorder_ms: int
    seed: int = 0
    _due: list[tuple[int, int, Outcome]] = field(default_factory=list)
    _drawn: int = 0

    def __iter__(self) -> Iterator[Outcome]:
        self._rng = random.Random(self.seed)
        self._offsets = dict.fromkeys(SOURCES, -1)
        self._newest = dict.fromkeys(SOURCES, 0)
        gap_ms = self.within_ms / self.a_horizon
        keys = [""] * 64
        for number in range(self.predictions):
            at_ms = int(number * gap_ms)
            yield from self._until(at_ms)
            is_reused = number > len(keys) and self._rng.random() < REUSED
            key = self._rng.choice(keys) if is_reused else f"K{number}"
            keys[number % len(keys)] = key
            self._pair(number, key, at_ms)
        yield from self._until(int(self.predictions * gap_ms))

    def _pair(self, number: int, key: str, at_ms: int) -> None:
        rng = self._rng
        asked = Prediction(
            request_id=f"requests/0@{number}", model="late.v1", release="", label_key=key, at_ms=at_ms,
            vector=[float(number % 97), float(number % 89)], scores={"online": 0.5}, versions=[], champion="online",
            status="ok", positions={}, features_as_of=None,
        )  # fmt: skip
        arrives_ms = at_ms
        if rng.random() < STRANGERS:
            self._come(at_ms, self._label(f"S{number}", at_ms, label=True))
        if rng.random() >= MISSING:
            label_ms = at_ms + int(rng.lognormvariate(0.0, _SIGMA) * self.within_ms * _MEDIAN_DELAY)
            came_ms = label_ms + rng.randrange(self.disorder_ms)
            if rng.random() < STRAYED:
                came_ms += self.within_ms + self.within_ms // 10
            truth = rng.random() < 0.3
            self._twice(came_ms, self._label(key, label_ms, label=truth))
            if rng.random() < REVISED:
                later_ms = label_ms + rng.randrange(self.within_ms // 10)
                self._come(later_ms + rng.randrange(self.disorder_ms), self._label(key, later_ms, label=not truth))
            if rng.random() < EARLY:
                arrives_ms = came_ms + rng.randrange(1, self.disorder_ms)
        self._twice(arrives_ms, asked)

    def _label(self, key: str, at_ms: int, *, label: bool) -> LabelSeen:
        return LabelSeen(label_key=key, at_ms=at_ms, label=label, source=SOURCES[hash_of(key) % len(SOURCES)])

    def _twice(self, arrives_ms: int, outcome: Outcome) -> None:
        self._come(arrives_ms, outcome)
        if self._rng.random() < TWICE:
            self._come(arrives_ms + self._rng.randrange(self.within_ms // 20), outcome)

    def _come(self, arrives_ms: int, outcome: Outcome) -> None:
        self._drawn += 1
        heapq.heappush(self._due, (arrives_ms, self._drawn, outcome))

    def _until(self, now_ms: int) -> Iterator[Outcome]:
        while self._due and self._due[0][0] <= now_ms:
            _, _, outcome = heapq.heappop(self._due)
            if not isinstance(outcome, LabelSeen):
                yield outcome
                continue
            yield from self._routed(outcome)

    def _routed(self, label: LabelSeen) -> Iterator[Outcome]:
        """Give the label its place in its partition, tell how far that has come, and now and then deliver it again."""
        source = label.source
        self._offsets[source] += 1
        placed = LabelSeen(
            label_key=label.label_key,
            at_ms=label.at_ms,
            label=label.label,
            source=f"{source}@{self._offsets[source]}",
        )
        yield placed
        if self._rng.random() < TWICE:
            yield placed
        step_ms, before = self.within_ms // 96, self._newest[source]
        self._newest[source] = max(before, label.at_ms)
        if self._newest[source] // step_ms > before // step_ms:
            yield Progress(source=source, partitions=len(SOURCES), newest_ms=self._newest[source])


def hash_of(key: str) -> int:
    """Return a number that is the same in every process."""
    return int(key[1:]) * 2_654_435_761 % 2**32 >> 7
