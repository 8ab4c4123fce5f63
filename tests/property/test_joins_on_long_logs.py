"""What ``python -m tests.property.joins_run`` measures, on a log short enough for every day."""

from __future__ import annotations

from streams.store.memory import MemoryStore
from tests.property.joins_run import is_right, run


async def test_every_count_of_a_long_log_is_a_plain_oracles_and_memory_is_bounded_by_the_horizon() -> None:
    """Late, missing, early, revised, copied and reused, over ten horizons, opened anew 20 times on the way."""
    said = await run(12_000, 1_200, MemoryStore(), quiet=True)

    assert is_right(said), said
    counts = said["counts"]
    assert all(counts.values())
    assert counts["predictions"] == counts["matched"] + counts["timed_out"] + counts["pending"]


async def test_the_store_after_twice_the_log_is_as_large() -> None:
    once, twice = [await run(pairs, 600, MemoryStore(), quiet=True) for pairs in (3_000, 6_000)]

    assert twice["outcomes"] > 1.9 * once["outcomes"]
    assert twice["peak_cells"][-1] < 1.1 * once["peak_cells"][-1]
