"""The breaker trips by the records alone, however they are cut into batches."""

from __future__ import annotations

import random

import pytest

from streams.breaker import Breaker
from streams.intake import DeadLetter, DecodedBatch
from streams.records import Partition

PARTITION = Partition("events", 0, "t")


def batch(dead: list[bool], first: int, end: int) -> DecodedBatch:
    living = [offset for offset in range(first, end) if not dead[offset]]
    letters = [DeadLetter(offset, "bad_json", "$", "") for offset in range(first, end) if dead[offset]]
    return DecodedBatch(PARTITION, first, end, living, [None] * len(living), [0] * len(living), letters, None)  # type: ignore[list-item]


def trips(dead: list[bool], cuts: list[int], accepted: int = 0) -> int | None:
    breaker = Breaker(accepted)
    ends = sorted({*cuts, len(dead)} - {0})
    for first, end in zip([0, *ends], ends, strict=False):
        tripped = breaker.judge(batch(dead, first, end))
        if tripped is not None:
            return tripped
    return None


def counted(dead: list[bool]) -> int | None:
    """Return where it must trip, counted plainly."""
    for place, is_dead in enumerate(dead):
        window = dead[max(0, place - 199) : place + 1]
        if is_dead and len(window) >= 100 and sum(window) > len(window) / 2:
            return place
    return None


@pytest.mark.parametrize("share", [0.0, 0.3, 0.45, 0.5, 0.55, 1.0])
def test_it_trips_where_a_plain_count_says_however_the_log_is_cut(share: float) -> None:
    seeded = random.Random(f"{share}")
    for _ in range(20):
        dead = [seeded.random() < share for _ in range(900)]
        expected = counted(dead)
        for cuts in ([], [1, 99, 100, 101, 450], seeded.sample(range(900), 40)):
            assert trips(dead, cuts) == expected


def test_a_few_records_are_never_enough() -> None:
    assert trips([True] * 99, []) is None


def test_dead_records_below_the_accepted_offset_do_not_count() -> None:
    assert trips([True] * 500, [50], accepted=300) == 400  # 300 accepted ones fill half of the window
    assert trips([True] * 500, [], accepted=500) is None
