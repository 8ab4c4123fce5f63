"""The project that scoring is measured on, as a user would have it: ten features of three views, a champion, a shadow.

Payments of a day, up to now, by skewed cards; some are settled as fraud. `Scored.fill` publishes them, `Scored.train`
makes a release by ``headrace batch train``, and `Scored.running` is ``headrace run ROLE…``.
"""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

from streams import topics
from streams.messages import Deployment, encode
from streams.store import Question
from streams.store.redis import RedisStore
from tests.bench.card_features import until
from tests.bench.folder_project import FolderProject, written
from tests.bench.local_kafka import say
from tests.bench.payments import COUNTRIES, Payments, Produced, value_of
from tests.bench.processes import descent

MODEL, CHAMPION, SHADOW = "fraud", "offline", "online"
DAY_MS = 24 * 3_600_000
DISORDER_MS = 5_000

_APP = """
from datetime import datetime

from river.linear_model import LogisticRegression
from river.preprocessing import StandardScaler

import headrace as hr

__app_name__ = "{name}"

class Payment(hr.Event, topic="{name}.payments", id="id", at="at", disorder="5s", key="card"):
    id: str
    card: str
    amount: float
    merchant: str
    country: str
    at: datetime

class Settled(hr.Event, topic="{name}.settled", id="payment", at="at", disorder="1m", key="payment"):
    payment: str
    fraud: bool
    at: datetime

class Cards(hr.Features, on=Payment, by="card", version=1):
    n = hr.count().over("10m", "1h", "24h")
    spent = hr.sum(Payment.amount).over("1h", "24h")

class Merchants(hr.Features, on=Payment, by="merchant", version=1):
    n = hr.count().over("10m", "1h")
    spent = hr.mean(Payment.amount).over("1h")

class Countries(hr.Features, on=Payment, by="country", version=1):
    n = hr.count().over("1h")
    spent = hr.mean(Payment.amount).over("1h")

class Fraud(hr.Model, version=1):
    features = [
        Cards.n["10m"], Cards.n["1h"], Cards.n["24h"], Cards.spent["1h"], Cards.spent["24h"],
        Merchants.n["10m"], Merchants.n["1h"], Merchants.spent["1h"],
        Countries.n["1h"], Countries.spent["1h"],
        hr.request("amount", float), hr.request("items", int),
    ]
    label = hr.Label(Settled, key="payment", value=Settled.fraud, within="1h")
    offline = hr.xgboost(num_boost_round={trees}, max_depth={depth}, nthread=1)
    online = hr.river(lambda: StandardScaler() | LogisticRegression())
    route = hr.Route(champion="offline", shadow=["online"])
"""
_START_S = 60.0
_CATCH_UP_S = 900.0
_TRAIN_S = 900.0


@dataclass(frozen=True)
class Past:
    """What is published before anybody asks: payments of the day up to ``end_ms``, and how they were settled."""

    end_ms: int
    count: int = 200_000
    seed: int = 7

    @cached_property
    def payments(self) -> Payments:
        """Their cards and amounts."""
        return Payments(count=self.count, seed=self.seed)

    def at_ms(self, number: int) -> int:
        """Return when a payment happened: in order, but for the seconds that it is behind its place."""
        return self.end_ms - DAY_MS + number * DAY_MS // self.count - number * 7_919 % DISORDER_MS

    def records(self) -> Iterator[Produced]:
        """Yield key and value of every payment."""
        for number, (card, cents) in enumerate(
            zip(self.payments.card.tolist(), self.payments.cents.tolist(), strict=True)
        ):
            key = b"c%05d" % card
            yield key, value_of(number, key, cents, self.at_ms(number))

    def asked(self, count: int, chance: random.Random) -> Iterator[tuple[dict[str, Any], bool]]:
        """Yield questions that were asked as payments of the last twenty hours came, in order, and whether fraud."""
        first, last = self.count // 6, self.count - self.count // 100
        for number in sorted(chance.sample(range(first, last), count)):
            amount, items = int(self.payments.cents[number]) / 100, chance.randrange(1, 9)
            merchant = number * 7_919 % 1_000
            odds = (amount - 700) / 120 + (merchant % 7 - 3) / 2 + items / 3 + chance.gauss(0, 1)
            asked = question(int(self.payments.card[number]), merchant, number, amount, items)
            yield asked | {"label_key": f"e{number:07d}", "at": self.at_ms(number)}, odds > 0


def question(card: int, merchant: int, country: int, amount: float, items: int) -> dict[str, Any]:
    """Return what a request says, but for its label key."""
    return {
        "entities": {
            "card": f"c{card:05d}",
            "merchant": f"m{merchant:03d}",
            "country": COUNTRIES[country % len(COUNTRIES)],
        },
        "inputs": {"amount": amount, "items": items},
    }


def questions(cards: Sequence[int], *, seed: int) -> Iterator[dict[str, Any]]:
    """Yield requests without end: of the cards as often as they pay, each with a label key of its own."""
    chance, run = random.Random(seed), f"{seed}-{time.time_ns():x}"
    number = 0
    while True:
        card, merchant = cards[chance.randrange(len(cards))], chance.randrange(1_000)
        asked = question(card, merchant, chance.randrange(4), chance.randrange(100, 100_000) / 100, 1 + number % 8)
        yield asked | {"label_key": f"r{run}-{number}"}
        number += 1


@dataclass(frozen=True)
class Scored(FolderProject):
    """The project, with what was published before anybody asks."""

    past: Past

    def fill(self, questions_asked: int) -> None:
        """Publish the past, and write the questions of the training beside the app."""
        asyncio.run(self.create_topics())
        publish(self.kafka, f"{self.name}.payments", self.past.records())
        settled: list[Produced] = []
        with (self.folder / "questions.jsonl").open("w") as file:
            for asked, is_fraud in self.past.asked(questions_asked, random.Random(self.past.seed)):
                file.write(json.dumps({"model": MODEL, **asked}) + "\n")
                body = {"payment": asked["label_key"], "fraud": is_fraud, "at": asked["at"] + 60_000}
                settled.append((body["payment"].encode(), json.dumps(body).encode()))
        publish(self.kafka, f"{self.name}.settled", settled)

    def train(self, *, most: int | None = None) -> str:
        """Run ``headrace batch train`` on the questions, at most so many; return the release, now in force.

        Raises:
            RuntimeError: it failed.
        """
        lines = (self.folder / "questions.jsonl").read_text().splitlines(keepends=True)[:most]
        (self.folder / "asked.jsonl").write_text("".join(lines))
        said = subprocess.run(
            [sys.executable, "-m", "headrace", "batch", "train", MODEL, "--questions", "asked.jsonl", "--json"],
            cwd=self.folder,
            env=dict(self.environment),
            capture_output=True,
            text=True,
            check=False,
            timeout=_TRAIN_S,
        )
        if said.returncode:
            raise RuntimeError(f"headrace batch train ended with {said.returncode}: {said.stderr[-1_000:]}")
        answer = json.loads(said.stdout)
        say(f"release {answer['release'][:12]} on {answer['rows']} rows: {answer['measures']}")
        release: str = answer["release"]
        return release

    def deploy(self, releases: Sequence[str], *, shadow: bool = True, every_s: float = 0.0) -> None:
        """Put releases in force one after the other."""
        producer = Producer({"bootstrap.servers": self.kafka, "linger.ms": 0})
        for release in releases:
            record = Deployment(
                model=MODEL,
                release=release,
                champion=CHAMPION,
                shadow=[SHADOW] if shadow else [],
                at_ms=time.time_ns() // 1_000_000,
            )
            producer.produce(topics.deployments(self.name), encode(record), key=MODEL.encode())
            producer.flush(10)
            time.sleep(every_s)

    @contextmanager
    def running(self, *roles: str, module: Sequence[str] = ("headrace", "run")) -> Iterator[int]:
        """Run roles; yield the pid of the process that was started. ``module`` is what Python runs."""
        with self.started(module, roles) as process:
            yield process.pid

    def pid_of(self, role: str, supervisor: int) -> int:
        """Return the process of a role, as soon as there is one.

        Raises:
            TimeoutError: there is none in a minute.
        """
        found: list[int] = []

        def appeared() -> bool:
            found[:] = [pid for pid in descent(supervisor) if f"headrace.role\0{role}\0" in _command_of(pid)]
            return bool(found)

        until(appeared, _START_S, f"the process of {role}: {self.said()[-500:]}")
        return found[0]

    def until_read(self, events: int) -> None:
        """Wait until every view accounts for so many payments."""
        store = RedisStore(self.redis, self.name)
        folds = [view.key for view in self.app.views]

        def is_read() -> bool:
            rows = store.read(Question(folds=folds), timeout_ms=5_000).rows
            return min(sum(stored.row.read for stored in found.values()) for found in rows) >= events

        try:
            until(is_read, _CATCH_UP_S, f"{events} payments read: {self.said()[-500:]}", every_s=0.2)
        finally:
            store.close()


@contextmanager
def scored_project(name: str, *, kafka: str, redis_url: str, past: Past, trees: int = 200) -> Iterator[Scored]:
    """Make the project; at the end it is gone, with its keys."""
    with written(name, _APP.format(name=name, trees=trees, depth=6), redis_url) as (folder, app):
        yield Scored(folder, name, kafka, redis_url, app, past)


def publish(bootstrap: str, topic: str, records: Iterator[Produced] | Sequence[Produced]) -> None:
    """Write records to a topic, keyed.

    Raises:
        TimeoutError: the broker did not acknowledge all of them.
    """
    settings = {"linger.ms": 20, "queue.buffering.max.messages": 1_000_000, "partitioner": "murmur2_random"}
    producer = Producer({"bootstrap.servers": bootstrap, **settings})
    for number, (key, value) in enumerate(records):
        producer.produce(topic, value, key=key)
        if number % 1_000 == 0:
            producer.poll(0)
    if producer.flush(120):
        raise TimeoutError(f"{topic}: not all records were acknowledged in 120 s")


def _command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""
