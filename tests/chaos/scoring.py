"""Callers through crashes and rebalances: two executors, 500 requests a second, everyone has one outcome in time.

First executors come and go politely, which must cost no answer. Then they are killed, one after the other: what was
sent to a dead one's partitions may expire, but only until the group has noticed.
"""

from __future__ import annotations

import random
import re
import subprocess
import sys
import threading
import time
import urllib.request
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from streams import topics
from streams.request_reply import CORRELATION_ID
from tests.bench.asking import Asked, Callers, Stage, callers
from tests.bench.hops import records
from tests.bench.scored_project import MODEL, Past, Scored, scored_project
from tests.chaos.stage import DEADLINE_S, ChaosError, serve

RATE, TIMEOUT_MS = 500, 2_000
NOTICED_MS = 7_000
"""How long after a kill a request may be sent to a partition that nobody has: the session, and a rebalance."""
LATE_SHARE = 0.25
"""How much later than its deadline an outcome may be seen, on a busy machine: this share of its time."""

_PORT = re.compile(r"health on http://[^:]+:(\d+)")
_ASSIGNED = re.compile(r"^headrace_assigned_partitions\{[^}]*\} ([0-9.]+)", re.MULTILINE)
_EXECUTORS = 2
_STAGE_S = 10.0
_EVENTS, _QUESTIONS, _TREES = 2_000, 400, 20


@dataclass
class Survived:
    """What callers saw."""

    requests: int
    kills: int
    rebalances: int
    callers_without_outcome: int
    """Those whose outcome did not come by their deadline."""
    callers_with_two: int
    second_replies: int
    """Requests with more than one reply on the wire: their callers took the first."""
    second_otherwise: int
    """Those of them that no executor was killed near: politely, a request is taken once."""
    expired_after_kill: int
    lost_otherwise: int
    """Requests that ended without a score, and were sent when no executor had been killed lately."""
    replies: dict[str, int]
    problems: list[str] = field(default_factory=list)


@dataclass
class Executors:
    """The scoring processes; what each says is in a file of its own."""

    made: Scored
    program: Sequence[str] = ("headrace.role", "scoring")
    """The module that is run, and what it is told."""
    running: list[tuple[subprocess.Popen[bytes], Path]] = field(default_factory=list)
    started: int = 0

    def start(self) -> None:
        """Start one; return when it holds a partition."""
        log = self.made.folder / f"executor-{self.started}.log"
        self.started += 1
        with log.open("wb") as said:
            process = subprocess.Popen(
                [sys.executable, "-m", *self.program],
                cwd=self.made.folder,
                env=dict(self.made.environment),
                stdin=subprocess.PIPE,
                stdout=said,
                stderr=said,
            )
        self.running.append((process, log))
        until_s = time.monotonic() + DEADLINE_S
        while not _holds(log):
            if process.poll() is not None or time.monotonic() > until_s:
                raise ChaosError(f"an executor holds no partition: {log.read_text()[-1_000:]}")
            time.sleep(0.1)

    def stop(self, place: int) -> None:
        """End one as an operator does."""
        process, log = self.running.pop(place)
        process.terminate()
        if (code := _ended(process)) != 0:
            raise ChaosError(f"expected an executor to end with 0, got {code}: {log.read_text()[-1_000:]}")

    def kill(self, place: int) -> float:
        """Kill -9 one; return when, epoch ms."""
        process, _ = self.running.pop(place)
        at_ms = time.time() * 1_000
        process.kill()
        _ended(process)
        return at_ms

    def end(self) -> None:
        """End those that are left, and do not ask how."""
        for process, _ in self.running:
            process.kill()
            _ended(process)


def survive(  # noqa: PLR0913  # how large the scenario is, and what is wrong in it
    home: Path,
    *,
    seed: int,
    kills: int,
    rebalances: int,
    rate: int = RATE,
    timeout_ms: int = TIMEOUT_MS,
    mutant: str = "",
) -> Survived:
    """Play the scenario on the servers of ``home``, which are started if they are not up.

    ``mutant`` names what the executors do wrong: `tests.chaos.scoring_mutant`.
    """
    at, chance = serve(home), random.Random(seed)
    assert at.kafka is not None
    assert at.redis is not None
    past = Past(time.time_ns() // 1_000_000, count=_EVENTS)
    name = f"survive-{uuid.uuid4().hex[:8]}"
    stage = Stage(rate=rate, seconds=_STAGE_S, timeout_ms=timeout_ms)
    with scored_project(name, kafka=at.kafka, redis_url=at.redis, past=past, trees=_TREES) as made:
        made.fill(_QUESTIONS)
        made.train()
        executors = Executors(made, ("tests.chaos.scoring_mutant", mutant)) if mutant else Executors(made)
        try:
            for _ in range(_EXECUTORS):
                executors.start()
            with callers(made.kafka, made.name, MODEL, seed=seed) as asking:
                asking.until_answered()
                with _asked_all_the_while(asking, stage) as asked:
                    _come_and_go(executors, rebalances, chance)
                    killed_ms = _kill(executors, kills, chance)
        finally:
            executors.end()
        return judge(made, asked, killed_ms, rebalances=rebalances, stage=stage)


def judge(
    made: Scored, asked: Sequence[Asked], killed_ms: Sequence[float], *, rebalances: int, stage: Stage
) -> Survived:
    """Return what became of all requests."""
    told = [each for part in asked for each in part.told]
    due = len(asked) * round(stage.rate * stage.seconds)
    late = sum(each.arrived_ms - each.sent_ms > (1 + LATE_SHARE) * stage.timeout_ms for each in told)
    unscored = [each for each in told if each.status not in ("ok", "degraded")]

    def is_of_a_kill(sent_ms: float) -> bool:
        return any(at_ms - stage.timeout_ms <= sent_ms <= at_ms + NOTICED_MS for at_ms in killed_ms)

    excused = [each for each in unscored if is_of_a_kill(each.sent_ms)]
    replied: dict[bytes, list[float]] = {}
    for each in records(made.kafka, topics.replies(made.name)):
        ident = dict(each.headers() or ()).get(CORRELATION_ID)
        if isinstance(ident, bytes):
            replied.setdefault(ident, []).append(each.timestamp()[1])
    # A reply comes when its request is taken, which a dead executor's successor does a second time.
    second = [times for times in replied.values() if len(times) > 1]
    second_otherwise = sum(not is_of_a_kill(max(times)) for times in second)
    twice = [f"{second_otherwise} requests were answered twice, with no kill near"] if second_otherwise else []
    return Survived(
        requests=due,
        kills=len(killed_ms),
        rebalances=rebalances,
        callers_without_outcome=max(0, due - len(told)) + late,
        callers_with_two=max(0, len(told) - due),
        second_replies=len(second),
        second_otherwise=second_otherwise,
        expired_after_kill=len(excused),
        lost_otherwise=len(unscored) - len(excused),
        replies=dict(Counter(each.status for each in told)),
        problems=[*twice, *(str(each) for each in unscored if each not in excused)][:5],
    )


def _come_and_go(executors: Executors, rebalances: int, chance: random.Random) -> None:
    """Let executors come and go politely: each coming and each going is a rebalance."""
    for turn in range(rebalances):
        if turn % 2:
            executors.stop(chance.randrange(len(executors.running)))
        else:
            executors.start()
    while len(executors.running) > _EXECUTORS:
        executors.stop(0)


def _kill(executors: Executors, kills: int, chance: random.Random) -> list[float]:
    """Kill and replace one executor after another, each when the group has noticed the last."""
    killed_ms = []
    for _ in range(kills):
        killed_ms.append(executors.kill(chance.randrange(len(executors.running))))
        executors.start()
        left_s = (killed_ms[-1] + NOTICED_MS) / 1_000 - time.time()
        time.sleep(max(0.0, left_s) + chance.uniform(1.0, 3.0))
    return killed_ms


@contextmanager
def _asked_all_the_while(asking: Callers, stage: Stage) -> Iterator[list[Asked]]:
    """Ask, stage after stage, for as long as the block lasts; the list has all of it when the block has ended."""
    asked: list[Asked] = []
    ending = threading.Event()
    failure: list[Exception] = []

    def ask() -> None:
        try:
            while not ending.is_set():
                asked.append(asking.ask(stage))
        except Exception as error:  # noqa: BLE001  # raised again by who waits
            failure.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield asked
    finally:
        ending.set()
        thread.join()
    if failure:
        raise failure[0]


def _holds(log: Path) -> bool:
    """Return whether an executor holds a partition, by its own metrics."""
    port = _PORT.search(log.read_text(errors="replace"))
    if port is None:
        return False
    with urllib.request.urlopen(f"http://127.0.0.1:{port[1]}/metrics", timeout=10) as answer:  # our own
        held = _ASSIGNED.search(answer.read().decode())
    return held is not None and float(held[1]) > 0


def _ended(process: subprocess.Popen[bytes]) -> int:
    code = process.wait(DEADLINE_S)
    if process.stdin is not None:
        process.stdin.close()
    return code
