"""The check of the engine and the statistics is itself checked: each mutant makes it fail."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.property.join_mutants import JOINS
from tests.property.mutants import STATE, STATISTICS

REPOSITORY = Path(__file__).parents[2]
MUTANTS = [each.name for each in (*STATE, *STATISTICS, *JOINS)]


@pytest.fixture(scope="module")
def seeds() -> Mapping[str, int | None]:
    """Return the seed that caught each mutant, judged in a process of its own: it loads `streams` many times."""
    command = [sys.executable, "-m", "tests.property.mutants_run"]
    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert ended.stdout, ended.stderr
    found: Mapping[str, int | None] = json.loads(ended.stdout)["seeds"]
    return found


def test_every_mutant_has_a_name_of_its_own() -> None:
    assert len(set(MUTANTS)) == len(MUTANTS) >= 30


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_caught(seeds: Mapping[str, int | None], name: str) -> None:
    assert seeds[name] is not None
