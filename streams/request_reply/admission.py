"""Which requests are worth the work: those that can be answered by their deadline, the newest first.

Under overload somebody goes without an answer whatever is done; in order of arrival everybody would wait until all were
too late. So what waits is taken from its new end, and a request that cannot be reached in time any more is told at
once, while its caller still listens. The estimate is of measured times; "now" is an argument.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

MICRO_BATCH = 256
"""Requests answered together at most."""

MOST_WAITING = 10_000
"""Requests that a process keeps waiting at most: the oldest give way."""

FORGET_MS = 1_000
"""After so long of refusing everybody an estimate is forgotten: nothing that is measured would ever correct it."""

_KEPT = 0.5 ** (1 / 50)
"""What a measured time counts one micro-batch later: half after 50."""


class Deadlined(Protocol):
    """What has a deadline."""

    def remaining_ms(self, now_ms: int) -> int:
        """Return what is left of the budget."""
        ...


_Asked = TypeVar("_Asked", bound=Deadlined)


class ServiceTime:
    """How long a micro-batch takes: a part that every one costs, and a part per request, fitted to what was measured.

    A line by weighted least squares; each measurement weighs half as much 50 micro-batches later.

    Example:
        >>> service = ServiceTime()
        >>> service.of(10)
        0.0
        >>> for requests in (1, 100) * 50:
        ...     service.note(requests, 2.0 + 0.1 * requests)
        >>> round(service.of(10), 3)
        3.0
    """

    def __init__(self) -> None:
        self._weight = self._requests = self._took = self._squares = self._products = 0.0

    def forget(self) -> None:
        """Know nothing, as before the first measurement."""
        self._weight = self._requests = self._took = self._squares = self._products = 0.0

    def note(self, requests: int, took_ms: float) -> None:
        """Take in that a micro-batch of ``requests`` took ``took_ms``."""
        self._weight = _KEPT * self._weight + 1.0
        self._requests = _KEPT * self._requests + requests
        self._took = _KEPT * self._took + took_ms
        self._squares = _KEPT * self._squares + requests * requests
        self._products = _KEPT * self._products + requests * took_ms

    def of(self, requests: int) -> float:
        """Return the time in ms that a micro-batch of ``requests`` takes; 0 where nothing was measured."""
        if not self._weight:
            return 0.0
        mean, mean_took = self._requests / self._weight, self._took / self._weight
        spread = self._squares / self._weight - mean * mean
        # Batches of one size say nothing of what one more request costs.
        slope = (self._products / self._weight - mean * mean_took) / spread if spread > 1e-9 * mean * mean else 0.0
        slope = min(max(slope, 0.0), mean_took / mean)
        return mean_took + slope * (requests - mean)


@dataclass(frozen=True, slots=True)
class Taken(Generic[_Asked]):
    """What became of waiting requests: those to be answered now, and those to be told that they will not be."""

    batch: list[_Asked] = field(default_factory=list)
    """In order of arrival."""
    expired: list[_Asked] = field(default_factory=list)
    """Too little time was left for an answer, whoever else was waiting."""
    overloaded: list[_Asked] = field(default_factory=list)
    """There would have been time for an answer, but others are served before."""


class Waiting(Generic[_Asked]):
    """The requests of one model that have been taken from the log and not been answered.

    Args:
        service: how long answers take.
        most: how many may wait.
    """

    def __init__(self, service: ServiceTime, most: int = MOST_WAITING) -> None:
        self._service = service
        self._most = most
        self._waiting: list[_Asked] = []
        self._refusing_since_ms: int | None = None
        """Since when nobody was served though somebody waited; None where the last take served."""

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def requests(self) -> Sequence[_Asked]:
        """Those that wait, in order of arrival."""
        return self._waiting

    def put(self, requests: Iterable[_Asked]) -> list[_Asked]:
        """Let requests wait, in order of arrival; return the oldest that there is no room for."""
        self._waiting.extend(requests)
        surplus = len(self._waiting) - self._most
        if surplus <= 0:
            return []
        crowded_out, self._waiting = self._waiting[:surplus], self._waiting[surplus:]
        return crowded_out

    def take(self, now_ms: int, most: int = MICRO_BATCH) -> Taken[_Asked]:
        """Return the micro-batch to answer now, and who will not be answered. Each request is returned once, ever.

        The micro-batch is of the newest, as many as can be answered together within the budget of each of them. An
        estimate by which nobody was served for a second is forgotten: one slow answer must not be the last. Cost:
        0.1 us for every request that waits where all can be answered together, else 0.3 us.
        """
        if self._all_fit(now_ms, most):
            batch, self._waiting, self._refusing_since_ms = self._waiting, [], None
            return Taken(batch)
        refusing_since_ms = self._refusing_since_ms
        if refusing_since_ms is not None and now_ms - refusing_since_ms >= FORGET_MS:
            self._service.forget()
        is_asked = bool(self._waiting)
        taken: Taken[_Asked] = Taken()
        left: list[_Asked] = []
        shortest_ms = float("inf")
        alone_ms = self._service.of(1)
        while self._waiting and len(taken.batch) < most:
            request = self._waiting.pop()
            remaining_ms = request.remaining_ms(now_ms)
            if remaining_ms <= 0 or remaining_ms < alone_ms:
                taken.expired.append(request)
            elif min(shortest_ms, remaining_ms) >= self._service.of(len(taken.batch) + 1):
                shortest_ms = min(shortest_ms, remaining_ms)
                taken.batch.append(request)
            else:
                left.append(request)
        left.extend(reversed(self._waiting))
        taken.batch.reverse()
        if taken.batch:
            self._refusing_since_ms = None
        elif is_asked and refusing_since_ms is None:
            self._refusing_since_ms = now_ms
        self._waiting = self._reachable(left, now_ms + self._service.of(len(taken.batch)), now_ms, taken)
        return taken

    def _all_fit(self, now_ms: int, most: int) -> bool:
        """Return whether whoever waits is answered in time if all are answered together: what `take` then comes to."""
        if not 0 < len(self._waiting) <= most:
            return False
        least_ms = min(each.remaining_ms(now_ms) for each in self._waiting)
        return least_ms > 0 and least_ms >= self._service.of(len(self._waiting))

    def _reachable(self, newest_first: list[_Asked], free_ms: float, now_ms: int, taken: Taken[_Asked]) -> list[_Asked]:
        """Return those that can still be reached, oldest first: each waits for all that are newer."""
        kept: list[_Asked] = []
        whole_ms = self._service.of(MICRO_BATCH)
        for request in newest_first:
            whole, begun = divmod(len(kept) + 1, MICRO_BATCH)
            answered_ms = free_ms - now_ms + whole * whole_ms + (self._service.of(begun) if begun else 0.0)
            if request.remaining_ms(now_ms) >= max(answered_ms, 1):
                kept.append(request)
            elif request.remaining_ms(now_ms) < max(self._service.of(1), 1):
                taken.expired.append(request)
            else:
                taken.overloaded.append(request)
        kept.reverse()
        return kept
