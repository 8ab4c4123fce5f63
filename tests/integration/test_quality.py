"""``headrace models show`` on real servers: scores of the log, measured by the roles as a user runs them."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from agents.transport.kafka import KafkaLog
from definitions.declared import ModelDefinition
from headrace.loading import load_app
from online_models.progress import rank_auc
from streams import topics
from streams.messages import encode
from tests.integration.test_commands import headrace, log_of, running, wait_until
from tests.learning import START_MS, prediction

pytestmark = [pytest.mark.kafka, pytest.mark.redis]

APP = """
from datetime import datetime
from river.linear_model import LogisticRegression
from river.optim import SGD
from river.preprocessing import StandardScaler
import headrace as hr

__app_name__ = "{name}"

class Arrived(hr.Event, topic="{name}.arrived", id="flight_id", at="arrived_at"):
    flight_id: str
    delay_min: float
    arrived_at: datetime

class Late(hr.Model, version=1, segments={{"carrier": ("UA",)}}):
    features = [hr.request("distance", float), hr.request("carrier", str)]
    label = hr.Label(Arrived, key="flight_id", value=Arrived.delay_min > 15, within="24h")
    online = hr.river(lambda: StandardScaler() | LogisticRegression())
    tuned = hr.search(
        lambda lr: StandardScaler() | LogisticRegression(optimizer=SGD(lr)), {{"lr": (0.3, 0.1, 0.01)}}, examples=60
    )
    route = hr.Route(champion="online", shadow=["tuned"])
"""
DAY_MS = 86_400_000
FLIGHTS = 240
PAIRS = [((number * 37 % 100) / 100, number % 10 < number * 37 % 100 / 10) for number in range(FLIGHTS)]
_DEADLINE_S = 180.0


@pytest.fixture
def project(tmp_path: Path, unique: str, kafka: str, redis_url: str) -> Path:
    """Return a user's project that works on the session's servers."""
    (tmp_path / "app.py").write_text(APP.format(name=unique))
    (tmp_path / "pyproject.toml").write_text(
        f'[tool.headrace]\napp = "app"\nredis = "{redis_url}"\nadmin_port = 0\nkafka = "{kafka}"\n'
    )
    return tmp_path


async def predict(kafka: str, namespace: str, model: ModelDefinition) -> None:
    """Log predictions over two days, as the scoring role does."""
    log = KafkaLog(kafka)
    producer, outcomes = log.producer(), topics.outcomes(namespace, model)
    asked = [
        prediction(
            model,
            number,
            f"F{number}",
            START_MS + number * 2 * DAY_MS // FLIGHTS,
            vector=[float(number), "UA" if number % 3 else "AA"],
            scores={"online": score, "tuned": 1 - score},
            release="b" * 64,
        )
        for number, (score, _) in enumerate(PAIRS)
    ]
    await asyncio.gather(
        *(producer.produce(outcomes, encode(each), key=f"F{n}".encode()) for n, each in enumerate(asked))
    )
    await log.close()


def arrivals() -> str:
    """Return a label for all but every tenth flight, and arrivals of nobody ten days later."""
    lines = [
        {
            "flight_id": f"F{number}",
            "delay_min": 60.0 if is_late else 0.0,
            "arrived_at": START_MS + number * 2 * DAY_MS // FLIGHTS + 3_600_000,
        }
        for number, (_, is_late) in enumerate(PAIRS)
        if number % 10
    ]
    later = [{"flight_id": f"N{n}", "delay_min": 0.0, "arrived_at": START_MS + 10 * DAY_MS} for n in range(60)]
    return "".join(json.dumps(each) + "\n" for each in lines + later)


def shown(project: Path) -> dict[str, Any]:
    """Return what `headrace models show` answers when every horizon has passed."""
    until_s = time.monotonic() + _DEADLINE_S
    while True:
        told = headrace(project, "models", "show", "late", "--slices", "--json")
        assert told.returncode == 0, told.stderr
        answer: dict[str, Any] = json.loads(told.stdout)
        final = answer["learners"].get("online", {}).get("slices", {}).get("all", {}).get("final")
        if final is not None and final["predicted"] == FLIGHTS:
            return {**answer, "text": told.stderr}
        assert time.monotonic() < until_s, told.stdout
        time.sleep(0.5)


def test_learners_are_shown_as_they_were_served(project: Path, unique: str, kafka: str) -> None:
    """Nothing before there is something; then measures of all pairs, slices, and what the search has found."""
    sys.path.insert(0, str(project))
    model = load_app("app").model("late")
    with running(project, "learning", "monitoring"):
        wait_until(lambda: log_of(project).count("metrics and health on") == 2, project)  # then its topics are there
        asyncio.run(predict(kafka, unique, model))
        (project / "arrivals.jsonl").write_text(arrivals())
        published = headrace(project, "publish", f"{unique}.arrived", "arrivals.jsonl")
        assert published.returncode == 0, published.stderr

        answer = shown(project)

    known = [pair for number, pair in enumerate(PAIRS) if number % 10]
    online, tuned = (answer["learners"][name]["slices"]["all"]["final"] for name in ("online", "tuned"))
    assert (online["matured"], online["mark"], online["coverage"]) == (len(known), "final", 0.9)
    assert online["measures"]["auc"] == pytest.approx(rank_auc(*zip(*known, strict=True)), abs=5e-3)
    assert tuned["measures"]["log_loss"] > online["measures"]["log_loss"]
    segment = answer["learners"]["online"]["slices"]["carrier=UA"]["final"]
    assert segment["matured"] == sum(number % 3 > 0 and number % 10 > 0 for number in range(FLIGHTS))
    assert "log loss" in answer["text"]
    assert answer["searches"]["tuned"]["settings"] == 3
    assert answer["searches"]["tuned"]["is_over"]
    assert "proposed as challenger of online" in answer["text"]


def test_a_model_that_is_not_there_is_a_line(project: Path) -> None:
    told = headrace(project, "models", "show", "lat")

    assert told.returncode == 1
    assert "late" in told.stderr
    assert "Traceback" not in told.stderr
