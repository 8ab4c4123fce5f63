"""`agents.garbage`: the collector runs between batches only, and is put back."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from agents import garbage
from agents.garbage import collect_after_batch, collect_when_idle, collected_between_batches


@pytest.fixture
def collections() -> Iterator[list[int]]:
    """Note the generation of each collection."""
    found: list[int] = []

    def note(phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            found.append(info["generation"])

    gc.callbacks.append(note)
    yield found
    gc.callbacks.remove(note)


def litter(count: int) -> None:
    """Leave garbage that only the collector can find."""
    for _ in range(count):
        knot: list[object] = []
        knot.append(knot)


def test_nothing_is_collected_inside_a_batch(collections: list[int]) -> None:
    with collected_between_batches():
        collections.clear()
        litter(50_000)
        assert collections == []
        collect_after_batch()
        assert collections == [0]


def test_a_small_batch_is_not_worth_a_collection(collections: list[int]) -> None:
    with collected_between_batches():
        collect_after_batch()
        collections.clear()
        litter(100)
        collect_after_batch()
        assert collections == []


def test_older_objects_are_collected_now_and_then(collections: list[int]) -> None:
    with collected_between_batches():
        collections.clear()
        for _ in range(40):
            litter(11_000)
            collect_after_batch()
        assert collections.count(0) == 38
        assert collections.count(1) == 2


def test_everything_is_collected_when_idle_at_most_every_five_minutes(
    collections: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    with collected_between_batches():
        collections.clear()
        collect_when_idle()
        assert collections == []
        monkeypatch.setattr(garbage, "_last_full_s", garbage._last_full_s - 301)
        collect_when_idle()
        collect_when_idle()
        assert collections == [2]


def test_the_last_host_to_end_puts_the_collector_back() -> None:
    with collected_between_batches():
        with collected_between_batches():
            assert not gc.isenabled()
        assert not gc.isenabled()
        assert gc.get_freeze_count() > 0
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0
