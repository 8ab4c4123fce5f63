"""A user's project in a folder of its own: two events, a view and a model; the command run on it, its roles watched."""

from __future__ import annotations

import functools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from confluent_kafka import Consumer, Message, Producer, TopicPartition

from definitions.declared import ModelDefinition
from headrace import servers
from streams.artefacts import ArtefactStore
from streams.messages import encode
from tests.builders import declare
from tests.releases import deployment, release

DEADLINE_S = 180.0
STOP_S = 10.0
"""What a stop may take."""

AT_MS = 1_360_000_000_000
MINUTE_MS = 60_000
QUESTION: Mapping[str, Any] = {
    "model": "late",
    "entities": {"origin": "JFK"},
    "inputs": {"distance": 2475.0, "carrier": "UA"},
    "label_key": "F1",
    "at": AT_MS,
}

_SOURCE = """
from datetime import datetime
import headrace as hr
from river.linear_model import LogisticRegression

__app_name__ = "{name}"

class Departed(hr.Event, topic="{name}.departed", id="flight_id", at="departed_at", disorder="15m", key="origin"):
    flight_id: str
    origin: str
    delay_min: float
    departed_at: datetime

class Arrived(hr.Event, topic="{name}.arrived", id="flight_id", at="arrived_at", disorder="1h"):
    flight_id: str
    delay_min: float
    arrived_at: datetime

class OriginTraffic(hr.Features, on=Departed, by="origin", version=1):
    flights = hr.count().over("1h", "24h")
    delay = hr.sum(Departed.delay_min).over("24h")

class Late(hr.Model, version=1):
    features = (
        OriginTraffic.flights["1h"],
        OriginTraffic.delay["24h"],
        hr.request("distance", float),
        hr.request("carrier", str),
    )
    label = hr.Label(Arrived, key="flight_id", value=Arrived.delay_min > 15, within="24h", otherwise="drop")
    online = hr.river(LogisticRegression)
    route = hr.Route(champion="online")
"""


@dataclass(frozen=True)
class Project:
    """A project on given servers. Its namespace is its name; its events are in ``<name>.departed`` and ``.arrived``."""

    folder: Path
    name: str
    kafka: str

    @property
    def model(self) -> ModelDefinition:
        """The model ``late`` as the project declares it."""
        found: ModelDefinition = declare(_SOURCE.format(name=self.name))["Late"].definition
        return found

    def command(self, *arguments: str, given: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        """Run one `headrace` command to its end."""
        return subprocess.run(
            [sys.executable, "-m", "headrace", *arguments],
            cwd=self.folder,
            env={**_environment(), **environment},
            input=given,
            capture_output=True,
            text=True,
            check=False,
            timeout=DEADLINE_S,
        )

    @contextmanager
    def running(self, *roles: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run roles for as long as the block lasts; yield the supervisor. What they say is `said`."""
        before = len(self.said())
        with (self.folder / "run.log").open("ab") as log:
            supervisor = subprocess.Popen(
                [sys.executable, "-m", "headrace", "run", *roles],
                cwd=self.folder,
                env=_environment(),
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            self._begun(supervisor, roles, before)
            yield supervisor
        finally:
            supervisor.terminate()
            try:
                supervisor.wait(STOP_S + 5)
            except subprocess.TimeoutExpired:
                supervisor.kill()
                supervisor.wait()

    def _begun(self, supervisor: subprocess.Popen[bytes], roles: Sequence[str], before: int) -> None:
        """Wait until every role serves its metrics; one that never does is made to say where it stands."""
        try:
            for role in roles:
                self.until(lambda role=role: f"{role}: metrics" in self.said()[before:])  # type: ignore[misc]
        except AssertionError:
            if supervisor.poll() is None:
                for pid in (*children_of(supervisor.pid).values(), supervisor.pid):
                    os.kill(pid, signal.SIGABRT)
                supervisor.wait(STOP_S)
            raise AssertionError(self.said()) from None

    def said(self) -> str:
        """Return all that the roles and their supervisors said."""
        log = self.folder / "run.log"
        return log.read_text() if log.exists() else ""

    def metric(self, role: str, name: str, **labels: str) -> float:
        """Return a metric of a role's latest process, summed over the labels that are not given; 0 if there is none."""
        addresses = re.findall(rf"^{role}: metrics and health on (\S+)$", self.said(), re.MULTILINE)
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        lines = _page(f"{addresses[-1]}/metrics").splitlines() if addresses else []
        found = [line for line in lines if re.match(rf"headrace_{name}[{{ ]", line)]
        return sum(float(line.rpartition(" ")[2]) for line in found if all(each in line for each in wanted))

    def served(self, role: str, partitions: int) -> None:
        """Wait until a role works on so many partitions."""
        self.until(lambda: self.metric(role, "assigned_partitions") == partitions)

    def deploy(self) -> None:
        """Put a small release of the model in force, and wait until a running scoring role has it."""
        digest = release(self.model, ArtefactStore(self.folder / ".headrace" / "artefacts"))
        self.send(f"{self.name}.deployments", encode(deployment(self.model, digest)))
        self.until(lambda: self.metric("scoring", "model_loads_total", learner="release", result="loaded") == 1)

    def send(self, topic: str, *values: bytes | None, **given: Any) -> None:
        """Publish values as they are, and wait for the broker to have them."""
        refused: list[object] = []
        producer = _producer(self.kafka)
        for value in values:
            producer.produce(
                topic, value, on_delivery=lambda error, _: refused.extend([error] if error else []), **given
            )
        assert producer.flush(DEADLINE_S) == 0
        assert not refused

    def records(self, topic: str) -> list[Message]:
        """Return every record of a topic, partition by partition."""
        reader = Consumer({"bootstrap.servers": self.kafka, "group.id": topic, "enable.auto.commit": False})
        try:
            partitions = reader.list_topics(topic, timeout=60).topics[topic].partitions
            ends = [reader.get_watermark_offsets(TopicPartition(topic, index), timeout=60)[1] for index in partitions]
            reader.assign([TopicPartition(topic, index, 0) for index in partitions])
            found: list[Message] = []
            until_s = time.monotonic() + DEADLINE_S
            while len(found) < sum(ends):
                assert time.monotonic() < until_s, f"{topic}: {len(found)} of {sum(ends)}"
                found += [each for each in reader.consume(1_000, 0.2) if each.error() is None]
        finally:
            reader.close()
        return sorted(found, key=lambda each: (each.partition() or 0, each.offset() or 0))

    def features(self, origin: str, as_of_ms: int = AT_MS) -> Mapping[str, Any]:
        """Return what `headrace features get` answers for an origin."""
        said = self.command("features", "get", "origin_traffic", origin, "--as-of", str(as_of_ms), "--json")
        assert said.returncode == 0, said.stderr
        answer: Mapping[str, Any] = json.loads(said.stdout)
        return answer

    def audit(self) -> Mapping[str, Any]:
        """Return what `headrace audit` answers; it must find no problem."""
        said = self.command("audit", "--json")
        assert said.returncode == 0, said.stdout + said.stderr
        answer: Mapping[str, Any] = json.loads(said.stdout)
        return answer

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition, with a deadline that shows what the roles said."""
        until_s = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < until_s, self.said()
            time.sleep(0.05)


def write_project(folder: Path, name: str, *, kafka: str, redis: str) -> Project:
    """Write a project's files into a folder."""
    (folder / "app.py").write_text(_SOURCE.format(name=name))
    (folder / "pyproject.toml").write_text(
        f'[tool.headrace]\napp = "app"\nkafka = "{kafka}"\nredis = "{redis}"\nadmin_port = 0\npartitions = 2\n'
    )
    return Project(folder, name, kafka)


def departed(number: int, **changes: Any) -> bytes:
    """Return the bytes of a departure from JFK, ``number`` seconds before `AT_MS`."""
    event = {"flight_id": f"F{number}", "origin": "JFK", "delay_min": 1.0, "departed_at": AT_MS - 1_000 * number}
    return json.dumps({**event, **changes}).encode()


def send_foreign(kafka: str, topic: str, value: bytes) -> None:
    """Publish a record with a header whose name is no UTF-8, as clients in other languages can."""
    command = [sys.executable, str(Path(__file__).with_name("foreign_producer.py")), kafka, topic]
    environment = {**os.environ, "AIOKAFKA_NO_EXTENSIONS": "1"}
    subprocess.run(command, input=value, env=environment, check=True, timeout=DEADLINE_S)


def take_redis_away(project: Project, loss: str) -> None:
    """Let a project's own Redis be ``killed`` or ``frozen``."""
    pid = servers.pids(project.folder)["redis"]
    os.kill(pid, signal.SIGKILL if loss == "killed" else signal.SIGSTOP)
    if loss == "killed":
        os.waitpid(pid, 0)


def bring_redis_back(project: Project, loss: str) -> None:
    """Undo `take_redis_away`: same address, same data."""
    if loss == "killed":
        servers.start(project.folder, only=("redis",))
    else:
        os.kill(servers.pids(project.folder)["redis"], signal.SIGCONT)


def children_of(pid: int) -> dict[str, int]:
    """Return the pids of a supervisor's roles by name."""
    found: dict[str, int] = {}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        *_, name, _ = [b"", *Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")]
        if name:  # empty for one that has just ended
            found[name.decode()] = int(child)
    return found


def _environment() -> dict[str, str]:
    """Return this process's environment without the settings that would override the project's.

    A process that is told to abort shows the stacks of its threads.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
    return {**kept, "PYTHONFAULTHANDLER": "1"}


@functools.cache
def _producer(kafka: str) -> Producer:
    return Producer({"bootstrap.servers": kafka, "message.max.bytes": 8_000_000, "log_level": 0})


def _page(url: str) -> str:
    try:
        with urlopen(url, timeout=5) as answer:  # noqa: S310  # a loopback address of our own
            text: bytes = answer.read()
            return text.decode()
    except (URLError, ConnectionError, TimeoutError):
        return ""
