"""kill -9 of the features role at random moments of 200,000 events, three times: nothing lost or counted twice."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Message, TopicPartition

from streams.store import Question
from streams.store.redis import RedisStore

pytestmark = [pytest.mark.kafka, pytest.mark.redis, pytest.mark.chaos]

EVENTS, KILLS, USERS = 200_000, 3, 2_000
START_MS = 1_360_000_000_000
APP = """
from datetime import datetime
import headrace as hr

__app_name__ = "{name}"

class Sale(hr.Event, topic="{name}.sales", id="sale", at="at", disorder="1m", key="user"):
    sale: int
    user: str
    shop: str | None
    amount: float
    at: datetime

class Users(hr.Features, on=Sale, by="user", version=1):
    sales  = hr.count().over("10m", "1h", "7d")
    amount = hr.sum(Sale.amount).over("10m", "1h", "7d")

class Shops(hr.Features, on=Sale, by="shop", version=1):
    sales = hr.count().over("10m")
    last  = hr.last(Sale.amount).over("1h")
"""
DEADLINE_S = 180.0


@pytest.fixture
def project(tmp_path: Path, unique: str, kafka: str, redis_url: str) -> Path:
    (tmp_path / "app.py").write_text(APP.format(name=unique))
    (tmp_path / "pyproject.toml").write_text(
        f'[tool.headrace]\napp = "app"\nredis = "{redis_url}"\nadmin_port = 0\nkafka = "{kafka}"\n'
    )
    return tmp_path


@pytest.fixture
def store(redis_url: str, unique: str) -> Iterator[RedisStore]:
    store = RedisStore(redis_url, unique)
    yield store
    store.close()


def test_nothing_is_lost_or_counted_twice(project: Path, unique: str, kafka: str, store: RedisStore) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201  # shown where the test fails
    chance = random.Random(seed)
    lines, by_user, dead = sales(chance)
    said = headrace(project, "publish", f"{unique}.sales", "-", given=lines)
    assert said.returncode == 0, said.stderr
    rows = [f"{view}.v1" for view in ("users", "shops")]

    killed = 0
    with running(project) as supervisor:
        for moment in sorted(chance.randrange(1_000, EVENTS * 9 // 10) for _ in range(KILLS)):
            wait_until(partial(is_at, moment, store, project, rows), supervisor, project)
            killed = child_of(supervisor.pid, other_than=killed)
            os.kill(killed, signal.SIGKILL)
        wait_until(partial(is_at, EVENTS, store, project, rows), supervisor, project)
        # The last kill may have come when all was written: a supervisor that is stopped meanwhile does not tell of it.
        told = "features ended by SIGKILL"
        wait_until(lambda: log_of(project).count(told) == KILLS, supervisor, project)
        supervisor.terminate()
        assert supervisor.wait(DEADLINE_S) == 0, log_of(project)

    audit = answered(headrace(project, "audit", "--json"))
    assert (audit["lost"], audit["counted_twice"], audit["problems"]) == (0, 0, [])
    assert sum(each["read"] for each in audit["partitions"]) == 2 * EVENTS
    assert sum(each["dead"] for each in audit["intakes"]) == len(dead)
    for user, (count, cents) in sorted(by_user.items())[:5]:
        values = answered(
            headrace(project, "features", "get", "users", user, "--as-of", str(START_MS + EVENTS), "--json")
        )
        assert values["values"]["sales_7d"] == count
        assert round(values["values"]["amount_7d"] * 100) == cents
    assert {offset_of(letter) for letter in records_of(kafka, f"{unique}.{unique}.sales.dlq")} == offsets_of_dead(
        kafka, f"{unique}.sales"
    )


def sales(chance: random.Random) -> tuple[bytes, dict[str, tuple[int, int]], list[int]]:
    """Return lines of sales, one in a hundred unusable; what each user's sales come to, and which are dead."""
    counts, cents, dead, lines = Counter[str](), Counter[str](), list[int](), list[bytes]()
    for number in range(EVENTS):
        user, shop, paid = f"u{chance.randrange(USERS)}", f"s{chance.randrange(50)}", chance.randrange(10_000)
        late_ms = chance.choice((0, 0, 0, 0, 90_000))
        sale: dict[str, Any] = {"sale": number, "user": user, "shop": shop, "amount": paid / 100}
        sale["at"] = START_MS + number - late_ms
        if number % 100 == 0:
            sale["amount"] = "much"
            dead.append(number)
        else:
            counts[user] += 1
            cents[user] += paid
        if number % 50 == 1:
            sale["shop"] = None
        lines.append(json.dumps(sale).encode())
    return b"\n".join(lines), {user: (counts[user], cents[user]) for user in counts}, dead


@contextmanager
def running(project: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run the role under its supervisor."""
    with (project / "run.log").open("wb") as log:
        command = [sys.executable, "-m", "headrace", "run", "features"]
        supervisor = subprocess.Popen(command, cwd=project, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield supervisor
    finally:
        supervisor.terminate()
        supervisor.wait(DEADLINE_S)


def child_of(pid: int, *, other_than: int) -> int:
    """Return the process that the supervisor has running, as soon as it is another one: that one may be dying still."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    until = time.monotonic() + DEADLINE_S
    while not (found := [each for each in map(int, children.read_text().split()) if each != other_than]):
        assert time.monotonic() < until
        time.sleep(0.01)
    return found[0]


def is_at(moment: int, store: RedisStore, project: Path, views: list[str]) -> bool:
    """Return whether every view accounts for so many records."""
    keys = keys_of(project)
    answer = store.read(Question(folds=[keys[view] for view in views]), timeout_ms=5_000)
    return min(sum(stored.row.read for stored in found.values()) for found in answer.rows) >= moment


def keys_of(project: Path) -> dict[str, str]:
    """Return the view keys of the project's app by name and version."""
    if project not in _KEYS:
        code = "import app; print(*(v.definition.key for v in (app.Users, app.Shops)))"
        said = subprocess.run([sys.executable, "-c", code], cwd=project, capture_output=True, text=True, check=True)
        _KEYS[project] = {key.rpartition(".")[0]: key for key in said.stdout.split()}
    return _KEYS[project]


_KEYS: dict[Path, dict[str, str]] = {}


def headrace(project: Path, *arguments: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "headrace", *arguments]
    return subprocess.run(command, cwd=project, input=given, capture_output=True, check=False, timeout=DEADLINE_S)


def answered(said: subprocess.CompletedProcess[bytes]) -> dict[str, Any]:
    assert said.returncode == 0, said.stderr.decode()
    answer: dict[str, Any] = json.loads(said.stdout)
    return answer


def offset_of(letter: Message) -> tuple[int, int]:
    """Return the (partition, offset) that a dead letter came from."""
    headers = dict(letter.headers() or ())
    return int(headers["dlq.partition"] or b""), int(headers["dlq.offset"] or b"")


def offsets_of_dead(kafka: str, topic: str) -> set[tuple[int, int]]:
    """Return the (partition, offset) of every unusable record in the source topic."""
    return {
        (message.partition() or 0, message.offset() or 0)
        for message in records_of(kafka, topic)
        if b'"much"' in (message.value() or b"")
    }


def records_of(kafka: str, topic: str) -> list[Message]:
    """Return everything in a topic."""
    reader = Consumer({"bootstrap.servers": kafka, "group.id": topic, "enable.auto.commit": False})
    try:
        partitions = reader.list_topics(topic, timeout=60).topics[topic].partitions
        spans = [TopicPartition(topic, index, 0) for index in partitions]
        expected = sum(reader.get_watermark_offsets(span, timeout=60)[1] for span in spans)
        reader.assign(spans)
        found: list[Message] = []
        until = time.monotonic() + DEADLINE_S
        while len(found) < expected and time.monotonic() < until:
            found += [message for message in reader.consume(10_000, 0.2) if message.error() is None]
    finally:
        reader.close()
    return found


def log_of(project: Path) -> str:
    return (project / "run.log").read_text()


def wait_until(condition: Callable[[], bool], supervisor: subprocess.Popen[bytes], project: Path) -> None:
    until = time.monotonic() + DEADLINE_S
    while not condition():
        assert supervisor.poll() is None, log_of(project)
        assert time.monotonic() < until, log_of(project)
        time.sleep(0.01)
