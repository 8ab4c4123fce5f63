"""What an author writes of every statistic, from records to values, worked out by hand."""

from __future__ import annotations

import pytest

from streams.records import Partition
from streams.replay import PointInTime
from tests.builders import EVENTS, declare
from tests.records import cut, json_record

HOUR_MS = 3_600_000
START_MS = 1_700_000_000_000 // HOUR_MS * HOUR_MS

VIEW = """\
class Traffic(hr.Features, on=Departed, by="origin", version=1):
    n        = hr.count().over("1h")
    late     = hr.count(where=Departed.delay_min > 15).over("1h")
    to       = hr.count(by=Departed.dest, groups=("LAX", "SFO")).over("1h")
    spread   = hr.variance(Departed.delay_min).over("1h")
    deviates = hr.std(Departed.delay_min, where=Departed.diverted).over("1h")
    first    = hr.first(Departed.tail).over("1h")
    tails    = hr.last_k(Departed.tail, 3).over("1h")
    places   = hr.distinct(Departed.dest).over("1h")
    median   = hr.quantile(Departed.delay_min, 0.5).over("1h")
    popular  = hr.top_k(Departed.dest, 2).over("1h")
    recent   = hr.decayed_count(half_life="10m").over("1h")
    lately   = hr.decayed_mean(Departed.delay_min, half_life="10m").over("1h")
    share    = hr.ratio(hr.count(where=Departed.delay_min > 15), hr.count()).over("1h")
    per_seat = hr.ratio(hr.sum(Departed.delay_min), hr.sum(Departed.seats)).over("1h")
    gap      = to["1h", "LAX"] - to["1h", "SFO"]
"""

ROWS = [(0, "LAX", "N1", 10.0, True), (10, "SFO", None, 20.0, False), (20, "LAX", "N2", 30.0, True)]
"""Minutes from the start, and what was published: dest, tail, delay_min, diverted. No seats are known."""


def test_every_statistic_means_what_its_author_reads() -> None:
    view = declare(EVENTS, VIEW)["Traffic"].definition
    records = [
        json_record(
            offset,
            {
                "flight_id": str(offset), "origin": "JFK", "dest": dest, "tail": tail, "delay_min": delay_min,
                "seats": None, "diverted": diverted, "departed_at": START_MS + minute * 60_000,
            },
        )
        for offset, (minute, dest, tail, delay_min, diverted) in enumerate(ROWS)
    ]  # fmt: skip
    replay = PointInTime([view])
    replay.apply(cut(Partition("flights.departed", 0, "tid"), records, [])[0])

    served = replay.serve({"origin": "JFK"}, START_MS + 20 * 60_000)

    values = {name.removeprefix("traffic."): value for name, value in served.values.items()}
    assert values == {
        "n_1h": 3,
        "late_1h": 2,
        "to_1h_LAX": 2,
        "to_1h_SFO": 1,
        "spread_1h": pytest.approx(100.0),
        "deviates_1h": pytest.approx(200**0.5),
        "first_1h": "N1",
        "tails_1h_1": "N2",
        "tails_1h_2": "N1",
        "tails_1h_3": None,
        "places_1h": 2,
        "median_1h": pytest.approx(20.0, rel=0.01),
        "popular_1h_1": "LAX",
        "popular_1h_2": "SFO",
        "recent_1h": pytest.approx(1 + 1 / 2 + 1 / 4),
        "lately_1h": pytest.approx((30 + 20 / 2 + 10 / 4) / (1 + 1 / 2 + 1 / 4)),
        "share_1h": pytest.approx(2 / 3),
        "per_seat_1h": None,
        "gap": 1,
    }
