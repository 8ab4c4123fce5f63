"""The demo in small: some days of January to train on, a day to live through, all in one process."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from examples.flights.__main__ import play
from examples.flights.errors import DemoRefused
from examples.flights.measure import TALLIES
from examples.flights.stage import open_stage
from examples.flights.story import Span
from examples.flights.timeline import BAD_BYTES
from headrace.settings import read_settings

SPAN = Span(first="2013-01-29", live="2013-02-01", end="2013-02-02")
KEYS = {
    "substrate": {"log", "store"},
    "events": {"published", "decoded", "dead_letters"},
    "views": None,
    "requests": None,
    "replies": {"ok", "degraded", "expired", "rejected", "error"},
    "unanswered": None,
    "latency_ms": {"p50", "p99"},
    "labels_matched": None,
    "examples_learned": None,
    "auc": {"online", "offline", "best_single_feature"},
    "positives_ratio": None,
    "verdicts": None,
    "alerts": None,
    "wall_s": None,
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text('[tool.headrace]\nsubstrate = "in-process"\n')
    return tmp_path


async def test_a_day_is_lived_through_and_everything_adds_up(project: Path) -> None:
    said = io.StringIO()
    file = await play(SPAN, Console(file=said), project)
    figures: dict[str, Any] = json.loads(file.read_bytes())
    assert file == project / ".headrace" / "demo.json"
    assert {key: set(figures[key]) if KEYS[key] else None for key in figures} == KEYS
    events, views = figures["events"], figures["views"]
    assert events["published"] == events["decoded"] + events["dead_letters"]
    assert events["dead_letters"] == len(BAD_BYTES)
    for tallies in views.values():
        assert tallies["read"] == sum(tallies[each] for each in TALLIES if each != "read")
    assert views["origin_departures"]["dead"] == len(BAD_BYTES)
    assert figures["requests"] == figures["replies"]["ok"] == 926
    assert figures["unanswered"] == 0
    assert figures["examples_learned"] == figures["labels_matched"] > 850
    assert figures["verdicts"]["2013-02-01"]["n"] == 926
    assert 0.55 < figures["auc"]["offline"] < 1
    assert "best single feature" in said.getvalue()


async def test_a_second_demo_in_the_same_folder_is_refused(project: Path) -> None:
    settings = read_settings(project)
    async with open_stage(settings, lambda _: None):
        with pytest.raises(DemoRefused, match="another demo is running there"):
            async with open_stage(settings, lambda _: None):
                pass
