"""A quick part of `make chaos`: the machinery works, and the faults that hurt most lose nothing on a few records."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from headrace import servers
from tests.chaos.__main__ import play

pytestmark = [pytest.mark.kafka, pytest.mark.redis, pytest.mark.chaos]


@pytest.mark.parametrize(
    ("scenario", "trouble"),
    [("crash-points", 4), ("rekeyed-crash-points", 3), ("redis-rolled-back", 1), ("frozen-owner", 1)],
)
@pytest.mark.usefixtures("kafka", "redis_url")  # they skip, or fail in CI, where no server can be started
def test_nothing_is_lost_or_counted_twice(scenario: str, trouble: int, tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print(f"python -m tests.chaos {scenario} --seed {seed}")  # noqa: T201  # shown where the test fails

    try:
        outcome = play(scenario, tmp_path, seed=seed, events=10_000, trouble=trouble)
    finally:
        servers.stop(tmp_path)  # its own: Redis is killed and put back

    assert (outcome.problems, outcome.lost, outcome.counted_twice) == ([], 0, 0)
