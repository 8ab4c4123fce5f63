"""``python -m tests.simulation [SUBJECT]``: many schedules, or one again by its seed, or a mutant's."""

from __future__ import annotations

import argparse
import random
import sys

from tests.simulation.search import MUTANTS, say, search

_TOLD_EVERY = 500


def main() -> int:
    """Play what the command line asks for; return 1 where a schedule went wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("subject", nargs="?", choices=MUTANTS, default="features")
    parser.add_argument("--seed", type=int, help="play this one schedule")
    parser.add_argument("--first", type=int, help="the first of many seeds; any, if not given")
    parser.add_argument("--schedules", type=int, default=5_000)
    parser.add_argument("--mutant", choices=sorted({name for each in MUTANTS.values() for name in each}))
    given = parser.parse_args()
    first = random.randrange(2**32) if given.first is None else given.first
    seeds = range(first, first + given.schedules) if given.seed is None else [given.seed]
    say(f"{given.subject}: {len(seeds)} schedules from seed {seeds[0]}")
    wrong = search(given.subject, seeds, mutant=given.mutant, tell=_tell)
    for each in wrong:
        say(str(each))
    say(f"{given.subject}: {len(wrong)} wrong")
    return 1 if wrong else 0


def _tell(played: int) -> None:
    if played % _TOLD_EVERY == 0:
        say(f"{played} played")


if __name__ == "__main__":
    sys.exit(main())
