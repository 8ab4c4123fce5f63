"""What is served is counted exactly, and parts of the traffic add up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from zoneinfo import ZoneInfo

import pytest

from definitions.values import Value
from streams.counts import (
    GRACE_MS,
    MINUTES_KEPT,
    MOST_OPEN,
    TOP_VALUES,
    Counter,
    Days,
    Minutes,
    Monitor,
    MonitorCodec,
    Served,
    ServedInput,
)
from streams.messages import Prediction, Progress

DAY_MS = 86_400_000
START_MS = 1_359_676_800_000
"""2013-02-01T00:00:00Z."""


class OneBin:
    """Bins of a release that has one signal with one bin."""

    def empty(self) -> dict[str, list[int]]:
        """Return counts of nothing."""
        return {"score:a": [0]}

    def count(self, counts: dict[str, list[int]], vector: Sequence[Value], scores: Mapping[str, float]) -> None:
        """Add one prediction."""
        del vector, scores
        counts["score:a"][0] += 1


def monitor(zone: str = "UTC") -> Monitor:
    """Return the cells of a model of two inputs that has told every day up to the first of these tests."""
    bins: dict[str, Counter | None] = {"": None}
    return Monitor(
        model="late.v1",
        inputs=["distance", "carrier"],
        zone=ZoneInfo(zone),
        outcomes="t/0",
        partitions=1,
        counter_of=lambda release: bins.get(release, OneBin()),
        days=Days(closed="2013-01-31") if zone == "UTC" else Days(),
        served=Served(),
        minutes=Minutes(),
    )


def asked(at_ms: int, vector: Sequence[Value] = (1.0, "UA"), release: str = "r1") -> Prediction:
    """Return a prediction."""
    return Prediction(
        request_id="r", model="late.v1", release=release, label_key=None, at_ms=at_ms, vector=list(vector),
        scores={"a": 0.5}, versions=[], champion="a", status="ok", positions={}, features_as_of=None,
    )  # fmt: skip


def take(watched: Monitor, asked_for: Prediction, appended_ms: int = START_MS + 1_000 * DAY_MS) -> list[str]:
    """Count a prediction; return the days of the ticks that it made due."""
    _, ticks = watched.take(asked_for, after=1, appended_ms=appended_ms)
    return [f"{tick.day} {tick.release}".strip() for tick in ticks]


def test_a_day_is_told_once_event_time_is_past_its_end_and_the_grace() -> None:
    watched = monitor()
    take(watched, asked(START_MS))

    before = take(watched, asked(START_MS + DAY_MS + GRACE_MS - 1))
    after = take(watched, asked(START_MS + DAY_MS + GRACE_MS))

    assert before == []
    assert after == ["2013-02-01 r1", "2013-02-01"]


def test_days_are_cut_in_the_models_zone() -> None:
    watched = monitor("America/New_York")
    take(watched, asked(START_MS))

    assert take(watched, asked(START_MS + 5 * 3_600_000 + GRACE_MS)) == ["2013-01-31 r1", "2013-01-31"]


def test_progress_ends_days_in_which_nobody_asks() -> None:
    watched = monitor()
    take(watched, asked(START_MS, release="r2"))
    take(watched, asked(START_MS, release="r1"))

    ticks = watched.progress(Progress(source="l/0", partitions=1, newest_ms=START_MS + 5 * DAY_MS), after=9)

    assert [(tick.day, tick.release, tick.counts, tick.next) for tick in ticks] == [
        ("2013-02-01", "r1", {"score:a": [1]}, 9),
        ("2013-02-01", "r2", {"score:a": [1]}, 9),
        ("2013-02-04", "", {}, 9),
    ]


def test_progress_of_an_idle_partition_tells_no_time() -> None:
    told = Progress(source="l/0", partitions=1, newest_ms=0, idle=True)

    assert monitor().progress(told, after=9) == []


def test_open_days_are_bounded() -> None:
    """A caller who asks about a thousand days at once must not make the cell grow without end."""
    watched = monitor()
    far_ms = [START_MS + number * DAY_MS for number in range(MOST_OPEN + 5)]

    fates = [watched.take(asked(at_ms), after=1, appended_ms=START_MS - DAY_MS)[0] for at_ms in far_ms]

    assert fates == ["applied"] * MOST_OPEN + ["too_late"] * 5


@pytest.mark.parametrize("at_ms", [-5, 0, 253_402_300_799_999])
def test_any_time_that_a_request_may_have_has_a_day(at_ms: int) -> None:
    assert monitor("Pacific/Auckland").take(asked(at_ms), after=1, appended_ms=START_MS)[0] == "applied"


def test_served_values_of_parts_add_up_to_the_whole() -> None:
    values: list[Value] = [3, None, 4.5, -1.0, 7]
    whole, first, second = ServedInput(), ServedInput(), ServedInput()
    for place, value in enumerate(values):
        whole.add(value)
        (first if place % 2 else second).add(value)

    assert first.plus(second) == second.plus(first) == whole
    assert (whole.n, whole.missing, whole.mean, whole.least, whole.greatest) == (5, 1, 3.375, -1.0, 7)


def test_an_input_that_was_never_there_has_no_mean() -> None:
    served = ServedInput()
    served.add(None)

    assert (served.n, served.missing, served.mean, served.least) == (1, 1, None, None)


def test_an_embedding_is_counted_by_its_euclidean_length() -> None:
    served = ServedInput()
    for value in ([3.0, 4.0], None, [0.0, 0.0]):
        served.add(value)

    assert (served.n, served.missing, served.mean, served.greatest) == (3, 1, 2.5, 5.0)


def test_categories_are_counted_by_name_up_to_a_bound() -> None:
    served = ServedInput()
    for number in range(TOP_VALUES + 10):
        served.add(f"v{number}")
    for value in ("v1", True, None):
        served.add(value)

    assert len(served.top) == TOP_VALUES
    assert (served.top["v1"], served.n, served.missing) == (2, TOP_VALUES + 13, 1)


def test_minutes_are_kept_for_an_hour() -> None:
    minutes = Minutes()
    for minute in range(200):
        minutes.add(minute)
        minutes.add(minute)

    assert set(minutes.reads) == {str(each) for each in range(200 - MINUTES_KEPT, 200)}
    assert set(minutes.reads.values()) == {2}


def test_equal_states_have_equal_bytes_and_come_back() -> None:
    watched = monitor()
    for each in (asked(START_MS), asked(START_MS, (None, "AA"), "r2"), asked(START_MS + 2 * DAY_MS)):
        take(watched, each)
    codec = MonitorCodec()

    for state in (watched.days, watched.served, watched.minutes):
        data = codec.encode(state)
        assert data is not None
        assert codec.decode(data) == state
        assert codec.encode(codec.decode(data)) == data
    assert codec.encode(codec.empty()) is None
