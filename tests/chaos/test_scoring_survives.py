"""A small part of `make chaos`'s scenario ``scoring-survives``: every caller has one outcome, in time."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from headrace import servers
from tests.chaos.scoring import survive

pytestmark = [pytest.mark.kafka, pytest.mark.redis, pytest.mark.chaos]

TIMEOUT_MS = 20_000
"""More than a machine takes that runs other tests beside this one."""


@pytest.mark.usefixtures("kafka", "redis_url")  # they skip, or fail in CI, where no server can be started
def test_every_caller_has_one_outcome_through_a_kill_and_rebalances(tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print(f"python -m tests.chaos scoring-survives --seed {seed}")  # noqa: T201  # shown where the test fails

    try:
        found = survive(tmp_path, seed=seed, kills=1, rebalances=2, rate=100, timeout_ms=TIMEOUT_MS)
    finally:
        servers.stop(tmp_path)

    assert found.replies.get("ok", 0) > 0
    assert (found.kills, found.callers_without_outcome, found.callers_with_two) == (1, 0, 0)
    assert (found.lost_otherwise, found.problems) == (0, [])
