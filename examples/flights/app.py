"""Will this flight arrive late? Asked when it should leave New York, of every flight on the schedule.

The definitions that the demo runs. At the time of the question the departure delay is not known yet, but for a flight
that left before its time: all that has happened by then may be used, and nothing after.
"""

from __future__ import annotations

from datetime import datetime

from river.linear_model import LogisticRegression
from river.optim import AdaGrad
from river.preprocessing import StandardScaler

import headrace as hr

LATE_MIN = 15
"""An arrival is late if it is more than this many minutes behind its schedule."""


class Departed(hr.Event, topic="flights.departed", id="flight_id", at="departed_at"):
    """A flight left its gate in New York."""

    flight_id: str
    carrier: str
    tail: str | None
    origin: str
    dest: str
    delay_min: float
    departed_at: datetime


class Arrived(hr.Event, topic="flights.arrived", id="flight_id", at="arrived_at"):
    """A flight reached its destination's gate; one that was diverted does not."""

    flight_id: str
    carrier: str
    tail: str | None
    origin: str
    dest: str
    delay_min: float
    arrived_at: datetime


class Weather(hr.Event, topic="flights.weather", id="observation_id", at="observed_at", key="origin"):
    """The weather at one of New York's airports in one hour."""

    observation_id: str
    origin: str
    humidity_pct: float | None
    wind_mph: float | None
    gust_mph: float | None
    precip_in: float | None
    visibility_mi: float | None
    observed_at: datetime


class OriginDepartures(hr.Features, on=Departed, by="origin", version=1, owner="flight-ops", tags=("traffic",)):
    """How busy an airport is, and how late what leaves it."""

    flights = hr.count().over("1h")
    delay = hr.mean(Departed.delay_min).over("1h", "3h", "24h")
    worst = hr.max(Departed.delay_min).over("1h")


class CarrierDepartures(hr.Features, on=Departed, by="carrier", version=1, owner="flight-ops", tags=("traffic",)):
    """How late an airline's flights leave New York."""

    delay = hr.mean(Departed.delay_min).over("1h", "3h", "24h")


class CarrierArrivals(hr.Features, on=Arrived, by="carrier", version=1, owner="flight-ops", tags=("traffic",)):
    """How late an airline's flights arrive."""

    delay = hr.mean(Arrived.delay_min).over("3h")


class RouteDepartures(hr.Features, on=Departed, by=("origin", "dest"), version=1, owner="flight-ops", tags=("route",)):
    """How late flights leave on a route."""

    delay = hr.mean(Departed.delay_min).over("3h", "6h", "24h")
    latest = hr.last(Departed.delay_min).over("6h")


class RouteArrivals(hr.Features, on=Arrived, by=("origin", "dest"), version=1, owner="flight-ops", tags=("route",)):
    """How late flights arrive on a route."""

    delay = hr.mean(Arrived.delay_min).over("3h", "24h")


class TailArrivals(hr.Features, on=Arrived, by="tail", version=1, owner="fleet", tags=("aircraft",)):
    """How late an aircraft has been: it may have to come back before it can leave."""

    latest = hr.last(Arrived.delay_min).over("24h")
    delay = hr.mean(Arrived.delay_min).over("7d")


class OriginWeather(hr.Features, on=Weather, by="origin", version=1, owner="flight-ops", tags=("weather",)):
    """The weather at an airport, now and in the last hours."""

    humidity = hr.last(Weather.humidity_pct).over("3h")
    wind = hr.max(Weather.wind_mph).over("6h")
    gust = hr.max(Weather.gust_mph).over("6h")
    precip = hr.sum(Weather.precip_in).over("6h")
    visibility = hr.last(Weather.visibility_mi).over("3h")
    worst_visibility = hr.min(Weather.visibility_mi).over("6h")


class Late(hr.Model, version=1, owner="flight-ops", timeout="2s", tz="America/New_York"):
    """The probability that a flight arrives more than 15 minutes late."""

    features = (
        OriginDepartures.flights["1h"],
        OriginDepartures.delay["1h"],
        OriginDepartures.delay["3h"],
        OriginDepartures.delay["24h"],
        OriginDepartures.worst["1h"],
        CarrierDepartures.delay["1h"],
        CarrierDepartures.delay["3h"],
        CarrierDepartures.delay["24h"],
        CarrierArrivals.delay["3h"],
        RouteDepartures.delay["3h"],
        RouteDepartures.delay["6h"],
        RouteDepartures.delay["24h"],
        RouteDepartures.latest["6h"],
        RouteArrivals.delay["3h"],
        RouteArrivals.delay["24h"],
        TailArrivals.latest["24h"],
        TailArrivals.delay["7d"],
        OriginWeather.humidity["3h"],
        OriginWeather.wind["6h"],
        OriginWeather.gust["6h"],
        OriginWeather.precip["6h"],
        OriginWeather.visibility["3h"],
        OriginWeather.worst_visibility["6h"],
        hr.request("hour", float),
        hr.request("distance_mi", float),
        hr.request("carrier", str),
        hr.request("origin", str),
        hr.request("dest", str),
    )
    label = hr.Label(Arrived, key="flight_id", value=Arrived.delay_min > LATE_MIN, within="24h", otherwise="drop")
    online = hr.river(lambda: StandardScaler() | LogisticRegression(optimizer=AdaGrad(0.03), intercept_lr=0.001))
    offline = hr.xgboost(
        objective="binary:logistic",
        num_boost_round=200,
        max_depth=5,
        eta=0.05,
        subsample=0.8,
        colsample_bytree=0.6,
        min_child_weight=20,
    )
    route = hr.Route(champion="offline", shadow=["online"])
