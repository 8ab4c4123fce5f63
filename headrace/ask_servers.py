"""Asks learners on servers for scores outside of any request: what a baseline is cut from."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from agents.ask_remotes import RemoteAsker
from agents.metrics import Metrics
from agents.serve_model import monotonic_ms
from definitions.encoder import Vector
from online_models.learners import Remote
from online_models.turns import Call
from streams.request_reply.admission import MICRO_BATCH

_ROLE = "baseline"
_LEFT_MS = 60_000.0
"""No request waits: each call may take what its learner declares."""

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Given:
    """What came of the calls to one server."""

    scores: list[float] = field(default_factory=list)
    problem: str = ""

    def give(self, call: Call, scores: Sequence[float]) -> None:
        del call
        self.scores += scores

    def fail(self, call: Call, *, why: str, message: str) -> None:
        del call, why
        self.problem = message


def ask_servers(remotes: Mapping[str, Remote], vectors: Sequence[Vector]) -> dict[str, list[float]]:
    """Return the scores of vectors by each learner whose server gave all of them; `batch.context.AskServers`.

    Cost: a call for each 256 vectors, one after the other; each waits as long as the learner declares.
    """
    # In a thread of its own: whoever trains may have a loop that runs.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, _ask_all(remotes, vectors)).result()


async def _ask_all(remotes: Mapping[str, Remote], vectors: Sequence[Vector]) -> dict[str, list[float]]:
    asker = RemoteAsker(_ROLE, Metrics(_ROLE), monotonic_ms)
    found: dict[str, list[float]] = {}
    try:
        for name, remote in remotes.items():
            given = await _ask(asker, remote, vectors)
            if given.problem:
                logger.warning("no baseline of %s's scores, so their drift is not watched: %s", name, given.problem)
            else:
                found[name] = given.scores
    finally:
        await asker.close()
    return found


async def _ask(asker: RemoteAsker, remote: Remote, vectors: Sequence[Vector]) -> _Given:
    given = _Given()
    for first in range(0, len(vectors), MICRO_BATCH):
        some = tuple(vectors[first : first + MICRO_BATCH])
        await asker.ask(given, [Call(remote, _ROLE, tuple(range(len(some))), some)], left_ms=_LEFT_MS)
        if given.problem:
            break
    return given
