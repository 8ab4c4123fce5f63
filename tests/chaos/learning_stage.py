"""The world of the learning scenarios: a model with six kinds of River learners and a personal one; flights that land.

Predictions are written as the scoring role writes them, landings are events that the router has to copy. Some landings
never come, come early, come twice, or are corrected; some predictions are written twice.
"""

from __future__ import annotations

import heapq
import json
import math
import operator
import random
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from confluent_kafka import Consumer, Producer, TopicPartition

from agents import personal_cells
from agents.read_progress import fold
from definitions.declared import ModelDefinition
from streams import joins, topics
from streams.messages import Prediction, encode
from streams.pointers import learner_pointer
from streams.store import Pointer, Question
from streams.store.redis import RedisStore
from tests.chaos.stage import DEADLINE_S, PARTITIONS, START_MS, ChaosError, Stage
from tests.chaos.workers import Workers

KINDS = ("linear", "bayes", "tree", "woods", "odd", "bagged")
PERSONAL = "own"
MINUTE_MS = 60_000
DAY_MS = 24 * 60 * MINUTE_MS

_APP = '''
from datetime import datetime

from river import anomaly, base, ensemble, forest, linear_model, naive_bayes, preprocessing, tree

import headrace as hr

__app_name__ = "{name}"


class Odd(base.Classifier):
    """An anomaly detector that answers as a classifier does."""

    def __init__(self, n_trees: int = 5, height: int = 5, window_size: int = 40, seed: int = 1) -> None:
        self.n_trees, self.height, self.window_size, self.seed = n_trees, height, window_size, seed
        self.detector = anomaly.HalfSpaceTrees(n_trees=n_trees, height=height, window_size=window_size, seed=seed)

    def learn_one(self, x, y):
        self.detector.learn_one(x)

    def predict_proba_one(self, x):
        score = self.detector.score_one(x)
        return {{True: score, False: 1 - score}}


def scaled():
    return preprocessing.StandardScaler() | linear_model.LogisticRegression()


class Arrived(hr.Event, topic="{name}.arrived", id="flight", at="at", disorder="1h", key="flight"):
    flight: str
    delay_min: float
    at: datetime


class Late(hr.Model, version=1):
    features = [hr.request("distance", float), hr.request("delay", float), hr.request("seats", int),
                hr.request("carrier", str), hr.request("rain", bool)]
    label = hr.Label(Arrived, key="flight", value=Arrived.delay_min > 15, within="24h", otherwise=False)
    linear = hr.river(scaled)
    bayes = hr.river(lambda: naive_bayes.GaussianNB())
    tree = hr.river(lambda: tree.HoeffdingTreeClassifier(grace_period=50))
    woods = hr.river(lambda: forest.ARFClassifier(n_models=3, seed=1))
    odd = hr.river(lambda: preprocessing.MinMaxScaler() | Odd())
    bagged = hr.river(lambda: ensemble.BaggingClassifier(scaled(), n_models=3, seed=1))
    own = hr.personal(of="linear", by=("carrier", ("carrier", "seats")), features=["distance", "delay"])
    route = hr.Route(champion="linear")
'''


@dataclass
class LearningStage(Stage):
    """A project whose model learns."""

    def __post_init__(self) -> None:
        """Write the project and create its topics."""
        super().__post_init__()
        self.model: ModelDefinition = self.app().model("late")
        self.outcomes = topics.outcomes(self.name, self.model)
        self.examples = topics.examples(self.name, self.model)
        self._owed: list[tuple[int, int, bytes]] = []
        """Landings that are not published yet: (when, which, what)."""
        self._reader = Consumer({"bootstrap.servers": self.kafka, "group.id": self.name, "log_level": 0})
        self._sender = Producer(
            {"bootstrap.servers": self.kafka, "linger.ms": 20, "log_level": 0, "partitioner": "murmur2_random"}
        )

    def declare(self, *, shops: bool) -> None:
        """Write the author's module."""
        del shops
        self.topic = f"{self.name}.arrived"
        (self.folder / "app.py").write_text(_APP.format(name=self.name))

    @property
    def personal(self) -> str:
        """The fold that holds the personal learner's cells."""
        return personal_cells.fold(self.model, self.model.learners[PERSONAL])

    @contextmanager
    def importable(self) -> Iterator[None]:
        """Let the author's module be found by what unpickles its classes."""
        sys.path.insert(0, str(self.folder))
        try:
            yield
        finally:
            sys.path.remove(str(self.folder))
            sys.modules.pop("app", None)

    # -- records

    def fly(self, flights: int) -> None:
        """Let so many more take off, one each two minutes of event time, and land what is due."""
        for _ in range(flights):
            number, self.published = self.published, self.published + 1
            at_ms = START_MS + number * 2 * MINUTE_MS
            self._owe(number, at_ms)
            self._land(at_ms)
            self._ask(number, at_ms)
        if self._sender.flush(DEADLINE_S):
            raise ChaosError("the broker did not take every record")

    @contextmanager
    def flying(self, per_s: float) -> Iterator[None]:
        """Let flights take off all the while."""
        ending = threading.Event()

        def run() -> None:
            while not ending.wait(0.2):
                self.fly(round(per_s * 0.2))

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            ending.set()
            thread.join()

    def end_the_year(self) -> None:
        """Let nobody land days later, in every partition: whoever still waits waits no longer."""
        at_ms = START_MS + self.published * 2 * MINUTE_MS + 10 * DAY_MS
        self._land(at_ms)
        for index in range(PARTITIONS):
            body = {"flight": f"N{index}", "delay_min": 0.0, "at": at_ms}
            self._sender.produce(self.topic, json.dumps(body).encode(), partition=index)
        self._sender.flush(DEADLINE_S)

    def _ask(self, number: int, at_ms: int) -> None:
        chance, key = random.Random(f"{self.seed} asked {number}"), f"F{number}"
        vector = [chance.uniform(100, 3_000), chance.gauss(0, 20), chance.randrange(50, 400)]
        carrier = chance.choice(("AA", "B6", "UA", None))
        asked = Prediction(
            request_id=f"{self.name}.late.requests/0@{number}",
            model=self.model.key,
            release="",
            label_key=key,
            at_ms=at_ms,
            vector=[*vector, carrier, chance.random() < 0.3],
            scores={"linear": chance.random()},
            versions=[],
            champion="linear",
            status="ok",
            positions={},
            features_as_of=None,
            entities={"seats": vector[2]} if carrier is None else {"carrier": carrier, "seats": vector[2]},
        )
        for _ in range(1 + (chance.random() < 0.03)):
            self._sender.produce(self.outcomes, encode(asked), key=key.encode())

    def _owe(self, number: int, at_ms: int) -> None:
        """Note what will be known of a flight's landing; nothing of one in seven."""
        chance, key = random.Random(f"{self.seed} landed {number}"), f"F{number}"
        if chance.random() < 0.15:
            return
        after_ms = -MINUTE_MS if chance.random() < 0.03 else round(math.exp(chance.gauss(4, 1)) * MINUTE_MS)
        body = {"flight": key, "delay_min": chance.gauss(10, 20), "at": at_ms + after_ms}
        said = [body] * (1 + (chance.random() < 0.05))
        if chance.random() < 0.05:
            said.append({**body, "delay_min": chance.gauss(10, 20), "at": at_ms + after_ms + 30 * MINUTE_MS})
        for place, each in enumerate(said):
            heapq.heappush(self._owed, (int(str(each["at"])), number * 10 + place, json.dumps(each).encode()))

    def _land(self, until_ms: int) -> None:
        """Publish the landings that are due."""
        while self._owed and self._owed[0][0] <= until_ms:
            _, place, body = heapq.heappop(self._owed)
            self._sender.produce(self.topic, body, key=f"F{place // 10}".encode())

    # -- progress

    def pointers(self, store: RedisStore) -> Mapping[str, Pointer | None]:
        """Return the pointer to each learner's newest snapshot."""
        names = [learner_pointer(self.model.key, kind) for kind in KINDS]
        return dict(zip(KINDS, store.read(Question(pointers=names), timeout_ms=10_000).pointers, strict=True))

    def until_learned(self) -> None:
        """Wait until all that was published is routed, joined, learned and kept in snapshots.

        Raises:
            ChaosError: it did not come to be so.
        """
        store, chain = self.store(), [(f"router.{self.model.key}", self.topic)]
        chain += [(joins.fold(self.model.key), self.outcomes)]
        chain += [(fold(self.model.key, kind), self.examples) for kind in KINDS]
        chain += [(self.personal, self.examples)]
        try:
            for name, topic in chain:
                self.until(lambda name=name, topic=topic: self._contains(store, name, topic), f"{name} at the end")  # type: ignore[misc]
            end = sum(self.ends_of(self.examples).values())
            self.until(
                lambda: all(each is not None and each.position == end for each in self.pointers(store).values()),
                f"six snapshots of {end} examples",
            )
            joined = self._contains(store, *chain[1])
        finally:
            store.close()
        if not joined:
            self.until_learned()

    def until_moved(self) -> None:
        """Wait until every outcomes partition is joined a little further, and a little more is learned.

        Raises:
            ChaosError: it did not come to be so.
        """
        store, folds = self.store(), [joins.fold(self.model.key), *(fold(self.model.key, kind) for kind in KINDS)]

        def reached() -> list[int]:
            found = store.read(Question(folds=folds), timeout_ms=10_000).rows
            return [stored.row.next for rows in found for stored in rows.values()]

        try:
            before = reached()
            self.until(
                lambda: len(now := reached()) == len(before) and all(map(operator.gt, now, before)), "something learned"
            )
        finally:
            store.close()

    def ends_of(self, topic: str) -> Mapping[int, int]:
        """Return the end of each partition."""
        return {
            index: self._reader.get_watermark_offsets(TopicPartition(topic, index), timeout=30)[1]
            for index in self._reader.list_topics(topic, timeout=30).topics[topic].partitions
        }

    def _contains(self, store: RedisStore, name: str, topic: str) -> bool:
        [rows] = store.read(Question(folds=[name]), timeout_ms=10_000).rows
        reached = {int(place.rpartition("/")[2]): stored.row.next for place, stored in rows.items()}
        return reached == self.ends_of(topic)


class LearningWorkers(Workers):
    """Learning processes, each with a trap that it may come to."""

    def __init__(self, stage: LearningStage, count: int = 3, *, mutant: str = "") -> None:
        super().__init__(stage, count)
        self._mutant = mutant

    def _command(self, crash: Sequence[str]) -> Sequence[str]:
        return ["tests.chaos.learning_crash", self._mutant or "none", *(crash or ("never", "0"))]
