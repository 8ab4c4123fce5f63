"""Every statistic equals brute force on a share of the seeded histories; `histories_run` goes through all of them."""

from __future__ import annotations

import pytest

from tests.property.histories import BY_USER, Judge, check_scale

HISTORIES, PARTS = 240, 4


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge(BY_USER)


@pytest.mark.parametrize("part", range(PARTS))
def test_seeded_histories_equal_brute_force(judge: Judge, part: int) -> None:
    for seed in range(part, HISTORIES, PARTS):
        judge.check(seed)


def test_sketches_keep_their_error_at_scale() -> None:
    check_scale()
