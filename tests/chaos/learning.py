"""Learning processes are killed at every point of their work, and the store goes back, while flights land.

What is promised (DESIGN 8): the join is a function of the outcomes log, the learner of the examples log, whatever was
killed in between. So the examples have to be those of one join that nobody interrupts, byte for byte, and of a plain
one; each of six kinds of River model has to be the one that learned the examples without interruption, and every cell
of a personal model what a plain loop over them comes to.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from headrace import servers
from streams.artefacts import ArtefactStore
from streams.messages import Example
from tests.chaos.learning_crash import MUTANTS, POINTS
from tests.chaos.learning_stage import KINDS, PERSONAL, LearningStage, LearningWorkers
from tests.chaos.learning_truth import (
    Joined,
    Position,
    as_joined,
    cells_in,
    in_order,
    joined_log,
    joined_plainly,
    learned,
    personal,
    position_of,
    replayed,
    state_in,
)
from tests.chaos.stage import ChaosError, serve
from tests.chaos.truth import records
from tests.chaos.workers import chain_breaks

FLIGHTS_A_S = 20.0
_FLIGHTS_AT_ONCE = 2_000
MOST_HITS = 6
"""The greatest number of times that a process comes to its point and lives."""

ANY = "any"
"""The point of a process that is killed from outside."""

_AT_ONCE = 3
_ATTEMPTS, _REFUSED_S = 3, 20.0
"""On a busy machine Redis may be away for longer than a session: then all processes read anew, and none is refused."""

_LONGEST_S = 45.0
"""The longest that a process may take to come to its point."""


@dataclass
class Taught:
    """What became of the labels."""

    flights: int
    kills: int = 0
    rollbacks: int = 0
    outcomes: int = 0
    examples: int = 0
    copies: int = 0
    """Examples that were sent again after a kill: all equal to those before, none learned twice."""
    lost: int = 0
    learned_twice: int = 0
    chain_breaks: int = 0
    digests_equal: bool = False
    personal_cells: int = 0
    """Cells of the personal learner, compared to the bit with those of an uninterrupted replay."""
    by_point: dict[str, int] = field(default_factory=dict)
    """How many processes were killed at each point."""
    problems: list[str] = field(default_factory=list)

    @property
    def events(self) -> int:
        """What was played: outcomes."""
        return self.outcomes


def teach(  # noqa: PLR0913  # how much of it is played
    home: Path, folder: Path, *, seed: int, kills: int, rollbacks: int, flights: int = 0, mutant: str = ""
) -> Taught:
    """Play the scenario on the servers of ``home``, which are started if they are not up, and judge what is left.

    While processes are killed, `FLIGHTS_A_S` take off; behind that, as many as are missing to ``flights`` of them.
    """
    stage = LearningStage(folder, home, f"teach-{uuid.uuid4().hex[:8]}", seed)
    found = Taught(0)
    with LearningWorkers(stage, 1 if mutant else _AT_ONCE, mutant=mutant) as workers:
        with stage.flying(FLIGHTS_A_S):
            for number in range(1, rollbacks + 2):
                _kill(workers, found, kills * number // (rollbacks + 1), mutant)
                if number <= rollbacks:
                    found.rollbacks += _go_back_until_refused(stage, workers)
        while stage.published < flights:
            stage.fly(min(_FLIGHTS_AT_ONCE, flights - stage.published))
            stage.until_learned()
        stage.end_the_year()
        stage.until_learned()
        workers.check_alive()
        workers.end_all()
    found.flights = stage.published
    judge(stage, found)
    if rollbacks and not found.chain_breaks:
        found.problems.append("expected refused writes after the store went back, got none: nothing was tried")
    return found


@dataclass(frozen=True)
class _Doomed:
    """A process that kills itself at a point, or is killed when its time is over."""

    process: subprocess.Popen[bytes]
    point: str
    until_s: float


def _kill(workers: LearningWorkers, found: Taught, kills: int, mutant: str) -> None:
    """Let every process be one that dies soon, and replace those that did, until so many were killed."""
    for process in workers.running:
        workers.kill(process)
    doomed: list[_Doomed] = []
    workers.running.clear()
    while found.kills < kills:
        missing = (1 if mutant else _AT_ONCE) - len(doomed)
        doomed += [_start(workers, found.kills, mutant) for _ in range(missing)]
        time.sleep(0.05)
        for each in list(doomed):
            if each.process.poll() is None and time.monotonic() < each.until_s:
                continue
            doomed.remove(each)
            point = each.point if each.process.poll() is not None else ANY
            workers.kill(each.process)
            if each.process.returncode != -signal.SIGKILL:
                raise ChaosError(f"{point}: expected SIGKILL, got {each.process.returncode}: {workers.said()[-2_000:]}")
            found.kills += 1
            found.by_point[point] = found.by_point.get(point, 0) + 1
    for each in doomed:
        workers.kill(each.process)
    workers.refill()


def _start(workers: LearningWorkers, number: int, mutant: str) -> _Doomed:
    """Start a process with a trap; one of a mutant has all partitions to itself, and comes to its points in turn."""
    chance = workers.stage.chance
    points = MUTANTS[mutant][1] if mutant else POINTS
    point = points[number % len(points)] if mutant else chance.choice(points)
    process = workers.start(point, str(chance.randint(1, 2 if mutant else MOST_HITS)))
    return _Doomed(process, point, time.monotonic() + chance.uniform(_LONGEST_S / 2, _LONGEST_S))


def _go_back_until_refused(stage: LearningStage, workers: LearningWorkers) -> int:
    """Put Redis back until a process was refused for it; return how often that took."""
    for attempt in range(1, _ATTEMPTS + 1):
        before = chain_breaks(stage)
        _go_back(stage, workers)
        until_s = time.monotonic() + _REFUSED_S
        while time.monotonic() < until_s:
            if chain_breaks(stage) > before:
                return attempt
            time.sleep(0.1)
    return _ATTEMPTS


def _go_back(stage: LearningStage, workers: LearningWorkers) -> None:
    """Put Redis back to what it was some writes ago, while processes live that remember more.

    They stand still meanwhile: one that asked while Redis is away would read anew, and remember nothing to be refused.
    """
    data, older = stage.home / servers.FOLDER / "redis" / "data", stage.folder / "older"
    stage.until_moved()
    shutil.copytree(data, older)
    stage.until_moved()
    time.sleep(stage.chance.uniform(1.0, 3.0))
    for process in workers.running:
        process.send_signal(signal.SIGSTOP)
    pid = servers.pids(stage.home)["redis"]
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    shutil.rmtree(data)
    older.rename(data)
    serve(stage.home)
    for process in workers.running:
        process.send_signal(signal.SIGCONT)


def judge(stage: LearningStage, found: Taught) -> None:
    """Compare what is in the log and in the snapshots with replays of the log."""
    log = [message.value() or b"" for message in records(stage.kafka, stage.examples)]
    kept = _kept(log, found)
    expected, plain = dict[Position, bytes](), Joined()
    store = stage.store()
    outcomes = joined_log(stage.kafka, store, stage.name, stage.model)
    store.close()
    for partition, values in outcomes.items():
        found.outcomes += len(values)
        expected |= replayed(stage.model, partition, values)
        plain += joined_plainly(stage.model, partition.index, values)
    found.lost = len(expected.keys() - kept.keys())
    if kept != expected:
        more = len(kept.keys() - expected.keys())
        found.problems.append(f"examples: expected {len(expected)} by a replay, got {len(kept)}, {more} of no label")
    if as_joined(kept.values()) != plain:
        found.problems.append(f"examples: expected the {plain.total()} of the plain join, got {len(kept)}")
    once = list(in_order(log))
    found.examples, found.chain_breaks = len(once), chain_breaks(stage)
    if len(once) != len(kept):
        found.problems.append(f"examples: expected each to be learned in its order, got {len(once)} of {len(kept)}")
    _compare_cells(stage, found, once)
    with stage.importable():
        _compare_models(stage, found, once)


def _kept(log: Sequence[bytes], found: Taught) -> dict[Position, bytes]:
    """Return the examples of a log by position; one that was sent again has to be the same."""
    kept = dict[Position, bytes]()
    for value in log:
        position = position_of(value)
        if kept.setdefault(position, value) != value:
            found.problems.append(f"example {position}: expected to be sent again as {kept[position]!r}, got {value!r}")
    found.copies = len(log) - len(kept)
    return kept


def _compare_cells(stage: LearningStage, found: Taught, examples: Sequence[Example]) -> None:
    expected, store = personal(stage.model, PERSONAL, examples), stage.store()
    kept = cells_in(store, stage.personal, list(expected))
    store.close()
    different = [cell for cell, state in expected.items() if kept.get(cell) != state]
    found.personal_cells = len(expected)
    if different:
        found.problems.append(
            f"personal: expected {len(expected)} cells of a replay, got {len(different)} others: {different[:3]}"
        )


def _compare_models(stage: LearningStage, found: Taught, examples: Sequence[Example]) -> None:
    artefacts, store = ArtefactStore(stage.folder / ".headrace" / "artefacts"), stage.store()
    pointers = stage.pointers(store)
    store.close()
    different = []
    for kind in KINDS:
        pointer = pointers[kind]
        assert pointer is not None
        count, digest = state_in(artefacts.get(pointer.digest), pointer.digest)
        found.learned_twice = max(found.learned_twice, count - len(examples))
        if digest != learned(stage.model, kind, examples):
            different.append(kind)
    found.digests_equal = not different
    if different:
        found.problems.append(f"models: expected those that learned without interruption, got others: {different}")
