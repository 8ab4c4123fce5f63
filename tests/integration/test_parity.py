"""``headrace parity`` on real servers: live roles, late and unordered events; then a cell that nobody should trust."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import msgspec
import pytest

from agents.client import ScoringClient
from streams.cells import COUNTED, SEALED, CellCodec, CellLayout
from streams.messages import Prediction, ScoreReply
from streams.records import Partition
from streams.store import Cell, Link, Question, RowKey
from streams.store.redis import RedisStore
from tests.apps.project import AT_MS, DEADLINE_S, MINUTE_MS, QUESTION, Project, departed, write_project

pytestmark = [pytest.mark.kafka, pytest.mark.redis]

ORIGINS = ("JFK", "LGA", "EWR")
TIMEOUT_MS = 20_000
SHARED_MINUTES = (0, -3, 12, 5, 40, 1, 70, 2, 100, 0, 30)
"""How far before the time asked about the events are: out of order, some past the declared disorder of 15 min."""


@pytest.fixture
def project(tmp_path: Path, unique: str, kafka: str, redis_url: str) -> Project:
    return write_project(tmp_path, unique, kafka=kafka, redis=redis_url)


def publish(project: Project, numbers: range) -> None:
    """Publish departures of three origins, each in the origin's own partition."""
    for number in numbers:
        origin = ORIGINS[number % len(ORIGINS)]
        at_ms = AT_MS - SHARED_MINUTES[number % len(SHARED_MINUTES)] * MINUTE_MS
        value = departed(number, origin=origin, delay_min=0.1 * number, departed_at=at_ms)
        project.send(f"{project.name}.departed", value, key=origin.encode())


def ask(project: Project, numbers: Sequence[int]) -> list[ScoreReply]:
    """Ask about the three origins in turn."""

    async def asked() -> list[ScoreReply]:
        async with ScoringClient(project.name, kafka=project.kafka) as client:
            about = {name: value for name, value in QUESTION.items() if name not in {"model", "entities", "label_key"}}
            return list(
                await asyncio.gather(
                    *(
                        client.score(
                            "late",
                            **about,
                            entities={"origin": ORIGINS[number % len(ORIGINS)]},
                            label_key=f"F{number}",
                            timeout_ms=TIMEOUT_MS,
                        )
                        for number in numbers
                    )
                )
            )

    return asyncio.run(asked())


def parity(project: Project, code: int, *arguments: str) -> Mapping[str, Any]:
    """Return what the command answers."""
    said = project.command("parity", "late", "--json", *arguments)
    assert said.returncode == code, said.stdout + said.stderr
    answer: Mapping[str, Any] = json.loads(said.stdout)
    return answer


def logged(project: Project) -> list[Prediction]:
    """Return the predictions in the log."""
    records = project.records(f"{project.name}.late.v1.outcomes")
    return [msgspec.json.decode(each.value() or b"", type=Prediction) for each in records]


def corrupt(project: Project, redis_url: str, origin: str) -> None:
    """Count one flight more in an origin's cell, as no engine would."""
    [view] = project.model.views
    [source] = view.sources
    store = RedisStore(redis_url, project.name)
    try:
        [cells] = store.read(Question(cells=[(source.key, origin)]), timeout_ms=5_000).cells
        [(name, cell)] = cells.items()
        topic_id, _, index = name.rpartition("/")
        key = RowKey(source.key, Partition(source.event.topic, int(index), topic_id))
        layout = CellLayout(source)
        codec, series = CellCodec(layout), layout.series[0]
        state = codec.decode(cell.state)
        # The newest tile is ahead of the time asked about; the one before it is that time's own.
        state[series.place + SEALED][COUNTED - series.width] += 1
        encoded, [stored] = codec.encode(state), store.read_rows([key])
        assert encoded is not None
        assert stored is not None
        store.write([Link(key, stored.mark, b"tampered", {origin: Cell(cell.position, encoded)})])
    finally:
        store.close()


def test_what_live_roles_served_is_proven_and_a_corrupted_cell_makes_its_own_probes_faults(
    project: Project, redis_url: str
) -> None:
    with project.running("features", "scoring"):
        project.served("features", 4)
        project.served("scoring", 2)
        project.deploy()
        replies = []
        for turn in range(4):
            publish(project, range(30 * turn, 30 * turn + 30))
            replies += ask(project, range(15 * turn, 15 * turn + 15))
        project.until(lambda: project.metric("features", "row_records", fold="intake") == 120)
        replies += ask(project, range(60, 75))
        assert {each.status for each in replies} <= {"ok", "degraded"}

        right = parity(project, 0)
        predictions = logged(project)
        half = parity(project, 0, "--sample", "0.5")
        corrupt(project, redis_url, "LGA")
        ask(project, range(75, 90))
        wrong = parity(project, 1)

    assert (right["probes"], right["equal"], right["unequal"]) == (75, 75, 0)
    assert right["late"] > 0, "events of the past came after the first questions"
    assert sum(right["skipped"].values()) == 0
    assert sum(each.ages_ms[0] is not None for each in predictions) > 0, "what was proven has ages"
    assert {len(each.ages_ms) for each in predictions} == {len(project.model.inputs)}
    assert 0 < half["probes"] < 75
    assert (wrong["probes"], wrong["fault"], wrong["version"]) == (90, 5, 0)
    faults = [each for each in wrong["examples"] if each["label"] == "fault"]
    assert {each["entities"]["origin"] for each in faults} == {"LGA"}
    assert {name for each in faults for name in each["differing"]} == {"origin_traffic.flights_1h"}


def test_live_traffic_is_followed_until_the_command_is_asked_to_stop(project: Project) -> None:
    with project.running("features", "scoring"):
        project.served("features", 4)
        project.served("scoring", 2)
        project.deploy()
        publish(project, range(30))
        ask(project, range(15))
        said = project.folder / "parity.log"
        with said.open("wb") as log, (project.folder / "parity.json").open("wb") as answer:
            command = [sys.executable, "-m", "headrace", "parity", "--follow", "--json"]
            follower = subprocess.Popen(command, cwd=project.folder, stdout=answer, stderr=log)
        try:
            project.until(lambda: proven(said.read_text()) == 15)
            publish(project, range(30, 60))
            ask(project, range(15, 30))
            project.until(lambda: proven(said.read_text()) == 30)
            follower.send_signal(signal.SIGTERM)
            code = follower.wait(DEADLINE_S)
        finally:
            follower.kill()
            follower.wait()

    found = json.loads((project.folder / "parity.json").read_text())
    assert (code, found["probes"], found["equal"]) == (0, 30, 30), said.read_text()


def proven(said: str) -> int:
    """Return how many probes a follower's metrics say are equal."""
    address = next((line.split()[-1] for line in said.splitlines() if "metrics on" in line), None)
    if address is None:
        return 0
    with urlopen(address, timeout=5) as page:  # noqa: S310  # a loopback address of our own
        lines = page.read().decode().splitlines()
    found = [line for line in lines if line.startswith("headrace_parity_probes_total{") and 'result="equal"' in line]
    return int(sum(float(line.rpartition(" ")[2]) for line in found))
