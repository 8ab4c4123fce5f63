"""A label becomes weights that answer within seconds, and people stop, undo and begin learning anew, by command."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from agents.client import ScoringClient
from agents.transport.kafka import KafkaLog
from streams.messages import ScoreReply
from tests.apps.project import AT_MS, DEADLINE_S, MINUTE_MS, QUESTION, Project, write_project

pytestmark = [pytest.mark.kafka, pytest.mark.redis]

LABELS = 8
TIMEOUT_MS = 20_000


@pytest.fixture
def project(tmp_path: Path, kafka: str, redis_url: str, unique: str) -> Project:
    return write_project(tmp_path, unique, kafka=kafka, redis=redis_url)


def answered(said: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """Return the command's one JSON object."""
    assert said.returncode == 0, said.stdout + said.stderr
    answer: dict[str, Any] = json.loads(said.stdout)
    return answer


def models(project: Project, verb: str, *arguments: str) -> dict[str, Any]:
    return answered(project.command("models", verb, "late", "online", *arguments, "--json"))


def version(reply: ScoreReply) -> str:
    [found] = [each.digest for each in reply.versions if each.learner == "online"]
    return found


class Asking:
    """Asks the model about flights, lets them arrive, and looks whose weights answer."""

    def __init__(self, project: Project, client: ScoringClient) -> None:
        self._project = project
        self._client = client
        self._flights = 0

    async def ask(self, label_key: str = "nobody") -> ScoreReply:
        question = {name: value for name, value in QUESTION.items() if name != "model"}
        return await self._client.score("late", **{**question, "label_key": label_key}, timeout_ms=TIMEOUT_MS)

    async def label(self) -> None:
        """Ask about a flight, let it arrive, and wait until other weights answer than before."""
        self._flights += 1
        name = f"L{self._flights}"
        before = version(await self.ask(name))
        arrival = {"flight_id": name, "delay_min": 30.0 * (self._flights % 2), "arrived_at": AT_MS + MINUTE_MS}
        await asyncio.to_thread(
            self._project.send, f"{self._project.name}.arrived", json.dumps(arrival).encode(), key=name
        )
        async with asyncio.timeout(DEADLINE_S):
            while version(await self.ask()) == before:  # noqa: ASYNC110  # a reply sets no event
                await asyncio.sleep(0.005)


async def test_labels_serve_within_seconds_and_learning_is_steered_by_command(project: Project) -> None:
    with project.running("scoring", "learning"):
        await asyncio.to_thread(project.deploy)
        log = KafkaLog(project.kafka)
        async with ScoringClient(project.name, log=log) as client:
            asking = Asking(project, client)
            for _ in range(LABELS):
                await asking.label()
            assert project.metric("scoring", "weights_lag_seconds_count", learner="online") >= LABELS

            steered = await asyncio.to_thread(steer, project)
            assert version(await asking.ask()) == steered[:12]
            await asking.label()
        await log.close()

    history = models(project, "snapshots")["snapshots"]
    assert [each["learned"] for each in history[-2:]] == [1, 2]


def steer(project: Project) -> str:
    """Pause, resume, begin anew, and go back to the first snapshot; return the digest then in force."""
    assert models(project, "pause") == {"model": "late", "learner": "online", "paused": True, "changed": True}
    project.until(lambda: project.metric("learning", "learner_paused") == 1)
    stands = models(project, "snapshots")
    assert (stands["paused"], stands["position"], stands["end"]) == (True, LABELS, LABELS)
    assert models(project, "resume")["changed"]
    project.until(lambda: project.metric("learning", "learner_paused") == 0)
    first = stands["snapshots"][0]

    reset = models(project, "reset")
    assert (reset["generation"], reset["position"]) == (1, LABELS)

    back = models(project, "rollback", "--to", first["digest"][:16])

    assert (back["to"], back["learned"], back["position"]) == (first["digest"], 1, LABELS)
    assert back["generation"] == 2
    return str(back["digest"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("pause", "later", "online"), "cannot find model: expected one of late, got 'later'; did you mean 'late'?"),
        (("reset", "late", "offline"), "cannot find online learner of late: expected one of online, got 'offline'"),
    ],
)
def test_what_is_not_declared_is_said(project: Project, arguments: tuple[str, ...], said: str) -> None:
    given = project.command("models", *arguments)

    assert (given.returncode, said in given.stderr) == (2, True), given.stderr
