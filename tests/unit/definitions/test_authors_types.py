"""The authors' code as a type checker sees it: what DESIGN's example writes is right, and slips are found."""

from __future__ import annotations

from pathlib import Path

from mypy import api

ROOT = Path(__file__).parents[3]

RIGHT = """\
from datetime import datetime
from typing import Annotated

from river.linear_model import LogisticRegression
from river.preprocessing import StandardScaler

import headrace as hr

class Departed(hr.Event, topic="flights.departed", id="flight_id", at="departed_at", disorder="15m"):
    flight_id: str; origin: str; dest: str; carrier: str; tail: str | None; departed_at: datetime
    delay_min: Annotated[float, hr.Unit("min")]
    state: Annotated[list[float] | None, hr.Length(8)]

class Arrived(hr.Event, topic="flights.arrived", id="flight_id", at="arrived_at", key=("flight_id",)):
    flight_id: str; dest: str; delay_min: float; diverted: bool; arrived_at: datetime

class OriginTraffic(hr.Features, on=Departed, by="origin", version=1, owner="ops-ml", tags=["traffic"]):
    flights   = hr.count().over("1h", "3h", "24h")
    delay     = hr.mean(Departed.delay_min).over("1h", "24h", every="1m")
    tail      = hr.last(Departed.tail).over("24h")
    seldom    = hr.variance(Departed.delay_min, where=Departed.tail == "N1").over("1h")
    spread    = hr.std(Departed.delay_min, by=Departed.carrier, groups=("UA", "DL")).over("1h")
    tails     = hr.last_k(Departed.tail, 3, where=(Departed.delay_min > 15, Departed.carrier == "UA")).over("24h")
    early     = hr.first(Departed.carrier).over("24h")
    planes    = hr.distinct(Departed.tail).over("24h")
    usual     = hr.quantile(Departed.delay_min, 0.5).over("24h")
    carriers  = hr.top_k(Departed.carrier, 2).over("24h")
    recent    = hr.decayed_count(half_life="1h").over("24h")
    lately    = hr.decayed_mean(Departed.delay_min, half_life="1h").over("24h")
    late      = hr.ratio(hr.count(where=Departed.delay_min > 15), hr.count()).over("24h")
    gap       = spread["1h", "UA"] - spread["1h", "DL"]
    same      = tails["24h", 1] == "N1"
    worsening = delay["1h"] - delay["24h"]
    calm      = (1 - delay["1h"] / delay["24h"]).else_(0.0) < 0.5
    newest    = hr.last(Departed.departed_at).over("24h", every="24h")
    state     = hr.last(Departed.state).over("24h", every="24h")
    idle_ms   = hr.asked_at() - newest["24h"]
    rush      = (flights["1h"] > 10) & ~calm | (abs(worsening).clip(0, 60).log1p() > 2)
    hour      = hr.hour(newest["24h"], tz="America/New_York")

class Tails(hr.Features, on=Departed, by="tail", version=1):
    origin = hr.last(Departed.origin).over("24h")

class AirportDay(
    hr.Features, on=(Departed, Arrived), entity="airport", by={Departed: "origin", Arrived: "dest"}, version=1
):
    left    = hr.count(Departed).over("24h")
    came    = hr.count(Arrived).over("24h")
    delay   = hr.mean(Arrived.delay_min).over("24h")
    waiting = came["24h"] - left["24h"]

class Late(hr.Model, version=1, timeout="1s"):
    features = [
        OriginTraffic.flights["1h"],
        OriginTraffic.worsening,
        AirportDay.waiting,
        OriginTraffic.tails["24h", 1],
        OriginTraffic.spread["1h", "UA"],
        hr.request("distance", float),
        hr.request("carrier", str),
        hr.request("query", list[float], length=4),
        hr.named("per_seat", OriginTraffic.flights["1h"] / hr.request("seats", int)),
        hr.named("per_mile", 1 / hr.request("distance", float, unit="mi").log()),
        hr.named("weekday", hr.weekday(hr.asked_at(), tz="America/New_York")),
        hr.lookup(OriginTraffic.delay["1h"], by=Tails.origin["24h"]),
        hr.lookup(OriginTraffic.delay["1h"], by=[hr.request("via", str)]),
        OriginTraffic.state["24h"],
    ]
    label    = hr.Label(
        Arrived, key="flight_id", value=(Arrived.delay_min > 15) & ~Arrived.diverted, within="24h", otherwise="drop"
    )
    online   = hr.river(lambda: StandardScaler() | LogisticRegression())
    offline  = hr.xgboost(objective="binary:logistic")
    rule     = hr.python(lambda row: row["distance"] / 1000)
    net      = hr.onnx("late.onnx", output="probability")
    far      = hr.open_inference("http://models:8080", model="late", missing=-1, timeout="50ms")
    tower    = hr.tensorflow_serving("http://models:8501", model="late", missing=0.0, on="columns")
    both     = hr.ensemble("offline", "online", weights=(2, 1), by="logit")
    route    = hr.Route(champion="both", shadow=["net"], fallback="rule", canary=("far", 0.05))

class Later(hr.Model, version=1):
    features = [OriginTraffic.worsening]
    label    = hr.Label(Arrived, key="flight_id", value=Arrived.delay_min, within="24h")
    online   = hr.river(lambda: StandardScaler() | LogisticRegression())
    offline  = hr.xgboost()
    route    = hr.Route(champion="offline", fallback=0.1, weights={"online": 0.1})
"""

WRONG = """
class Seen(hr.Event, topic="seen", id="id", at="at", disordr="15m"):
    id: str; at: datetime

class Unplaced(hr.Event, id="id", at="at"):
    id: str; at: datetime

class Origins(hr.Features, on=Departed, by="origin", version="1"):
    n = hr.mean(Departed.origin).over("1h")
    m = hr.max(Departed.delay).over("1h")

class Airports(hr.Features, on=(Departed, Arrived), by={Departed: "origin", "Arrived": "dest"}, version=1):
    n = hr.count("Departed").over("1h")
    k = hr.count(were=Departed.delay_min > 15).over("1h")
    q = hr.quantile(Departed.delay_min).over("1h")
    v = hr.mean(Departed.state).over("1h")
    h = hr.hour(hr.asked_at())
    l = hr.lookup(OriginTraffic.flights["1h"], by="origin")
"""


def _errors(tmp_path: Path, source: str) -> tuple[str, int]:
    path = tmp_path / "app.py"
    path.write_text(source)
    out, failed, code = api.run(["--strict", "--config-file", str(ROOT / "pyproject.toml"), str(path)])
    assert not failed
    return out, code


def test_a_type_checker_accepts_the_example_and_finds_slips(tmp_path: Path) -> None:
    assert _errors(tmp_path, RIGHT) == ("Success: no issues found in 1 source file\n", 0)

    out, _ = _errors(tmp_path, RIGHT + WRONG)

    assert 'Unexpected keyword argument "disordr"' in out
    assert 'Missing named argument "topic"' in out
    assert 'Argument "version" to "__init_subclass__" of "Features" has incompatible type "str"' in out
    assert 'Argument 1 to "mean" has incompatible type "str"' in out
    assert '"type[Departed]" has no attribute "delay"' in out
    assert 'Dict entry 1 has incompatible type "str": "str"' in out
    assert 'Argument 1 to "count" has incompatible type "str"' in out
    assert 'Unexpected keyword argument "were" for "count"' in out
    assert 'Missing positional argument "q" in call to "quantile"' in out
    assert 'Argument 1 to "mean" has incompatible type "list[float] | None"' in out
    assert 'Missing named argument "tz" for "hour"' in out
    assert 'Argument "by" to "lookup" has incompatible type "str"' in out
    assert "Found 12 errors" in out
