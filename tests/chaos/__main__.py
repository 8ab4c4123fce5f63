"""``make chaos``: all scenarios on real Kafka and Redis, all mutants of the simulation; last line one JSON object.

``python -m tests.chaos [SCENARIO…] [--seed N] [--events N]`` plays some of them.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import random
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from headrace import servers
from tests.chaos.learning import Taught, teach
from tests.chaos.learning_crash import MUTANTS as LEARNING_MUTANTS
from tests.chaos.learning_scored import Scored, score_and_label
from tests.chaos.learning_stage import flights
from tests.chaos.scenarios import ALL, GOES_BACK, REKEYED
from tests.chaos.scoring import survive
from tests.chaos.scoring_mutant import MUTANTS as SCORING_MUTANTS
from tests.chaos.stage import ChaosError, Stage
from tests.chaos.truth import judge
from tests.chaos.workers import chain_breaks
from tests.simulation.search import MUTANTS, search

EVENTS = 200_000
SCORING = "scoring-survives"
SCORING_KILLS, SCORING_REBALANCES = 20, 50
MUTANT_REBALANCES, MUTANT_RATE = 4, 100
LEARNING = "learning-kills"
LEARNING_KILLS, LEARNING_ROLLBACKS, MUTANT_KILLS = 100, 3, 6
SCORED = "learning-scored"
SCORED_KILLS, SCORED_S = 10, 60.0
NAMES = (*ALL, SCORING, LEARNING, SCORED)
_SEARCHED = 4_000
_SHOWN = 5
_TOLD_EVERY_S = 15.0


@dataclass(frozen=True)
class Outcome:
    """What a scenario came to."""

    scenario: str
    seed: int
    events: int
    kills: int
    lost: int | None
    counted_twice: int | None
    chain_breaks: int
    """How many writes were refused: that the fault was one."""
    problems: Sequence[str]
    seconds: float
    callers_without_outcome: int | None = None
    callers_with_two: int | None = None
    digests_equal: bool | None = None
    """Whether every model is the one that learned the same examples without interruption."""
    callers: Mapping[str, object] | None = None
    """What else callers saw: `tests.chaos.scoring.Survived`."""
    learning: Mapping[str, object] | None = None
    """What else became of the labels: `tests.chaos.learning.Taught`."""


def play(name: str, folder: Path, *, seed: int, events: int, trouble: int | None = None) -> Outcome:
    """Play one scenario in ``folder``, whose servers are started if they are not up, and judge it by the topic."""
    scenario, most = ALL[name]
    began_s = time.monotonic()
    stage = Stage(folder / name, folder, f"chaos-{name}-{seed % 10_000}"[:32], seed, rekeyed=name in REKEYED)
    killed, lost, twice, problems = 0, None, None, list[str]()
    try:
        killed = scenario(stage, events, most if trouble is None else trouble)
        verdict = judge(stage)
        lost, twice, problems = verdict.lost, verdict.counted_twice, list(verdict.problems)
    except ChaosError as error:
        problems = [str(error)]
    breaks = chain_breaks(stage)
    if name in GOES_BACK and not breaks and trouble is None:
        problems.append("expected refused writes after the store went back, got none: nothing was tried")
    seconds = round(time.monotonic() - began_s, 1)
    return Outcome(name, seed, stage.published, killed, lost, twice, breaks, problems, seconds)


def play_scoring(folder: Path, *, seed: int, mutant: str = "") -> Outcome:
    """Play the scenario of callers on the servers of ``folder``; one of a mutant in small, and with nobody killed."""
    began_s = time.monotonic()
    try:
        if mutant:
            found = survive(folder, seed=seed, kills=0, rebalances=MUTANT_REBALANCES, rate=MUTANT_RATE, mutant=mutant)
        else:
            found = survive(folder, seed=seed, kills=SCORING_KILLS, rebalances=SCORING_REBALANCES)
    except (ChaosError, RuntimeError, TimeoutError) as error:
        seconds = round(time.monotonic() - began_s, 1)
        return Outcome(SCORING, seed, 0, 0, 0, 0, 0, [str(error)], seconds)
    return Outcome(
        scenario=SCORING,
        seed=seed,
        events=found.requests,
        kills=found.kills,
        lost=found.lost_otherwise,
        counted_twice=0,
        chain_breaks=0,
        problems=found.problems,
        seconds=round(time.monotonic() - began_s, 1),
        callers_without_outcome=found.callers_without_outcome,
        callers_with_two=found.callers_with_two,
        callers=asdict(found),
    )


def play_learning(
    folder: Path,
    *,
    seed: int,
    kills: int = LEARNING_KILLS,
    rollbacks: int = LEARNING_ROLLBACKS,
    flights: int = 0,
    mutant: str = "",
) -> Outcome:
    """Play the scenario of labels on the servers of ``folder``, with so many flights at least."""
    own = folder / (mutant or LEARNING)
    return _learned(
        LEARNING,
        seed,
        lambda: teach(folder, own, seed=seed, kills=kills, rollbacks=rollbacks, flights=flights, mutant=mutant),
    )


def play_scored(folder: Path, *, seed: int, kills: int = SCORED_KILLS, seconds: float = SCORED_S) -> Outcome:
    """Play the scenario of scorers killed while labels come, on the servers of ``folder``."""
    return _learned(SCORED, seed, lambda: score_and_label(folder, seed=seed, kills=kills, seconds=seconds))


def _learned(name: str, seed: int, scenario: Callable[[], Taught | Scored]) -> Outcome:
    """Play a scenario in which something is learned; return what it came to."""
    began_s = time.monotonic()
    try:
        found = scenario()
    except ChaosError as error:
        seconds = round(time.monotonic() - began_s, 1)
        return Outcome(name, seed, 0, 0, None, None, 0, [str(error)], seconds, digests_equal=False)
    return Outcome(
        scenario=name,
        seed=seed,
        events=found.events,
        kills=found.kills,
        lost=found.lost,
        counted_twice=found.learned_twice,
        chain_breaks=found.chain_breaks,
        problems=found.problems,
        seconds=round(time.monotonic() - began_s, 1),
        digests_equal=found.digests_equal,
        learning=asdict(found),
    )


def main() -> int:
    """Play what the command line asks for; return 1 where something was lost, counted twice or not noticed."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=", ".join(NAMES))
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--events", type=int, default=EVENTS)
    parser.add_argument("--keep", action="store_true", help="leave the servers' and the processes' files behind")
    given = parser.parse_args()
    unknown = sorted(set(given.scenarios) - set(NAMES))
    if unknown:
        parser.error(f"expected {', '.join(NAMES)}, got {', '.join(unknown)}")
    faulthandler.enable()  # a client library that ends the process should say where
    folder = Path(tempfile.mkdtemp(prefix="headrace-chaos-"))
    _say(f"seed {given.seed}; files in {folder}")
    outcomes = []
    try:
        names = given.scenarios or NAMES
        for place, name in enumerate(names):
            _say(f"{name}: begins, {place + 1} of {len(names)}")
            with _progress(name, folder):
                outcomes.append(_play(name, folder, given.seed + place, given.events))
            _tell(outcomes[-1])
        found = _learning_mutants_found(folder, given.seed) if LEARNING in (given.scenarios or NAMES) else []
        found += _scoring_mutants_found(folder, given.seed) if SCORING in (given.scenarios or NAMES) else []
    finally:
        servers.stop(folder)
    mutants = sum(map(len, MUTANTS.values())) + (len(LEARNING_MUTANTS) if LEARNING in (given.scenarios or NAMES) else 0)
    mutants += len(SCORING_MUTANTS) if SCORING in (given.scenarios or NAMES) else 0
    found += _mutants_found()
    wrong = [each for each in outcomes if _is_wrong(each)]
    if not wrong and not given.keep:
        shutil.rmtree(folder)
    print(json.dumps(_line(outcomes, mutants, len(found))), flush=True)  # noqa: T201  # the command's answer
    return 1 if wrong or len(found) < mutants else 0


@contextmanager
def _progress(name: str, folder: Path) -> Iterator[None]:
    """Say now and then that the scenario goes on: how long by now, and how many processes it has started."""
    ended, began_s = threading.Event(), time.monotonic()

    def tell() -> None:
        while not ended.wait(_TOLD_EVERY_S):
            logs = (each for kind in ("worker", "executor") for each in folder.rglob(f"{kind}-*.log"))
            _say(f"{name}: {time.monotonic() - began_s:.0f} s, {len({*logs} - before)} processes started")

    before = {*folder.rglob("*-*.log")}
    telling = threading.Thread(target=tell, name="progress", daemon=True)
    telling.start()
    try:
        yield
    finally:
        ended.set()
        telling.join()


def _play(name: str, folder: Path, seed: int, events: int) -> Outcome:
    if name == SCORING:
        return play_scoring(folder, seed=seed)
    if name == LEARNING:
        return play_learning(folder, seed=seed, flights=len(flights()))
    if name == SCORED:
        return play_scored(folder, seed=seed)
    return play(name, folder, seed=seed, events=events)


def _line(outcomes: Sequence[Outcome], mutants: int, caught: int) -> dict[str, object]:
    known = [each for each in outcomes if each.lost is not None and each.counted_twice is not None]
    judged = len(known) == len(outcomes)
    return {
        "kills": sum(each.kills for each in outcomes),
        "lost": sum(each.lost or 0 for each in known) if judged else None,
        "counted_twice": sum(each.counted_twice or 0 for each in known) if judged else None,
        "callers_without_outcome": _summed([each.callers_without_outcome for each in outcomes]),
        "callers_with_two": _summed([each.callers_with_two for each in outcomes]),
        "digests_equal": _all([each.digests_equal for each in outcomes]),
        "mutants": mutants,
        "mutants_caught": caught,
        "scenarios": [asdict(each) for each in outcomes],
    }


def _is_wrong(each: Outcome) -> bool:
    callers = each.callers_without_outcome or each.callers_with_two
    return bool(each.problems or each.lost or each.counted_twice or callers or each.digests_equal is False)


def _summed(counts: Sequence[int | None]) -> int | None:
    """Return the sum of those that were counted, None if none was."""
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _all(found: Sequence[bool | None]) -> bool | None:
    """Return whether all that were compared are equal, None if none was."""
    known = [each for each in found if each is not None]
    return all(known) if known else None


def _learning_mutants_found(folder: Path, seed: int) -> list[str]:
    """Return the mutants of the learning processes that the scenario notices."""
    found = []
    for mutant in LEARNING_MUTANTS:
        outcome = play_learning(folder, seed=seed, kills=MUTANT_KILLS, rollbacks=0, mutant=mutant)
        _say(f"mutant: {mutant}: {outcome.problems[0] if outcome.problems else 'NOT noticed'}")
        found += [mutant] * bool(outcome.problems)
    return found


def _scoring_mutants_found(folder: Path, seed: int) -> list[str]:
    """Return the mutants of the scoring processes that the scenario notices."""
    found = []
    for mutant in SCORING_MUTANTS:
        outcome = play_scoring(folder, seed=seed, mutant=mutant)
        is_noticed = outcome.callers is not None and _is_wrong(outcome)
        _say(f"mutant: {mutant}: {outcome.problems[0] if is_noticed and outcome.problems else is_noticed}")
        found += [mutant] * is_noticed
    return found


def _mutants_found() -> list[str]:
    """Return the mutants that the simulation notices."""
    found = []
    for subject, known in MUTANTS.items():
        for mutant in known:
            wrong = search(subject, range(_SEARCHED), mutant=mutant, most=1)
            _say(f"mutant: {mutant}: {f'noticed at seed {wrong[0].seed}' if wrong else 'NOT noticed'}")
            found += [mutant] * bool(wrong)
    return found


def _tell(outcome: Outcome) -> None:
    _say(
        f"{outcome.scenario}: {outcome.events} events, {outcome.kills} kills, lost {outcome.lost}, counted twice "
        f"{outcome.counted_twice}, {outcome.chain_breaks} writes refused, {outcome.seconds} s (seed {outcome.seed})"
    )
    for problem in outcome.problems[:_SHOWN]:
        _say(f"  {problem}")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201  # the command speaks to people


if __name__ == "__main__":
    sys.exit(main())
