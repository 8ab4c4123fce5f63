"""Reads the features of a micro-batch in one round trip, within its budget, and not at all from a store that fails."""

from __future__ import annotations

import logging
from collections.abc import Callable

from streams.errors import StoreUnavailable
from streams.store import Answer, OnlineStore, Question

READ_MAX_MS = 20.0
_READ_MIN_MS = 5.0
_BREAK_MS = 100

logger = logging.getLogger(__name__)


class GuardedReads:
    """The online store as scoring reads it: it may cost a request a little time, never its answer.

    After a read that failed, nothing is asked for 100 ms: requests are answered without a store meanwhile.

    Args:
        store: what is read.
        now_ms: the clock that the pause is measured by.
    """

    def __init__(self, store: OnlineStore, now_ms: Callable[[], int]) -> None:
        self._store = store
        self._now_ms = now_ms
        self._closed_until_ms = 0
        self._is_failing = False

    def read(self, question: Question, *, budget_ms: float, longest_ms: float = READ_MAX_MS) -> Answer | None:
        """Return the answer, None where the store has none in time.

        Args:
            question: of the whole micro-batch.
            budget_ms: what the request with most time has left; at most ``longest_ms`` of it are waited, and at least
                5, so that no caller can open the breaker by asking with next to no time.
            longest_ms: what a store in health never takes for such a question.
        """
        if self._now_ms() < self._closed_until_ms:
            return None
        try:
            answer = self._store.read(question, timeout_ms=min(longest_ms, max(_READ_MIN_MS, budget_ms)))
        except StoreUnavailable as error:
            self._closed_until_ms = self._now_ms() + _BREAK_MS
            self._say(error)
            return None
        self._say(None)
        return answer

    def _say(self, error: StoreUnavailable | None) -> None:
        """Log that the store began to fail, or that it is back: one line each, however long it takes."""
        if error is not None and not self._is_failing:
            logger.warning("scoring without features: %s", error)
        elif error is None and self._is_failing:
            logger.warning("scoring with features again")
        self._is_failing = error is not None
