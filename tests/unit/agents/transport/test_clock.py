"""`agents.transport.clock`."""

from __future__ import annotations

import time

import pytest

from agents.transport.clock import ManualClock, wall_ms


def test_a_manual_clock_moves_only_when_told() -> None:
    clock = ManualClock(5)
    assert clock() == clock() == 5
    clock.advance(3)
    clock.set(10)
    assert clock() == 10


def test_a_manual_clock_does_not_go_back() -> None:
    with pytest.raises(ValueError, match="cannot move the clock: expected 5 or later, got 4"):
        ManualClock(5).advance(-1)


def test_the_wall_clock_is_this_machines_time() -> None:
    assert abs(wall_ms() - time.time() * 1_000) < 1_000
