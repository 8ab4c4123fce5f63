"""Small parts of ``learning-kills`` and ``learning-scored``: examples and models are those of an undisturbed run."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from headrace import servers
from tests.chaos.__main__ import play_learning, play_scored

pytestmark = [pytest.mark.kafka, pytest.mark.redis, pytest.mark.chaos]


@pytest.mark.usefixtures("kafka", "redis_url")  # they skip, or fail in CI, where no server can be started
def test_six_kinds_of_models_come_out_the_same_through_kills_and_a_store_gone_back(tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print(f"python -m tests.chaos learning-kills --seed {seed}")  # noqa: T201  # shown where the test fails

    try:
        outcome = play_learning(tmp_path, seed=seed, kills=3, rollbacks=1)
    finally:
        servers.stop(tmp_path)  # its own: Redis is killed and put back

    assert (outcome.problems, outcome.lost, outcome.counted_twice) == ([], 0, 0)
    assert (outcome.kills, outcome.digests_equal) == (3, True)


@pytest.mark.usefixtures("kafka", "redis_url")
def test_what_killed_scorers_logged_is_joined_as_a_plain_join_does_it(tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print(f"python -m tests.chaos learning-scored --seed {seed}")  # noqa: T201  # shown where the test fails

    try:
        outcome = play_scored(tmp_path, seed=seed, kills=1, seconds=6.0)
    finally:
        servers.stop(tmp_path)

    assert (outcome.problems, outcome.lost, outcome.kills, outcome.digests_equal) == ([], 0, 1, True)
    assert outcome.learning is not None
    assert outcome.learning["examples"] != 0
