"""``headrace batch train`` against real servers: from published events and questions to a release in force."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from batch.history import KafkaHistory
from headrace.loading import load_app
from headrace.settings import read_settings
from online_models import releases
from streams.artefacts import ArtefactStore
from streams.messages import Deployment
from streams.store import Question
from streams.store.redis import RedisStore
from tests.unit.batch.flights import asked, world

pytestmark = [pytest.mark.kafka, pytest.mark.redis]

APP = """
from datetime import datetime
import headrace as hr
from river.linear_model import LogisticRegression
from river.preprocessing import StandardScaler

__app_name__ = "{name}"

class Departed(hr.Event, topic="{name}.departed", id="flight_id", at="departed_at"):
    flight_id: str
    origin: str
    delay_min: float
    departed_at: datetime

class Arrived(hr.Event, topic="{name}.arrived", id="flight_id", at="arrived_at"):
    flight_id: str
    delay_min: float
    arrived_at: datetime

class OriginTraffic(hr.Features, on=Departed, by="origin", version=1):
    delay = hr.mean(Departed.delay_min).over("1h")

class Late(hr.Model, version=1):
    features = [OriginTraffic.delay["1h"], hr.request("distance", float), hr.request("carrier", str)]
    label = hr.Label(Arrived, key="flight_id", value=Arrived.delay_min > 15, within="24h")
    online = hr.river(lambda: StandardScaler() | LogisticRegression())
    offline = hr.xgboost(objective="binary:logistic", num_boost_round=10)
    route = hr.Route(champion="offline", shadow=["online"])
"""
FLIGHTS = 120
TIMEOUT_S = 180


@pytest.fixture
def project(tmp_path: Path, unique: str, kafka: str, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a user's project on the session's servers, with a file of questions and one of something else."""
    module = unique.replace("-", "_")
    (tmp_path / f"{module}.py").write_text(APP.format(name=unique))
    (tmp_path / "pyproject.toml").write_text(
        f'[tool.headrace]\napp = "{module}"\nredis = "{redis_url}"\nkafka = "{kafka}"\n'
    )
    (tmp_path / "questions.jsonl").write_bytes(b"\n".join(world(FLIGHTS)[1]))
    (tmp_path / "bad.jsonl").write_bytes(asked(0, flight="f", inputs={}))
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.fixture
def published(kafka: str, unique: str) -> None:
    """Publish the events that the questions are about."""
    admin, producer = AdminClient({"bootstrap.servers": kafka}), Producer({"bootstrap.servers": kafka})
    for topic in ("departed", "arrived"):
        name = f"{unique}.{topic}"
        admin.create_topics([NewTopic(name, 2, 1)])[name].result(TIMEOUT_S)
        for index, values in enumerate(world(FLIGHTS)[0].topics[f"flights.{topic}"]):
            for value in values:
                producer.produce(name, value, partition=index)
    assert producer.flush(TIMEOUT_S) == 0


def headrace(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "headrace", *arguments]
    return subprocess.run(  # our own command
        command, cwd=project, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )


@pytest.mark.usefixtures("published")
def test_a_model_is_trained_on_what_was_published_and_put_in_force(project: Path, unique: str, kafka: str) -> None:
    done = headrace(project, "batch", "train", "late", "--questions", "questions.jsonl", "--json")

    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["model"], answer["rows"], answer["asked"]) == ("late", FLIGHTS, FLIGHTS)

    settings = read_settings(project)
    model = load_app(settings.app or "").model("late")
    release = releases.load(answer["release"], ArtefactStore(settings.artefacts).get, model)
    assert set(release.scorers) == {"online", "offline"}

    history = KafkaHistory(kafka)
    [deployments] = history.partitions(f"{unique}.deployments")
    [batch] = history.read(deployments, *history.bounds(deployments))
    deployed = msgspec.json.decode(batch.records[-1].value() or b"", type=Deployment)
    assert (deployed.model, deployed.release, batch.records[-1].key()) == ("late", answer["release"], b"late")

    store = RedisStore(settings.redis or "", unique)
    [pointer] = store.read(Question(pointers=["model.late.v1.online"])).pointers
    store.close()
    assert pointer is not None
    assert (pointer.generation, pointer.digest) == (1, release.scorers["online"].digest)


def test_a_file_that_holds_no_questions_ends_in_one_line(project: Path) -> None:
    done = headrace(project, "batch", "train", "late", "--questions", "bad.jsonl", "--json")

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "headrace: cannot read questions: line 1: $.inputs.distance: expected a value, got nothing\n"


def test_kafka_that_does_not_answer_ends_in_one_line_and_exit_code_3(project: Path) -> None:
    text = (project / "pyproject.toml").read_text()
    lines = [line if not line.startswith("kafka") else 'kafka = "127.0.0.1:1"' for line in text.splitlines()]
    (project / "pyproject.toml").write_text("\n".join(lines))

    done = headrace(project, "batch", "train", "late", "--questions", "questions.jsonl")

    assert done.returncode == 3
    assert done.stderr.splitlines()[-1].startswith("headrace: cannot read history: ")
