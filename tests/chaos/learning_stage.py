"""The world of the learning scenarios: a model with six kinds of River learners and a personal one; flights that land.

The flights are New York's of January to March 2013, each landing when and as late as it did; behind the last of March
they begin again. Predictions are written as the scoring role writes them, landings are events that the router has to
copy. What was cancelled never lands; some landings are lost, come early, come twice, or are corrected; some predictions
are written twice, and some name no carrier.
"""

from __future__ import annotations

import heapq
import json
import operator
import random
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cache

from confluent_kafka import Consumer, Producer, TopicPartition

from agents import personal_cells
from agents.read_progress import fold
from definitions.declared import ModelDefinition
from examples.flights.data import Flight, read_flights
from examples.flights.timeline import NEW_YORK
from streams import joins, topics
from streams.messages import Prediction, encode
from streams.pointers import learner_pointer
from streams.store import Pointer, Question
from streams.store.redis import RedisStore
from tests.chaos.stage import DEADLINE_S, PARTITIONS, ChaosError, Stage
from tests.chaos.workers import Workers

KINDS = ("linear", "bayes", "tree", "woods", "odd", "bagged")
PERSONAL = "own"
MINUTE_MS = 60_000
DAY_MS = 24 * 60 * MINUTE_MS
_MONTHS_MS = 90 * DAY_MS

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
    features = [hr.request("distance", int), hr.request("hour", float), hr.request("origin", str),
                hr.request("carrier", str), hr.request("weekend", bool)]
    label = hr.Label(Arrived, key="flight", value=Arrived.delay_min > 15, within="24h", otherwise=False)
    linear = hr.river(scaled)
    bayes = hr.river(lambda: naive_bayes.GaussianNB())
    tree = hr.river(lambda: tree.HoeffdingTreeClassifier(grace_period=50))
    woods = hr.river(lambda: forest.ARFClassifier(n_models=3, seed=1))
    odd = hr.river(lambda: preprocessing.MinMaxScaler() | Odd())
    bagged = hr.river(lambda: ensemble.BaggingClassifier(scaled(), n_models=3, seed=1))
    own = hr.personal(of="linear", by=("carrier", ("origin", "distance")), features=["distance", "hour"])
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
        """Let so many more take off, in the order of their schedule, and land what is due."""
        for _ in range(flights):
            number, self.published = self.published, self.published + 1
            flight, later_ms = self._flight(number)
            at_ms = flight.scheduled_ms + later_ms
            self._owe(number, flight, later_ms)
            self._land(at_ms)
            self._ask(number, flight, at_ms)
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
        flight, later_ms = self._flight(self.published)
        at_ms = flight.scheduled_ms + later_ms + 10 * DAY_MS
        self._land(at_ms)
        for index in range(PARTITIONS):
            body = {"flight": f"N{index}", "delay_min": 0.0, "at": at_ms}
            self._sender.produce(self.topic, json.dumps(body).encode(), partition=index)
        self._sender.flush(DEADLINE_S)

    def _flight(self, number: int) -> tuple[Flight, int]:
        """Return a flight, and by how much later than in 2013 it takes place."""
        rounds, index = divmod(number, len(flights()))
        return flights()[index], rounds * _MONTHS_MS

    def _ask(self, number: int, flight: Flight, at_ms: int) -> None:
        chance, key = random.Random(f"{self.seed} asked {number}"), f"F{number}"
        local = datetime.fromtimestamp(flight.scheduled_ms / 1000, NEW_YORK)
        carrier = None if chance.random() < 0.05 else flight.carrier
        entities: dict[str, str | int] = {"origin": flight.origin, "distance": flight.distance_mi}
        asked = Prediction(
            request_id=f"{self.name}.late.requests/0@{number}",
            model=self.model.key,
            release="",
            label_key=key,
            at_ms=at_ms,
            vector=[flight.distance_mi, local.hour + local.minute / 60, flight.origin, carrier, local.weekday() > 4],
            scores={"linear": chance.random()},
            versions=[],
            champion="linear",
            status="ok",
            positions={},
            features_as_of=None,
            entities=entities if carrier is None else {**entities, "carrier": carrier},
        )
        for _ in range(1 + (chance.random() < 0.03)):
            self._sender.produce(self.outcomes, encode(asked), key=key.encode())

    def _owe(self, number: int, flight: Flight, later_ms: int) -> None:
        """Note what will be known of a flight's landing; nothing of one that has none, and of a few others."""
        chance, key = random.Random(f"{self.seed} landed {number}"), f"F{number}"
        if flight.arrived_ms is None or chance.random() < 0.05:
            return
        is_early = chance.random() < 0.03
        at_ms = (flight.scheduled_ms - MINUTE_MS if is_early else flight.arrived_ms) + later_ms
        body = {"flight": key, "delay_min": float(flight.arrival_delay_min or 0), "at": at_ms}
        said = [body] * (1 + (chance.random() < 0.05))
        if chance.random() < 0.05:
            said.append({**body, "delay_min": chance.gauss(10, 20), "at": at_ms + 30 * MINUTE_MS})
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


@cache
def flights() -> Sequence[Flight]:
    """Return the flights of January to March 2013 in the order of their schedule. Cost: 2 s, once."""
    return read_flights((1, 2, 3))


class LearningWorkers(Workers):
    """Learning processes, each with a trap that it may come to."""

    def __init__(self, stage: LearningStage, count: int = 3, *, mutant: str = "") -> None:
        super().__init__(stage, count)
        self._mutant = mutant

    def _command(self, crash: Sequence[str]) -> Sequence[str]:
        return ["tests.chaos.learning_crash", self._mutant or "none", *(crash or ("never", "0"))]
