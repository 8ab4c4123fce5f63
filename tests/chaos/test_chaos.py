"""A quick part of `make chaos`: the machinery works, and the faults that hurt most lose nothing on a few records."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace import servers
from tests.chaos.__main__ import play

pytestmark = [pytest.mark.kafka, pytest.mark.redis, pytest.mark.chaos]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return the folder of servers that may be killed; they end with the module."""
    made = tmp_path_factory.mktemp("chaos")
    yield made
    servers.stop(made)
    shutil.rmtree(made)


@pytest.mark.parametrize(("scenario", "trouble"), [("crash-points", 4), ("redis-rolled-back", 1), ("frozen-owner", 1)])
@pytest.mark.usefixtures("kafka", "redis_url")  # they skip, or fail in CI, where no server can be started
def test_nothing_is_lost_or_counted_twice(scenario: str, trouble: int, folder: Path) -> None:
    seed = random.randrange(2**32)
    print(f"python -m tests.chaos {scenario} --seed {seed}")  # noqa: T201  # shown where the test fails

    outcome = play(scenario, folder, seed=seed, events=10_000, trouble=trouble)

    assert (outcome.problems, outcome.lost, outcome.counted_twice) == ([], 0, 0)
