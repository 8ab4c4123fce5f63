"""What is derived is what the log says, whoever dies, sleeps, moves or forgets in between; and the search would notice.

Thousands of schedules of the real features role, and of a fold that removes cells, by fresh seeds; a failure names the
command that plays its schedule again. `test_a_schedule_shrinks` lets Hypothesis decide instead of a seed.
"""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.simulation.search import MUTANTS, play, search

SCHEDULES = {"features": 3_000, "balances": 2_000, "rekeyed": 1_000}
"""How many each of two processes plays."""

SEARCHED = 4_000
"""Schedules within which a mutant has to be found. The rarest shows once in a few hundred."""

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("subject", SCHEDULES)
def test_nothing_is_lost_or_counted_twice(subject: str) -> None:
    first, count = random.randrange(2**32), SCHEDULES[subject]
    command = [sys.executable, "-m", "tests.simulation", subject, "--schedules", str(count)]
    at_once = [
        subprocess.Popen(
            [*command, "--first", str(first + half * count)], cwd=REPOSITORY, stderr=subprocess.PIPE, text=True
        )
        for half in range(2)
    ]
    said = [each.communicate()[1] for each in at_once]

    assert [each.returncode for each in at_once] == [0, 0], "\n".join(said)


@pytest.mark.parametrize(
    ("subject", "mutant"), [(subject, mutant) for subject, known in MUTANTS.items() for mutant in known]
)
def test_a_rule_that_is_not_kept_is_noticed(subject: str, mutant: str) -> None:
    assert search(subject, range(SEARCHED), mutant=mutant, most=1)


@given(chance=st.randoms(use_true_random=False), partitions=st.integers(1, 2))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_schedule_shrinks(chance: random.Random, partitions: int) -> None:
    assert play("features", chance, partitions=partitions) == []
