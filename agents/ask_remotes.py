"""Asks servers for the scores of remote learners: within the time there is, not too often, and not while they fail.

Whatever a server does, the caller's turn goes on: a call that brings no scores ends as a failure with its reason.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import aiohttp

from agents.ask_grpc import SCHEMES, ErrorAnswer, GrpcCalls
from agents.metrics import Metrics
from definitions.errors import HeadraceError
from online_models.circuit import Circuit
from online_models.errors import AnswerUnreadable
from online_models.learners import Remote
from online_models.turns import Call
from streams.request_reply import TIMEOUT_MS

MOST_UNDER_WAY = 16
"""Calls of one learner at a time. One more would only wait behind them: it fails at once, and a fallback answers."""
LEAST_MS = 1.0
"""With less time than this no server is asked."""

_RESERVE_SHARE = 0.1
_RESERVE_MS = 2.0
_KEEP_ALIVE_S = 4.0
"""Shorter than the 5 s after which common servers close an idle connection, so that none is used as it closes."""
_ANSWER_BYTES = 64 * 1024
_ANSWER_BYTES_A_ROW = 4 * 1024
_OK = 200
_SHOWN_BYTES = 200


class RemoteFailed(HeadraceError):  # noqa: N818  # a state of the world
    """A call brought no scores. ``why`` is one of a few fixed texts, which callers may read."""

    def __init__(self, why: str, text: str) -> None:
        super().__init__(text)
        self.why = why


@dataclass(slots=True)
class _Line:
    """The way to one learner's server: what is known of its failures, and how many calls are under way."""

    circuit: Circuit = field(default_factory=Circuit)
    under_way: int = 0


class Asking(Protocol):
    """Who asks, and takes what comes of it: a turn."""

    def give(self, call: Call, scores: Sequence[float]) -> None:
        """Take the scores of a call, one per vector."""
        ...

    def fail(self, call: Call, *, why: str, message: str) -> None:
        """Take that a call gave no scores."""
        ...


class RemoteAsker:
    """Asks the servers of one model's remote learners.

    Args:
        model: the model's name, for metrics.
        metrics: of the process.
        clock: monotonic milliseconds.
    """

    def __init__(self, model: str, metrics: Metrics, clock: Callable[[], float]) -> None:
        self._model = model
        self._metrics = metrics
        self._clock = clock
        self._lines: dict[str, _Line] = {}
        self._session: aiohttp.ClientSession | None = None
        self._grpc = GrpcCalls()

    async def ask(self, turn: Asking, calls: Sequence[Call], *, left_ms: float) -> None:
        """Ask for all calls at once and give the turn what comes of each. Never raises for what a server does.

        Args:
            turn: that the calls are of.
            calls: from `Turn.calls` or `Turn.shadow_calls`.
            left_ms: until the first deadline of the turn's requests; a tenth of it is kept for the reply.
        """
        within_ms = left_ms - max(_RESERVE_MS, _RESERVE_SHARE * left_ms)
        await asyncio.gather(*(self._ask(turn, call, within_ms) for call in calls))

    async def close(self) -> None:
        """Close the connections. What is asked later opens others."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()
        await self._grpc.close()

    async def _ask(self, turn: Asking, call: Call, within_ms: float) -> None:
        learner = call.remote.name
        started_ms = self._clock()
        try:
            turn.give(call, await self._scores(call, within_ms))
            result = "ok"
        except RemoteFailed as failed:
            turn.fail(call, why=failed.why, message=str(failed))
            result = failed.why
        self._metrics.count("remote_calls_total", model=self._model, learner=learner, result=result)
        seconds = (self._clock() - started_ms) / 1_000
        self._metrics.observe("remote_seconds", seconds, model=self._model, learner=learner)

    async def _scores(self, call: Call, within_ms: float) -> list[float]:
        remote = call.remote
        line = self._lines.setdefault(remote.url, _Line())
        now_ms, wait_ms = self._clock(), min(float(remote.patience_ms), within_ms)
        if wait_ms < LEAST_MS:
            raise _failed(remote, "no time left", f"at least {LEAST_MS:g} ms, got {wait_ms:.1f}")
        if not line.circuit.allows(now_ms):
            raise _failed(remote, "circuit open", "a server that answers, got failures; it is tried again by itself")
        if line.under_way >= MOST_UNDER_WAY:
            raise _failed(remote, "too many calls", f"fewer than {MOST_UNDER_WAY} calls under way")
        line.circuit = line.circuit.begun(now_ms)
        line.under_way += 1
        ok: bool | None = False
        try:
            scores = await self._posted(call, wait_ms)
            ok = True
        except TimeoutError:
            # A caller with next to no time must not make others do without the server.
            ok = False if wait_ms >= remote.patience_ms else None
            raise _failed(remote, "timeout", f"an answer within {wait_ms:.0f} ms, got none") from None
        except asyncio.CancelledError:
            ok = None
            raise
        except (aiohttp.ClientError, OSError) as error:
            raise _failed(remote, "unreachable", f"a server, got {type(error).__name__}: {error}") from error
        except AnswerUnreadable as error:
            raise RemoteFailed("unreadable answer", str(error)) from error
        finally:
            line.under_way -= 1
            line.circuit = line.circuit.ended(self._clock(), ok=ok)
            is_open = line.circuit.open_until_ms is not None
            self._metrics.set("remote_circuit_open", is_open, model=self._model, learner=remote.name)
        return scores

    async def _posted(self, call: Call, wait_ms: float) -> list[float]:
        """Return the scores in the server's answer.

        Raises:
            TimeoutError: there was none in time.
            aiohttp.ClientError: there is no server, or it closed the connection.
            OSError: the network refused.
            AnswerUnreadable: the answer holds no scores.
            RemoteFailed: the answer is an error.
        """
        remote, rows = call.remote, len(call.places)
        if remote.url.startswith(SCHEMES):
            try:
                answer = await self._grpc.ask(remote, remote.request(call.vectors), wait_ms)
            except ErrorAnswer as error:
                raise _failed(remote, "error answer", f"scores, got {error!s:.200}") from error
            return remote.scores(answer, expected=rows)
        headers = {"Content-Type": "application/json", TIMEOUT_MS: str(int(wait_ms))}
        limit = _ANSWER_BYTES + rows * _ANSWER_BYTES_A_ROW
        async with (
            asyncio.timeout(wait_ms / 1_000),
            self._opened().post(
                remote.url, data=remote.request(call.vectors), headers=headers, allow_redirects=False
            ) as response,
        ):
            body = await _read(response, limit)
        if body is None:
            raise AnswerUnreadable(f"cannot read answer: {remote.name}: expected at most {limit} bytes, got more")
        if response.status != _OK:
            raise _failed(remote, "error answer", f"status {_OK}, got {response.status}: {body[:_SHOWN_BYTES]!r}")
        return remote.scores(body, expected=rows)

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            # Compressed answers are not asked for: one could unfold to any size.
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE_S),
                headers={"Accept-Encoding": "identity"},
                auto_decompress=False,
            )
        return self._session


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytes | None:
    """Return the body of an answer, None if it is longer than the limit."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > limit:
            response.close()
            return None
    return bytes(body)


def _failed(remote: Remote, why: str, text: str) -> RemoteFailed:
    return RemoteFailed(why, f"cannot ask {remote.name}: {remote.url}: expected {text}")
