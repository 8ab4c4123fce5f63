"""Releases and routes changed at run time, under load: two scoring processes take them up, and no reply mixes them."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import msgspec
import pytest

from agents.client import ScoringClient
from online_models.releases import read_manifest
from streams.artefacts import ArtefactStore
from streams.messages import Prediction, ScoreReply, Version
from tests.apps.project import DEADLINE_S, Project, write_project
from tests.builders import declare
from tests.releases import release

pytestmark = [pytest.mark.kafka, pytest.mark.redis]

SEEN_WITHIN_MS = 2_000
TIMEOUT_MS = 20_000
EVERY_S = 0.01
PARTITIONS = 2
SOURCE = """
from datetime import datetime
import headrace as hr

__app_name__ = "{name}"

class Departed(hr.Event, topic="{name}.departed", id="flight_id", at="departed_at", disorder="15m", key="origin"):
    flight_id: str
    origin: str
    departed_at: datetime

class Arrived(hr.Event, topic="{name}.arrived", id="flight_id", at="arrived_at", disorder="1h"):
    flight_id: str
    delay_min: float
    arrived_at: datetime

class OriginTraffic(hr.Features, on=Departed, by="origin", version=1):
    flights = hr.count().over("1h")

class Late(hr.Model, version=1):
    features = (OriginTraffic.flights["1h"], hr.request("distance", float))
    label = hr.Label(Arrived, key="flight_id", value=Arrived.delay_min > 15, within="24h", otherwise="drop")
    offline = hr.xgboost()
    next = hr.xgboost(max_depth=3)
    both = hr.ensemble("offline", "next")
    route = hr.Route(champion="both")
"""


@dataclass
class Load:
    """Requests at a steady rate, and what came of them with the time at which it did."""

    replies: list[tuple[float, ScoreReply]] = field(default_factory=list)
    asked: int = 0

    def first_ms(self, arm: str, partition: int, after_ms: int) -> float | None:
        """Return when the first reply of an arm came from who has a partition, None if it has not."""
        found = (at_ms for at_ms, reply in self.replies if at_ms >= after_ms and _is_of(reply, arm, partition))
        return next(found, None)


def _is_of(reply: ScoreReply, arm: str, partition: int) -> bool:
    return arm in reply.scores and reply.request_id.rpartition("@")[0].endswith(f"/{partition}")


@contextmanager
def loaded(project: Project) -> Iterator[Load]:
    """Ask all the time while the block lasts; all that was asked is answered when it ends."""
    load, stop = Load(), threading.Event()

    async def one(client: ScoringClient, number: int) -> None:
        about: dict[str, Any] = {"entities": {"origin": f"A{number % 97}"}, "inputs": {"distance": 100.0}}
        reply = await client.score("late", **about, label_key=f"F{number}", timeout_ms=TIMEOUT_MS)
        load.replies.append((time.time() * 1_000, reply))

    async def ask() -> None:
        async with ScoringClient(project.name, kafka=project.kafka) as client, asyncio.TaskGroup() as asking:
            while not stop.is_set():
                asking.create_task(one(client, load.asked))
                load.asked += 1
                await asyncio.sleep(EVERY_S)

    thread = threading.Thread(target=asyncio.run, args=(ask(),), name="load")
    thread.start()
    try:
        yield load
    finally:
        stop.set()
        thread.join(DEADLINE_S)


@pytest.fixture
def project(tmp_path: Path, unique: str, kafka: str, redis_url: str) -> Project:
    written = write_project(tmp_path, unique, kafka=kafka, redis=redis_url)
    (tmp_path / "app.py").write_text(SOURCE.format(name=unique))
    return written


@pytest.fixture
def released(project: Project) -> tuple[str, str]:
    """Return two releases of the project's model, every learner trained anew in each."""
    model = declare(SOURCE.format(name=project.name))["Late"].definition
    artefacts = ArtefactStore(project.folder / ".headrace" / "artefacts")
    first, second = (release(model, artefacts, seed=seed) for seed in (1, 2))
    return first, second


def deploy(project: Project, *arguments: str, code: int = 0) -> Mapping[str, Any]:
    said = project.command("deploy", "late", *arguments, "--json")
    assert said.returncode == code, said.stderr
    answer: Mapping[str, Any] = json.loads(said.stdout or "{}")
    return {**answer, "said": said.stderr}


def metrics(project: Project, name: str) -> list[float]:
    """Return a metric of each scoring process, summed over its labels."""
    found = []
    for address in re.findall(r"^scoring: metrics and health on (\S+)$", project.said(), re.MULTILINE):
        with urlopen(f"{address}/metrics", timeout=5) as page:  # noqa: S310  # a loopback address of our own
            lines = page.read().decode().splitlines()
        found.append(sum(float(line.split()[-1]) for line in lines if line.startswith(f"headrace_{name}{{")))
    return found


def seen_ms(project: Project, load: Load, arm: str, since_ms: int) -> list[float]:
    """Return how long after its record the first reply by an arm came from each process."""
    project.until(lambda: all(load.first_ms(arm, each, since_ms) for each in range(PARTITIONS)))
    return [(load.first_ms(arm, each, since_ms) or 0.0) - since_ms for each in range(PARTITIONS)]


def digests(project: Project, digest: str) -> set[tuple[str, str]]:
    """Return the trained versions of a release as replies and predictions name them."""
    found = read_manifest(digest, ArtefactStore(project.folder / ".headrace" / "artefacts").get).artefacts
    return {(learner, each.digest[:12]) for learner, each in found.items()}


def named(versions: Sequence[Version]) -> set[tuple[str, str]]:
    return {(each.learner, each.digest) for each in versions}


def predicted(project: Project, count: int) -> list[Prediction]:
    """Return the predictions, as soon as there are so many."""
    topic = f"{project.name}.late.v1.outcomes"
    project.until(lambda: len(project.records(topic)) == count)
    return [msgspec.json.decode(each.value() or b"", type=Prediction) for each in project.records(topic)]


@pytest.mark.alone
def test_every_executor_takes_up_a_deployment_in_two_seconds_and_no_reply_mixes_versions(
    project: Project, released: tuple[str, str]
) -> None:
    first, second = released
    steps = {
        "offline": ("--champion", "offline"),
        "next": ("--canary", "next=0.5"),
        "both": ("--release", second, "--canary", "none", "--champion", "both"),
        "next again": ("--back",),
    }
    took: dict[str, list[float]] = {}
    with project.running("scoring"), project.running("scoring"):
        project.until(lambda: metrics(project, "assigned_partitions") == [1, 1])
        deploy(project, "--release", first)
        project.until(lambda: metrics(project, "model_loads_total") == [1, 1])
        with loaded(project) as load:
            for step, options in steps.items():
                answer = deploy(project, *options)
                assert answer["changed"]
                took[step] = seen_ms(project, load, step.split()[0], answer["in_force"]["since_ms"])
        predictions = predicted(project, load.asked)

    assert max(each for both in took.values() for each in both) <= SEEN_WITHIN_MS, took
    answered = [reply for _, reply in load.replies]
    assert (len(answered), {each.status for each in answered} <= {"ok", "degraded"}) == (load.asked, True)
    of_release = {digest: digests(project, digest) for digest in released}
    seen = {digest: sum(named(each.versions) <= of_release[digest] for each in answered) for digest in released}
    assert (sum(seen.values()), min(seen.values()) > 0) == (load.asked, True), "each reply is of one release"
    assert {len(each.versions) for each in answered if "both" in each.scores} == {3}
    assert all(named(each.versions) <= of_release[each.release] for each in predictions)


def test_what_is_in_force_is_told_and_what_executors_would_refuse_is_not_sent(
    project: Project, released: tuple[str, str]
) -> None:
    first, second = released
    assert deploy(project)["in_force"] is None
    model = declare(SOURCE.format(name=project.name))["Late"].definition
    other = release(model, ArtefactStore(project.folder / ".headrace" / "artefacts"), seed=3, definition="other")

    deploy(project, "--release", first, "--fallback", "0.25")
    deploy(project, "--release", second)
    again = deploy(project, "--release", second[:12])
    wrong = [
        deploy(project, *options, code=code)["said"]
        for options, code in (
            (("--release", "f" * 64), 1),
            (("--release", other), 1),
            (("--champion", "nobody"), 2),
        )
    ]
    told = deploy(project)

    assert (again["changed"], told["changed"]) == (False, False)
    assert "nothing to change" in again["said"]
    assert [said.partition("; ")[0].strip() for said in wrong] == [
        "headrace: cannot read artefact: ffffffffffff: No such file or directory",
        f"headrace: cannot load release: {other[:12]}: definition: expected {model.digest}, got other",
        "headrace: cannot deploy: late.v1: expected route to name one of offline, next, both, got 'nobody'",
    ]
    assert [told["in_force"]["release"], *(each["release"] for each in told["before"])] == [second, first]
    assert (told["in_force"]["fallback"], told["in_force"]["champion"]) == (0.25, "both")
    assert told["in_force"]["since_ms"] >= told["before"][0]["since_ms"]
    assert f"release {second[:12]}, champion both, fallback 0.25" in told["said"]
