"""`agents.transport.positions`."""

from __future__ import annotations

import pytest

from agents.transport import Assigned, StartAt
from agents.transport.positions import PositionOutsideLog, hinted, inside_log
from streams.records import Partition


def given(first: int, end: int, committed: int | None = None) -> Assigned:
    return Assigned(Partition("t", 3, "id"), 1, first, end, committed)


@pytest.mark.parametrize("position", [5, 7, 9])
def test_a_position_inside_the_log_is_taken(position: int) -> None:
    assert inside_log(given(5, 9), position) == position


@pytest.mark.parametrize("position", [0, 4, 10])
def test_a_position_outside_the_log_is_refused_with_what_to_do(position: int) -> None:
    with pytest.raises(
        PositionOutsideLog,
        match=rf"cannot resume: t\[3\]: expected .* 5\.\.9, got {position}; restore the topic, run `head",
    ):
        inside_log(given(5, 9), position)


@pytest.mark.parametrize(
    ("committed", "start", "expected"),
    [
        (None, StartAt.FIRST, 5),
        (None, StartAt.END, 9),
        (7, StartAt.END, 7),
        (2, StartAt.FIRST, 5),
        (12, StartAt.FIRST, 9),
        (0, StartAt.END, 5),
    ],
)
def test_a_role_without_rows_resumes_from_the_hint(committed: int | None, start: StartAt, expected: int) -> None:
    assert hinted(given(5, 9, committed), start) == expected
