"""A view's second version: built beside the live one, killed half-way, compared, switched under load, switched back.

All on a real Kafka and a real Redis, while events and scoring requests keep coming.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from agents.client.blocking import SyncScoringClient
from headrace.loading import load_app
from streams.messages import ScoreReply
from streams.store import Question
from streams.store.redis import RedisStore
from tests.apps.project import AT_MS, DEADLINE_S, QUESTION, Project, departed, write_project

pytestmark = [pytest.mark.kafka, pytest.mark.redis]

PAST = 110_000
"""Events of one partition before the second version is declared: further than a worker goes back for it."""
TIMEOUT_MS = 30_000
PAUSE_S = 0.02

_SECOND = """
class NextTraffic(hr.Features, name="origin_traffic", on=Departed, by="origin", version=2):
    flights = hr.count().over("1h", "24h")
    delay = hr.sum(Departed.delay_min).over("24h")

"""


@pytest.fixture
def project(tmp_path: Path, unique: str, kafka: str, redis_url: str) -> Project:
    return write_project(tmp_path, unique, kafka=kafka, redis=redis_url)


class Traffic(threading.Thread):
    """Events into both partitions and a request after the other, until it is stopped; every reply is kept."""

    def __init__(self, project: Project, client: SyncScoringClient) -> None:
        super().__init__(name="traffic")
        self.replies: list[ScoreReply] = []
        self.events = 0
        self._project, self._client = project, client
        self._stop_asked = threading.Event()

    def run(self) -> None:
        question = {name: value for name, value in QUESTION.items() if name != "model"}
        while not self._stop_asked.wait(PAUSE_S):
            for partition in (0, 1):
                event = departed(self.events, flight_id=f"L{self.events}", departed_at=AT_MS - 1_000)
                self._project.send(f"{self._project.name}.departed", event, partition=partition)
                self.events += 1
            self.replies.append(self._client.score("late", **question, timeout_ms=TIMEOUT_MS))

    def end(self) -> None:
        self._stop_asked.set()
        self.join()

    def versions_of_more(self, count: int = 10) -> set[str]:
        """Return the view keys of that many replies to requests that are asked from now on."""
        first = len(self.replies) + 1
        until_s = time.monotonic() + DEADLINE_S
        while len(self.replies) < first + count:
            assert time.monotonic() < until_s
            time.sleep(PAUSE_S)
        return {key for reply in self.replies[first:] for key in reply.views}


@contextmanager
def traffic_of(project: Project) -> Iterator[Traffic]:
    with SyncScoringClient(project.name, kafka=project.kafka) as client:
        traffic = Traffic(project, client)
        traffic.start()
        try:
            yield traffic
        finally:
            traffic.end()


def answer_of(project: Project, *arguments: str, code: int = 0) -> Mapping[str, Any]:
    """Return what a command answers; its exit code is ``code``."""
    said = project.command("features", *arguments, "--json")
    assert said.returncode == code, said.stdout + said.stderr + project.said()[-2_000:]
    answer: Mapping[str, Any] = json.loads(said.stdout)
    return answer


def kill_a_backfill_half_way(project: Project, store: RedisStore, fold: str) -> int:
    """Start a backfill and kill it as soon as it has written something; return how far it had come."""
    command = [sys.executable, "-m", "headrace", "features", "backfill", "origin_traffic"]
    backfill = subprocess.Popen(command, cwd=project.folder, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    until_s = time.monotonic() + DEADLINE_S
    while not (reached := _reached(store, fold)):
        assert backfill.poll() is None
        assert time.monotonic() < until_s
        time.sleep(0.001)
    backfill.kill()
    assert backfill.wait() == -9
    return reached


def _reached(store: RedisStore, fold: str) -> int:
    [rows] = store.read(Question(folds=[fold])).rows
    return max((stored.row.next for stored in rows.values()), default=0)


def test_a_second_version_is_built_compared_and_switched_to_under_load(
    project: Project, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = project.folder / "app.py"
    source = app.read_text()
    with project.running("features"):
        events = [departed(number % 3_000, origin=f"O{number % 50}", flight_id=f"P{number}") for number in range(PAST)]
        for low in range(0, PAST, 10_000):
            project.send(f"{project.name}.departed", *events[low : low + 10_000], partition=0)
        project.until(lambda: project.metric("features", "events_decoded_total") == PAST)
    app.write_text(source.replace("class Late(", f"{_SECOND}class Late("))
    first, second = _keys(project, monkeypatch)
    store = RedisStore(redis_url, project.name)
    with project.running("features", "scoring"):
        project.served("features", 4)
        project.served("scoring", 2)
        project.deploy()
        with traffic_of(project) as traffic:
            before = traffic.versions_of_more()
            refused = answer_of(project, "switch", "origin_traffic", "--to", "2", code=1)
            killed_at = kill_a_backfill_half_way(project, store, second)
            resumed = answer_of(project, "backfill", "origin_traffic")
            compared = answer_of(project, "compare", "origin_traffic", "--from", "1", "--to", "2")
            switched = answer_of(project, "switch", "origin_traffic", "--to", "2")
            after = traffic.versions_of_more()
            shown = project.features("JFK")
            kept = project.command("features", "drop", "origin_traffic", "--version", "2")
            back = answer_of(project, "switch", "origin_traffic", "--back")
            again = traffic.versions_of_more()
            forth = answer_of(project, "switch", "origin_traffic", "--to", "2")
        audit = project.audit()
        dropped = answer_of(project, "drop", "origin_traffic", "--version", "1")
        shown_last = project.features("O1")
    left = list(store.entities(first))
    store.close()

    assert (before, after, again) == ({first}, {second}, {first})
    assert {(each["next"], each["kept"]) for each in refused["lacking"]} == {(None, False)}
    assert refused["in_force"] == first
    assert 0 < killed_at < PAST
    assert (resumed["started"], resumed["partitions"], resumed["taken_up"]) == (0, 2, True)
    assert 0 < resumed["records"] <= PAST + traffic.events
    assert (compared["equal"], compared["unsettled"], compared["compared"]) == (True, 0, 51)
    assert {each["different"] for each in compared["features"]} == {0}
    assert (switched["in_force"], switched["before"], switched["generation"]) == (second, first, 1)
    assert (back["in_force"], back["generation"], forth["generation"]) == (first, 2, 3)
    assert shown["version"] == shown_last["version"] == 2
    assert kept.returncode == 1
    assert "cannot drop origin_traffic version 2" in kept.stderr
    assert {(reply.status, tuple(reply.degraded), len(reply.views)) for reply in traffic.replies} == {("ok", (), 1)}
    assert (audit["lost"], audit["counted_twice"]) == (0, 0)
    applied = {
        version: sum(each["applied"] for each in audit["partitions"] if each["version"] == version)
        for version in (1, 2)
    }
    assert applied == {1: PAST + traffic.events, 2: PAST + traffic.events}
    assert (dropped["cells"], left) == (51, [])


def _keys(project: Project, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """Return the keys of both versions as the project's module declares them."""
    monkeypatch.chdir(project.folder)
    monkeypatch.syspath_prepend(str(project.folder))
    first, second = load_app("app").versions("origin_traffic")
    return first.key, second.key
