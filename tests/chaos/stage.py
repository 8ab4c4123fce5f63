"""One scenario's world: a project on servers of its own, records that are known, and the row of what they come to."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition

from agents.transport.kafka import KafkaLog
from definitions.declared import AppDefinition, Source
from headrace import servers
from headrace.loading import load_app
from streams.copies import copier_fold
from streams.intake import FOLD
from streams.placement import placed
from streams.store import Question, Row
from streams.store.redis import RedisStore
from streams.topics import declared

REPOSITORY = Path(__file__).resolve().parents[2]
JARS = REPOSITORY / servers.FOLDER / "kafka" / "jars"
PARTITIONS, USERS, SHOPS = 8, 2_000, 50
START_MS = 1_360_000_000_000
DEADLINE_S = 180.0

_EVENT = """
from datetime import datetime
import headrace as hr

__app_name__ = "{name}"

class Sale(hr.Event, topic="{name}.sales", id="sale", at="at", disorder="1m", key="user"):
    sale: int
    user: str
    shop: str | None
    cents: int
    at: datetime

class Users(hr.Features, on=Sale, by="user", version=1):
    sales = hr.count().over("1h", "7d")
    cents = hr.sum(Sale.cents).over("1h", "7d")
"""
_BY_SHOP = """
class ByShop(hr.Features, on=Sale, by="shop", version=1, rekey=True):
    sales = hr.count().over("7d")
    cents = hr.sum(Sale.cents).over("7d")
"""
_SHOPS = """
class Shops(hr.Features, on=Sale, by="shop", version=1):
    sales = hr.count().over("7d")
    cents = hr.sum(Sale.cents).over("7d")
"""


class ChaosError(AssertionError):
    """A scenario did not come to where it should have come."""


def serve(folder: Path) -> servers.Servers:
    """Return servers that may be killed: those of ``folder``, started if they are not up."""
    return servers.start(folder, jars=JARS if JARS.is_dir() else None)


@dataclass
class Stage:
    """A project in ``folder`` on the servers that live in ``home``."""

    folder: Path
    home: Path
    name: str
    seed: int
    rekeyed: bool = False
    """Whether there is a view of shops that reads copies, too."""
    published: int = 0
    ends: dict[int, int] = field(default_factory=lambda: dict.fromkeys(range(PARTITIONS), 0))

    def __post_init__(self) -> None:
        """Write the project and create its topics."""
        self.chance = random.Random(self.seed)
        at = serve(self.home)
        assert at.kafka is not None
        assert at.redis is not None
        self.kafka, self.redis = at.kafka, at.redis
        self.topic = f"{self.name}.sales"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.declare(shops=True)
        (self.folder / "pyproject.toml").write_text(
            f'[tool.headrace]\napp = "app"\nredis = "{self.redis}"\nadmin_port = 0\nkafka = "{self.kafka}"\n'
            f"partitions = {PARTITIONS}\n"
        )
        self._producer = Producer({"bootstrap.servers": self.kafka, "linger.ms": 20, "log_level": 0, "acks": "all"})
        asyncio.run(self._create_topics())

    async def _create_topics(self) -> None:
        log = KafkaLog(self.kafka)
        await log.create_topics(declared(self.app(), self.name, PARTITIONS))
        [self.topic_id, *_] = [each.topic_id for each in await log.partitions(self.topic)]
        await log.close()

    def declare(self, *, shops: bool) -> None:
        """Write the author's module, with or without its second view."""
        views = _EVENT + (_SHOPS if shops else "") + (_BY_SHOP if self.rekeyed else "")
        (self.folder / "app.py").write_text(views.format(name=self.name))

    def app(self) -> AppDefinition:
        """Return the definitions as they are now, placed."""
        sys.path.insert(0, str(self.folder))
        sys.modules.pop("app", None)
        try:
            return placed(load_app("app"), self.name)
        finally:
            sys.path.remove(str(self.folder))
            sys.modules.pop("app", None)

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment of this project's processes."""
        own = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
        return {**own, "PYTHONPATH": str(REPOSITORY)}

    def headrace(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the project to its end."""
        return subprocess.run(
            [sys.executable, "-m", "headrace", *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=DEADLINE_S,
        )

    def store(self) -> RedisStore:
        """Return a connection of one's own to the project's store."""
        return RedisStore(self.redis, self.name, timeout_s=10.0)

    # -- records

    def publish(self, count: int, *, over_s: float = 0.0) -> None:
        """Publish sales, one in a hundred unusable, spread over so many seconds; return when the broker has them."""
        began_s = time.monotonic()
        for number in range(count):
            self._send(self._sale())
            if over_s and number % 100 == 0:
                while time.monotonic() - began_s < over_s * number / count:
                    self._producer.poll(0.01)
        self._flush()

    def publish_tail(self, count: int = 50) -> dict[int, int]:
        """Publish a few sales to every partition, the last of each unusable; return where each partition then ends."""
        ends = {index: end + count for index, end in self.ends.items()}
        # Put there whole: processes look at it whenever they come to a trap.
        (self.folder / "ends.new").write_text(json.dumps(ends))
        (self.folder / "ends.new").replace(self.folder / "ends.json")
        for index in ends:
            for _ in range(count - 1):
                self._send(self._sale(), partition=index)
            self._send(self._sale(dead=True), partition=index)
        self._flush()
        return ends

    def _sale(self, *, dead: bool | None = None) -> bytes:
        chance, number = self.chance, self.published
        sale: dict[str, Any] = {"sale": number, "user": f"u{chance.randrange(USERS)}"}
        sale["shop"] = None if number % 50 == 1 else f"s{chance.randrange(SHOPS)}"
        sale["cents"] = "much" if (number % 100 == 0 if dead is None else dead) else chance.randrange(10_000)
        sale["at"] = START_MS + number - chance.choice((0, 0, 0, 0, 90_000))
        self.published += 1
        return json.dumps(sale).encode()

    def _send(self, value: bytes, *, partition: int | None = None) -> None:
        index = self.chance.randrange(PARTITIONS) if partition is None else partition
        self.ends[index] += 1
        while True:
            try:
                return self._producer.produce(self.topic, value, key=b"k", partition=index)
            except BufferError:
                self._producer.poll(0.1)

    def _flush(self) -> None:
        if self._producer.flush(DEADLINE_S):
            raise ChaosError("the broker did not take every record")

    # -- progress

    def read(self) -> int:
        """Return how many records of the topic every fold of it accounts for: the least of them."""
        app = self.app()
        folds = [FOLD, *(copier_fold(copy.topic) for copy in app.copies)]
        folds += [source.key for source in app.sources_on(self.topic)]
        return min(sum(row.read for row in self.rows(fold, self.topic_id)) for fold in folds)

    def rows(self, fold: str, topic_id: str) -> list[Row]:
        """Return a fold's rows on a topic; on all where none is named."""
        store = self.store()
        try:
            [found] = store.read(Question(folds=[fold]), timeout_ms=10_000).rows
        finally:
            store.close()
        return [stored.row for name, stored in found.items() if name.startswith(topic_id)]

    def _copies_read(self) -> bool:
        """Return whether every copy that there is has been read."""
        return all(self._is_read(source) for view in self.app().views for source in view.sources if source.rekey)

    def _is_read(self, source: Source) -> bool:
        reader = Consumer({"bootstrap.servers": self.kafka, "group.id": self.name, "log_level": 0})
        try:
            spans = [TopicPartition(source.event.topic, index) for index in range(PARTITIONS)]
            ends = sum(reader.get_watermark_offsets(span, timeout=30)[1] for span in spans)
        finally:
            reader.close()
        # The topic was made once: all rows of the fold are on it.
        return sum(row.next for row in self.rows(source.key, "")) == ends

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for a condition.

        Raises:
            ChaosError: it did not come to hold in time.
        """
        until_s = time.monotonic() + DEADLINE_S
        while not condition():
            if time.monotonic() > until_s:
                raise ChaosError(f"{self.name}: expected {what} within {DEADLINE_S:.0f} s; see {self.folder}/*.log")
            time.sleep(0.1)

    def until_read(self, count: int | None = None) -> None:
        """Wait until every fold accounts for so many records, all that were published if not told."""
        wanted = self.published if count is None else count
        self.until(lambda: self.read() >= wanted, f"{wanted} records read")
        if count is None and self.rekeyed:
            self.until(self._copies_read, "every copy read")
