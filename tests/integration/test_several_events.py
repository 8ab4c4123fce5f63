"""A view on two events, declared after one of them was read, kept by two processes: started, served and audited."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.apps.project import AT_MS, Project, departed, write_project

pytestmark = [pytest.mark.kafka, pytest.mark.redis]

DAY = """
class AirportDay(
    hr.Features, on=(Departed, Arrived), entity="airport", by={Departed: "origin", Arrived: "dest"}, version=1
):
    left = hr.count(Departed).over("24h")
    came = hr.count(Arrived).over("24h")
    waiting = came["24h"] - left["24h"]
"""


@pytest.fixture
def project(tmp_path: Path, unique: str, kafka: str, redis_url: str) -> Project:
    return write_project(tmp_path, unique, kafka=kafka, redis=redis_url)


def arrived(number: int) -> bytes:
    """Return the bytes of an arrival at JFK, ``number`` seconds before `AT_MS`."""
    event = {"flight_id": f"F{number}", "dest": "JFK", "delay_min": 1.0, "arrived_at": AT_MS - 1_000 * number}
    return json.dumps(event).encode()


def day_of(project: Project, airport: str) -> Mapping[str, Any]:
    """Return what `headrace features get` answers for an airport."""
    said = project.command("features", "get", "airport_day", airport, "--as-of", str(AT_MS), "--json")
    assert said.returncode == 0, said.stderr
    answer: Mapping[str, Any] = json.loads(said.stdout)
    return answer


def test_a_view_on_two_events_is_started_beside_live_ones_and_loses_and_doubles_nothing(project: Project) -> None:
    source = (project.folder / "app.py").read_text()
    with project.running("features"):
        project.send(f"{project.name}.departed", *(departed(number) for number in range(30)))
        project.until(lambda: project.metric("features", "events_decoded_total") == 30)
    (project.folder / "app.py").write_text(
        source.replace("arrived_at: datetime", "arrived_at: datetime; dest: str") + DAY
    )

    with project.running("features"), project.running("features"):
        project.send(f"{project.name}.arrived", *(arrived(number) for number in range(40)))
        project.until(lambda: day_of(project, "JFK")["values"]["came_24h"] == 40)
        before = day_of(project, "JFK")
        started = project.command("features", "backfill", "airport_day", "--json")
        project.until(lambda: day_of(project, "JFK")["values"]["left_24h"] == 30)
        project.until(lambda: day_of(project, "JFK")["features_as_of"] is not None)
        after, unseen = day_of(project, "JFK"), day_of(project, "LGA")

    assert before["values"] == {"left_24h": None, "came_24h": 40, "waiting": None}
    assert (before["features_as_of"], before["unanswerable"]) == (None, ["left_24h", "waiting"])
    answer = json.loads(started.stdout)
    assert (answer["view"], answer["version"], answer["started"], answer["partitions"]) == ("airport_day", 1, 2, 4)
    assert answer["taken_up"] is True
    assert after["values"] == {"left_24h": 30, "came_24h": 40, "waiting": 10}
    assert (after["absent"], after["unanswerable"], after["entity"]) == (False, [], "JFK")
    read = {
        topic: sum(each["next"] for each in after["positions"] if each["topic"] == topic) for topic in topics_of(after)
    }
    assert read == {f"{project.name}.departed": 30, f"{project.name}.arrived": 40}
    assert unseen["absent"] is True
    audit = project.audit()
    assert (audit["lost"], audit["counted_twice"]) == (0, 0)
    of_view = [each for each in audit["partitions"] if each["view"] == "airport_day"]
    assert sorted((each["topic"], each["partition"]) for each in of_view) == [
        (f"{project.name}.{event}", partition) for event in ("arrived", "departed") for partition in (0, 1)
    ]
    assert sum(each["applied"] for each in of_view) == 70


def topics_of(answer: Mapping[str, Any]) -> set[str]:
    """Return the topics that an answer contains."""
    return {each["topic"] for each in answer["positions"]}
