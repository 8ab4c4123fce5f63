"""The project that learning is measured on: a model of twenty numbers, a scaler and a logistic regression that learn.

`Learned.fill` writes the outcomes that three hours of scoring and labelling leave behind: predictions in the order of
their times, each label up to ten minutes later, and the router's progress at every step of the horizon, so that the
join also forgets what is over.
"""

from __future__ import annotations

import asyncio
import heapq
import pickle
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import msgspec
from confluent_kafka import Producer

from agents.read_progress import fold
from agents.transport.kafka import KafkaLog
from definitions.declared import ModelDefinition
from online_models.snapshots import unseal
from streams import topics
from streams.joins import step_ms
from streams.messages import Example, LabelSeen, Outcome, Prediction, Progress, encode
from streams.records import Partition
from streams.store import Pointer, Question
from streams.store.redis import RedisStore
from tests.bench.card_features import until
from tests.bench.folder_project import PARTITIONS, FolderProject, written
from tests.bench.processes import descent

MODEL, LEARNER = "fraud", "online"
FEATURES = 20
START_MS = 1_767_247_200_000
SPAN_MS = 3 * 3_600_000
LABEL_AFTER_MS = 600_000

_APP = """
from datetime import datetime

from river.linear_model import LogisticRegression
from river.preprocessing import StandardScaler

import headrace as hr

__app_name__ = "{name}"

class Settled(hr.Event, topic="{name}.settled", id="payment", at="at", disorder="1m", key="payment"):
    payment: str
    fraud: bool
    at: datetime

class Fraud(hr.Model, version=1):
    features = [hr.request(f"x{{n:02d}}", float) for n in range({features})]
    label = hr.Label(Settled, key="payment", value=Settled.fraud, within="1h")
    online = hr.river(lambda: StandardScaler() | LogisticRegression())
    route = hr.Route(champion="online")
"""
_START_S = 60.0
_READ_S = 300.0


@dataclass(frozen=True)
class Asked:
    """The predictions and labels of a run: the same in every run of one seed."""

    count: int = 100_000
    seed: int = 7

    @cached_property
    def vectors(self) -> list[list[float]]:
        """What was scored: numbers of different scales, as models see them."""
        chance = random.Random(self.seed)
        return [[chance.gauss(n, 1 + n * n) for n in range(FEATURES)] for _ in range(self.count)]

    @cached_property
    def labels(self) -> list[bool]:
        """What became true of each."""
        chance = random.Random(self.seed + 1)
        return [sum(vector[:5]) / 30 + chance.gauss(0, 1) > 0 for vector in self.vectors]

    def at_ms(self, number: int) -> int:
        """Return when a prediction was asked for."""
        return START_MS + number * SPAN_MS // self.count

    def outcomes(self, model: ModelDefinition, sources: Sequence[Partition]) -> Iterator[tuple[bytes, Outcome]]:
        """Yield key and record of every prediction and label in the order of their times, progress without a key."""
        assert model.label is not None
        step, chance, waiting = step_ms(model.label.within_ms), random.Random(self.seed + 2), list[tuple[int, int]]()
        told = START_MS // step
        for number in range(self.count):
            at_ms = self.at_ms(number)
            yield from self._labels_until(at_ms, waiting, sources[0])
            if at_ms // step > told:
                told = at_ms // step
                for source in sources:
                    yield b"", Progress(source=source.field, partitions=len(sources), newest_ms=at_ms)
            yield b"e%07d" % number, self._prediction(model, number, at_ms)
            heapq.heappush(waiting, (at_ms + chance.randrange(1_000, LABEL_AFTER_MS), number))
        yield from self._labels_until(sys.maxsize, waiting, sources[0])

    def _labels_until(
        self, until_ms: int, waiting: list[tuple[int, int]], source: Partition
    ) -> Iterator[tuple[bytes, Outcome]]:
        while waiting and waiting[0][0] <= until_ms:
            at_ms, number = heapq.heappop(waiting)
            key, place = f"e{number:07d}", f"{source.field}@{at_ms - START_MS << 20 | number}"
            yield key.encode(), LabelSeen(label_key=key, at_ms=at_ms, label=self.labels[number], source=place)

    def _prediction(self, model: ModelDefinition, number: int, at_ms: int) -> Prediction:
        return Prediction(
            request_id=f"{number % PARTITIONS}@{number}",
            model=model.key,
            release="0" * 64,
            label_key=f"e{number:07d}",
            at_ms=at_ms,
            vector=list(self.vectors[number]),
            ages_ms=[None] * FEATURES,
            scores={LEARNER: 0.5},
            versions=[],
            champion=LEARNER,
            status="ok",
            arm=LEARNER,
            positions={},
            features_as_of=None,
        )


@dataclass(frozen=True)
class Learned(FolderProject):
    """The project, with what it has learned."""

    def fill(self, asked: Asked) -> None:
        """Write the outcomes.

        Raises:
            TimeoutError: the broker did not acknowledge all of them.
        """
        sources = asyncio.run(self.create_topics())
        topic = topics.outcomes(self.name, self.model)
        settings = {"linger.ms": 20, "queue.buffering.max.messages": 1_000_000, "partitioner": "murmur2_random"}
        producer = Producer({"bootstrap.servers": self.kafka, **settings})
        for number, (key, outcome) in enumerate(asked.outcomes(self.model, sources)):
            if key:
                producer.produce(topic, encode(outcome), key=key)
            else:
                for index in range(PARTITIONS):
                    producer.produce(topic, encode(outcome), partition=index)
            if number % 1_000 == 0:
                producer.poll(0)
        if producer.flush(120):
            raise TimeoutError(f"{topic}: not all records were acknowledged in 120 s")

    @contextmanager
    def running(self, *roles: str, module: Sequence[str] = ()) -> Iterator[int]:
        """Run roles; yield the pid of the process that does the work of the first."""
        with self.started(module or ("headrace", "run"), roles) as process:
            yield process.pid if module else self._child_of(process)

    @contextmanager
    def store(self) -> Iterator[RedisStore]:
        """Open the project's online store."""
        store = RedisStore(self.redis, self.name, timeout_s=5.0)
        try:
            yield store
        finally:
            store.close()

    def snapshot_at(self, store: RedisStore) -> int:
        """Return how many records of the examples topic the snapshot in force contains."""
        pointer = self.pointer(store)
        return 0 if pointer is None else pointer.position

    def learned(self, store: RedisStore) -> int:
        """Return how many examples the learner's row accounts for."""
        [rows] = store.read(Question(folds=[fold(self.model.key, LEARNER)]), timeout_ms=5_000).rows
        return sum(stored.row.read for stored in rows.values())

    def has_begun(self, store: RedisStore) -> bool:
        """Return whether the learning role has opened every kind of partition."""
        folds = [f"join.{self.model.key}", fold(self.model.key, LEARNER)]
        rows = store.read(Question(folds=folds), timeout_ms=5_000).rows
        return [len(each) for each in rows] == [PARTITIONS, 1]

    def pointer(self, store: RedisStore) -> Pointer | None:
        """Return the pointer to the learner's newest snapshot."""
        return store.read(Question(pointers=[f"model.{self.model.key}.{LEARNER}"])).pointers[0]

    def examples(self) -> list[Example]:
        """Return the examples topic's records in order."""
        return asyncio.run(self._examples())

    async def _examples(self) -> list[Example]:
        log, decoder = KafkaLog(self.kafka), msgspec.json.Decoder(Example)
        partitions = await log.partitions(topics.examples(self.name, self.model))
        [(first, end)] = await log.bounds(partitions)
        tail, found = await log.tail([(partitions[0], first)]), list[Example]()
        async with asyncio.timeout(_READ_S):
            while len(found) < end - first:
                found += [decoder.decode(record.value() or b"") for _, record in await tail.poll(1.0)]
        await tail.stop()
        await log.close()
        return found

    def estimator(self, store: RedisStore) -> object:
        """Return the estimator of the snapshot in force."""
        pointer = self.pointer(store)
        assert pointer is not None
        return pickle.loads(unseal(self.artefacts.get(pointer.digest), pointer.digest).state)  # noqa: S301  # our own

    def replayed(self, examples: Sequence[Example]) -> object:
        """Return what a fresh estimator becomes that learns the examples and is never stopped."""
        factory = self.model.learners[LEARNER].factory
        assert factory is not None
        estimator: Any = factory()
        names = [each.name for each in self.model.inputs]
        for example in examples:
            estimator.learn_one(dict(zip(names, example.vector, strict=True)), example.label)
        return estimator

    def _child_of(self, supervisor: subprocess.Popen[bytes]) -> int:
        def children() -> list[int]:
            if supervisor.poll() is not None:
                raise RuntimeError(f"cannot run the roles: {self.said()}")
            return descent(supervisor.pid)[1:]

        until(lambda: bool(children()), _START_S, "the role's process to start")
        return children()[0]


@contextmanager
def learned_project(name: str, *, kafka: str, redis_url: str) -> Iterator[Learned]:
    """Make the project; at the end it is gone, with its keys."""
    with written(name, _APP.format(name=name, features=FEATURES), redis_url) as (folder, app):
        yield Learned(folder, name, kafka, redis_url, app)
