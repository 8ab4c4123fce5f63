"""The scoring client for code that has no event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterable, Mapping
from typing import Any, Self, TypeVar, Unpack

from agents.client import MAX_PENDING, RequestRefused, ScoreQuestion, ScoringClient
from agents.transport import Log
from streams.messages import ScoreReply

_T = TypeVar("_T")


class SyncScoringClient:
    """A `ScoringClient` for code without an event loop: it runs one in a thread of its own.

    May be shared by threads; each call of `score` waits for its outcome. Arguments are those of `ScoringClient`; a
    ``log`` given here is used from that thread only.

    Example::

        with SyncScoringClient("flights", kafka="127.0.0.1:9092") as client:
            reply = client.score(
                "late", entities={"origin": "JFK"}, inputs={"distance": 2475.0}, label_key="F1", timeout_ms=500
            )
    """

    def __init__(
        self,
        namespace: str,
        *,
        kafka: str | None = None,
        log: Log | None = None,
        kafka_properties: Mapping[str, str] | None = None,
        max_pending: int = MAX_PENDING,
    ) -> None:
        self._client = ScoringClient(
            namespace, kafka=kafka, log=log, kafka_properties=kafka_properties, max_pending=max_pending
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        """Start the thread and open the client in it; raises what `ScoringClient.open` does."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="scoring-client", daemon=True)
        self._thread.start()
        try:
            self._wait(self._client.open())
        except BaseException:
            self._end()
            raise

    def close(self) -> None:
        """Close the client and end the thread; requests under way end as ``expired`` now."""
        if self._loop is not None:
            try:
                self._wait(self._client.close())
            finally:
                self._end()

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def late_replies(self) -> int:
        """Replies that came after their request was resolved: late ones and duplicates."""
        return self._client.late_replies

    def score(self, model: str, *, timeout_ms: int, **question: Unpack[ScoreQuestion]) -> ScoreReply:
        """Ask for one score and wait for the one outcome: `ScoringClient.score`."""
        return self._wait(self._client.score(model, timeout_ms=timeout_ms, **question))

    def score_many(self, model: str, questions: Iterable[ScoreQuestion], *, timeout_ms: int) -> list[ScoreReply]:
        """Ask for several scores at once and wait for all outcomes: `ScoringClient.score_many`."""
        return self._wait(self._client.score_many(model, questions, timeout_ms=timeout_ms))

    def _wait(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        if self._loop is None:
            coroutine.close()
            raise RequestRefused("cannot ask for a score: the client is not open; use it in a with statement")
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def _end(self) -> None:
        loop, self._loop = self._loop, None
        if loop is not None and self._thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            self._thread.join()
            loop.close()
