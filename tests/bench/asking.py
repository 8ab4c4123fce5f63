"""Callers in a process of their own, so that what measures is not what is measured: ``headrace load``'s own open loop.

``python -m tests.bench.asking KAFKA NAMESPACE MODEL SEED`` opens one `ScoringClient`, and for every line on its
standard input, a `Stage` as JSON, asks at that rate and answers with one line, `Asked` as JSON. The loop sleeps by
``select``, to the microsecond: the default selector's sleeps end up to a millisecond late, which would be measured.
"""

from __future__ import annotations

import asyncio
import selectors
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec

from agents.client import ScoringClient
from agents.garbage import collected_between_batches
from headrace.command.load import ask_at_rate
from streams.messages import ScoreReply
from tests.bench.payments import Payments
from tests.bench.scored_project import questions

_READY_S = 120.0


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked: ``rate`` requests a second for ``seconds``, each with so much time."""

    rate: float
    seconds: float
    timeout_ms: int = 1_000


class Told(msgspec.Struct, frozen=True, array_like=True):
    """One outcome as the caller saw it; times are epoch ms."""

    request_id: str
    status: str
    reason: str | None
    sent_ms: float
    arrived_ms: float
    timings: dict[str, float]
    versions: list[tuple[str, str]]
    """(role, digest)."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a stage."""

    latencies_ms: list[float]
    """From when each request was due."""
    told: list[Told]
    unanswered: int
    late_replies: int
    took_s: float

    @property
    def by_status(self) -> Mapping[str, int]:
        """How many outcomes of each status."""
        return Counter(each.status for each in self.told)


class NotingClient(ScoringClient):
    """The client as it is, with a note of every outcome. ``timeout_ms`` is the budget of all its requests."""

    timeout_ms = 1_000

    def note_in(self, told: list[Told]) -> None:
        """Write the outcomes that come from now on into ``told``."""
        self._told = told

    async def score(self, model: str, **asked: Any) -> ScoreReply:
        """Ask, and note what came of it."""
        told, sent_s = self._told, time.time()
        reply = await super().score(model, **{**asked, "timeout_ms": self.timeout_ms})
        versions = [(each.role, each.digest) for each in reply.versions]
        timings = {name: float(getattr(reply.timings, name)) for name in reply.timings.__struct_fields__}
        outcome = (reply.request_id, reply.status, reply.reason, sent_s * 1_000, time.time() * 1_000)
        told.append(Told(*outcome, timings, versions))
        return reply


@dataclass(frozen=True)
class Callers:
    """The process that asks."""

    process: subprocess.Popen[bytes]

    def ask(self, stage: Stage) -> Asked:
        """Ask one stage, and wait until every request has its outcome.

        Raises:
            RuntimeError: the process ended.
        """
        assert self.process.stdin is not None
        self.process.stdin.write(msgspec.json.encode(stage) + b"\n")
        self.process.stdin.flush()
        return self.told()

    def until_answered(self) -> None:
        """Ask a little until everything is answered.

        Raises:
            TimeoutError: it is not after two minutes.
        """
        until_s = time.monotonic() + _READY_S
        while (found := self.ask(Stage(rate=20, seconds=1))).by_status != {"ok": len(found.told)}:
            if time.monotonic() > until_s:
                raise TimeoutError(f"no answers in {_READY_S:.0f} s: {found.by_status}, {found.told[-1]}")

    def told(self) -> Asked:
        """Return what it says next."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"cannot ask: the callers' process ended with {self.process.wait()}")
        return msgspec.json.decode(line, type=Asked)


@contextmanager
def callers(kafka: str, namespace: str, model: str, *, seed: int = 1) -> Iterator[Callers]:
    """Start the process that asks; it ends with the block."""
    command = [sys.executable, "-m", "tests.bench.asking", kafka, namespace, model, str(seed)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    started = Callers(process)
    try:
        started.told()
        yield started
    finally:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        process.stdout.close()
        process.wait(90)


def precise_loop() -> asyncio.AbstractEventLoop:
    """Return an event loop that wakes up when it should."""
    return asyncio.SelectorEventLoop(selectors.SelectSelector())


async def _ask(kafka: str, namespace: str, model: str, seed: int) -> None:
    loop, cards = asyncio.get_running_loop(), Payments(count=100_000).card.tolist()
    asked = questions(cards, seed=seed)
    async with NotingClient(namespace, kafka=kafka, max_pending=200_000) as client:
        _tell(Asked(latencies_ms=[], told=[], unanswered=0, late_replies=0, took_s=0.0))
        while line := await loop.run_in_executor(None, sys.stdin.buffer.readline):
            stage = msgspec.json.decode(line, type=Stage)
            client.timeout_ms, told = stage.timeout_ms, list[Told]()
            client.note_in(told)
            late_before = client.late_replies
            with collected_between_batches():
                found = await ask_at_rate(client, model, asked, rate=stage.rate, seconds=stage.seconds)  # type: ignore[arg-type]  # plain dictionaries
            _tell(
                Asked(
                    latencies_ms=found.latencies_ms,
                    told=told,
                    unanswered=found.unanswered,
                    late_replies=client.late_replies - late_before,
                    took_s=found.took_s,
                )
            )


def _tell(asked: Asked) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(asked) + b"\n")
    sys.stdout.buffer.flush()


def main() -> None:
    """Ask what standard input says."""
    kafka, namespace, model, seed = sys.argv[1:]
    with asyncio.Runner(loop_factory=precise_loop) as runner:
        runner.run(_ask(kafka, namespace, model, int(seed)))


if __name__ == "__main__":
    main()
