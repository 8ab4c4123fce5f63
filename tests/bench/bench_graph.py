"""How long a ranking of 10,000 candidates takes, and what the graph costs over the same calls by hand.

``python -m tests.bench.bench_graph``. A project as a user has it: `headrace run features scoring` on real Kafka and
Redis, 10,000 items with events in the log, a matrix of 10,000 rows of 32 numbers, a model of 200 trees of depth 6 on 12
values. Client to client, one request after the other: 10,000 candidates with a price and a seller each, in one request;
those within the budget are multiplied with the matrix, the best 500 read the store and are scored by the model, and 50
are answered, at most 5 of a seller.

Beside it, in this process and without a store: the same graph from parsed requests and features in memory, against the
same numpy and XGBoost calls written by hand, in turns on the same requests: ``overhead`` is the difference of the two,
``overhead_cpu`` the same in CPU time, which other processes hardly disturb. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
import xgboost
from numpy.typing import NDArray

from agents.client import ScoringClient
from agents.follow_matrices import pointer_name
from definitions.declared import AppDefinition, GraphDefinition
from definitions.encoder import Encoder
from definitions.values import Value
from online_models import releases
from online_models.executor import Executor
from online_models.graphs import Ask, Features, Read, World
from online_models.graphs.columns import Rows
from online_models.graphs.executor import GraphExecutor
from online_models.graphs.matrix import Matrix
from online_models.learners.xgboost import XGBoostScorer, probability
from streams.artefacts import ArtefactStore
from streams.messages import ScoreReply, encode
from streams.store import Pointer
from streams.store.redis import RedisStore
from tests.apps.project import Project
from tests.bench.card_features import forget, load
from tests.bench.local_kafka import local_kafka, local_redis, say
from tests.bench.payments import fill
from tests.bench.timing import percentiles, without_collections
from tests.releases import deployment, release

APP = """
from datetime import datetime
import headrace as hr

__app_name__ = "{name}"

class Shown(hr.Event, topic="{name}.shown", id="id", at="at", key="item", disorder="15m"):
    id: str
    item: str
    member: str
    price: float
    at: datetime

class Clicked(hr.Event, topic="{name}.clicked", id="id", at="at"):
    id: str
    clicked: bool
    at: datetime

class Items(hr.Features, on=Shown, by="item", version=1):
    shown = hr.count().over("10m", "1h", "24h")
    price = hr.mean(Shown.price).over("10m", "1h", "24h")
    spread = price["1h"] - price["24h"]

class Members(hr.Features, on=Shown, by="member", version=1):
    seen = hr.count().over("1h", "24h")
    price = hr.mean(Shown.price).over("24h")

class Click(hr.Model, version=1):
    features = [
        *(Items.shown[each] for each in ("10m", "1h", "24h")),
        *(Items.price[each] for each in ("10m", "1h", "24h")),
        Items.spread,
        Members.seen["1h"], Members.seen["24h"], Members.price["24h"],
        hr.request("price", float), hr.request("hour", int),
    ]
    label = hr.Label(Clicked, key="id", value=Clicked.clicked, within="1h", otherwise=False)
    offline = hr.xgboost()
    route = hr.Route(champion="offline")

class Ranking(hr.Graph, version=1, timeout="10s"):
    candidates = hr.candidates("item", limit=10_000)
    price = candidates.input("price", float)
    answer = (
        candidates.filter(price <= hr.request("budget", float))
        .score(hr.dot(hr.request("taste", list[float], length=32), "tastes"))
        .top(500)
        .score(Click)
        .group(candidates.input("seller", str), at_most=5)
        .top(50)
    )
"""
ITEMS, MEMBERS, EVENTS, TASTE, LEFT, ANSWERED, OF_A_SELLER = 10_000, 200, 5, 32, 500, 50, 5
AT_MS = 1_767_250_800_000
TIMEOUT_MS = 10_000

_Result = TypeVar("_Result")


@dataclass
class Given:
    """What the benchmark is run on, the same in every run."""

    chance: np.random.Generator = field(default_factory=lambda: np.random.default_rng(7))

    def __post_init__(self) -> None:
        self.ids = [f"i{number:05d}" for number in range(ITEMS)]
        self.prices: list[float] = np.round(self.chance.uniform(1, 100, ITEMS), 2).tolist()
        self.sellers = [f"s{number:03d}" for number in self.chance.integers(0, 400, ITEMS).tolist()]
        self.matrix = Matrix(self.ids, self.chance.normal(size=(ITEMS, TASTE)).astype(np.float32))
        self.candidates = [
            {"id": each, "inputs": {"price": price, "seller": seller}}
            for each, price, seller in zip(self.ids, self.prices, self.sellers, strict=True)
        ]

    def inputs(self) -> dict[str, Value]:
        """Return the inputs of one request: 95 % of the items are within its budget."""
        return {"budget": 95.0, "hour": 12, "taste": np.round(self.chance.normal(size=TASTE), 4).tolist()}

    def events(self) -> Sequence[tuple[bytes, bytes]]:
        """Return the records of what was shown: five for each item, in the hours before."""
        found = []
        for number in range(ITEMS * EVENTS):
            item, member = self.ids[number % ITEMS], f"m{number % MEMBERS:03d}"
            price = round(float(self.chance.uniform(1, 100)), 2)
            at_ms = AT_MS - int(self.chance.integers(0, 600_000) * (1 + number % 4))
            value = {"id": str(number), "item": item, "member": member, "price": price, "at": at_ms}
            found.append((item.encode(), json.dumps(value).encode()))
        return found


def booster_of(app: AppDefinition) -> bytes:
    """Return a model of 200 trees of depth 6, trained on noise."""
    chance = np.random.default_rng(11)
    rows = chance.uniform(0, 100, (4_000, len(app.models[0].inputs))).astype(np.float32)
    labels = (rows[:, 0] + chance.normal(scale=30, size=len(rows)) > rows[:, 10]).astype(np.float32)
    parameters = {"objective": "binary:logistic", "max_depth": 6, "nthread": 2}
    return bytes(xgboost.train(parameters, xgboost.DMatrix(rows, label=labels), num_boost_round=200).save_raw("ubj"))


def measure_whole(kafka: str, redis_url: str, given: Given, requests: int) -> dict[str, Any]:
    """Return what rankings take client to client, and what they read of the store."""
    name = f"graph-{uuid.uuid4().hex[:8]}"
    with tempfile.TemporaryDirectory() as at:
        folder = Path(at)
        app = load(folder, f"app_{name.replace('-', '_')}", APP.format(name=name))
        (folder / "pyproject.toml").write_text(
            f'[tool.headrace]\napp = "app_{name.replace("-", "_")}"\nkafka = "{kafka}"\nredis = "{redis_url}"\n'
            "admin_port = 0\npartitions = 1\n"
        )
        made = Project(folder, name, kafka)
        try:
            return _whole(made, app, redis_url, given, requests)
        finally:
            forget(redis_url, name)


def _whole(made: Project, app: AppDefinition, redis_url: str, given: Given, requests: int) -> dict[str, Any]:
    artefacts = ArtefactStore(made.folder / ".headrace" / "artefacts")
    kept = {"offline": releases.Artefact(kind="xgboost", digest=artefacts.put(booster_of(app)))}
    small = releases.read_manifest(release(app.models[0], artefacts), artefacts.get)
    digest = releases.write(msgspec.structs.replace(small, artefacts=kept), artefacts.put)
    store = RedisStore(redis_url, made.name)
    fill(made.kafka, f"{made.name}.shown", given.events())
    try:
        store.advance_pointer(pointer_name("tastes"), Pointer(1, 0, artefacts.put(given.matrix.to_bytes())))
        with made.running("features", "scoring"):
            made.send(f"{made.name}.deployments", encode(deployment(app.models[0], digest)))
            made.until(lambda: made.metric("scoring", "model_loads_total", learner="release") == 1)
            for view in app.views:
                made.until(lambda key=view.key: _applied(made, key) == ITEMS * EVENTS)  # type: ignore[misc]
            say(f"{ITEMS * EVENTS} events are in the store")
            before = _reads(made)
            replies, took_ms = asyncio.run(_ask(made, given, requests))
            reads = {key: value - before[key] for key, value in _reads(made).items()}
    finally:
        store.close()
    bad = [each for each in replies if each.status != "ok" or len(_candidates(each)) != ANSWERED]
    if bad:
        raise ValueError(f"not every request was answered in full: {bad[0]}")
    asked = len(replies)
    parts = {
        f"{part}_p50_ms": round(statistics.median(getattr(each.timings, part + "_ms") for each in replies), 3)
        for part in ("queue", "read", "predict")
    }
    return {
        **percentiles("whole", took_ms[asked - requests :]),
        **parts,
        "requests": requests,
        "candidates": ITEMS,
        "entities_read_per_request": round(reads["items"] / asked, 3),
        "members_read_per_request": round(reads["members"] / asked, 3),
        "round_trips_per_request": round(reads["round_trips"] / asked, 3),
    }


def _applied(made: Project, view: str) -> float:
    return made.metric("features", "row_records", fold=view, tally="applied")


def _candidates(reply: ScoreReply) -> Sequence[Any]:
    return () if reply.candidates is msgspec.UNSET else reply.candidates


def _reads(made: Project) -> dict[str, float]:
    read = {view: made.metric("scoring", "graph_entities_read_total", view=view) for view in ("items", "members")}
    return {**read, "round_trips": made.metric("scoring", "graph_round_trips_total")}


async def _ask(made: Project, given: Given, requests: int) -> tuple[list[ScoreReply], list[float]]:
    """Ask one after the other, a tenth more to warm up; return all replies with their times."""
    replies, took_ms = [], []
    async with ScoringClient(made.name, kafka=made.kafka) as client:
        await client.score(
            "ranking", candidates=[], entities={"member": "m000"}, inputs=given.inputs(), timeout_ms=TIMEOUT_MS
        )
        with without_collections():
            for number in range(requests + max(1, requests // 10)):
                member, inputs = f"m{number % MEMBERS:03d}", given.inputs()
                begun_s = time.perf_counter()
                reply = await client.score(
                    "ranking",
                    entities={"member": member},
                    inputs=inputs,
                    candidates=given.candidates,
                    at=AT_MS,
                    timeout_ms=TIMEOUT_MS,
                )
                took_ms.append((time.perf_counter() - begun_s) * 1_000)
                replies.append(reply)
    return replies, took_ms


@dataclass
class InMemory:
    """A graph whose features lie in memory, and the same ranking by hand: what the graph costs is the difference."""

    given: Given
    graph: GraphDefinition
    scorer: XGBoostScorer
    booster: xgboost.Booster

    def __post_init__(self) -> None:
        chance = np.random.default_rng(3)
        self.executor = GraphExecutor(self.graph, clock=lambda: time.perf_counter() * 1_000)
        self.model = Executor(self.graph.models[0], clock=lambda: 0.0)
        self.model.put("offline", self.scorer)
        names = sorted(self.graph.reads)
        self.features: dict[str, list[Value]] = {each: chance.uniform(0, 100, ITEMS).tolist() for each in names}
        self.arrays = {each: np.array(values, dtype=np.float64) for each, values in self.features.items()}
        self.place: dict[str | int, int] = {each: place for place, each in enumerate(self.given.ids)}
        self.rows = self.given.matrix._rows

    def ask(self) -> Ask:
        """Return a request as it is when it has been parsed."""
        return Ask(
            self.given.ids, AT_MS, self.given.inputs(), {"price": self.given.prices, "seller": self.given.sellers}
        )

    def fetch(self, views: Sequence[str], wanted: Sequence[Rows]) -> Features:
        """Hand features out of memory: as lists, as the store's reader does."""
        places = wanted[0].tolist()
        of = {name: name.partition(".")[0] for name in self.features}
        items = {name: Read([self.features[name][each] for each in places]) for name in of if of[name] == "items"}
        members = {name: Read([self.features[name][0]]) for name in of if of[name] == "members"}
        return Features(items if "items" in views else {}, members if "members" in views else {})

    def by_graph(self, ask: Ask) -> list[int]:
        """Return the places of the answer."""
        world = World(self.fetch, {"click": self.model}, {"tastes": self.given.matrix})
        return list(self.executor.run([ask], world).answers[0].places)

    def by_hand(self, ask: Ask) -> tuple[list[int], float]:
        """Return the same, and what the two model calls in it took, in ms."""
        inputs: Mapping[str, Any] = ask.inputs
        prices = np.array(ask.candidates["price"], dtype=np.float64)
        kept = np.flatnonzero(prices <= inputs["budget"])
        place = self.place
        places = np.array([place[each] for each in ask.ids], dtype=np.intp)[kept]
        begun_s = time.perf_counter()
        near = np.einsum("ij,j->i", self.rows[places], np.array(inputs["taste"], dtype=np.float32))
        calls_ms = (time.perf_counter() - begun_s) * 1_000
        first = np.argpartition(-near, LEFT)[:LEFT]
        best = kept[first[np.argsort(-near[first], kind="stable")]]
        matrix = self._matrix(prices, best.tolist(), inputs["hour"])
        begun_s = time.perf_counter()
        scores = probability(self.booster.inplace_predict(matrix, predict_type="margin"))
        calls_ms += (time.perf_counter() - begun_s) * 1_000
        seen: dict[Value, int] = {}
        found: list[int] = []
        for row in np.lexsort((best, -scores)).tolist():
            seller = ask.candidates["seller"][best[row]]
            seen[seller] = seen.get(seller, 0) + 1
            if seen[seller] <= OF_A_SELLER:
                found.append(int(best[row]))
        return found[:ANSWERED], calls_ms

    def _matrix(self, prices: NDArray[np.float64], best: list[int], hour: int) -> NDArray[np.float32]:
        matrix = np.empty((len(best), len(self.graph.models[0].inputs)), dtype=np.float32)
        for column, each in enumerate(self.graph.models[0].inputs):
            if each.view == "items":
                matrix[:, column] = [self.features[each.name][place] for place in best]
            elif each.view == "members":
                matrix[:, column] = self.features[each.name][0]
            else:
                matrix[:, column] = prices[best] if each.name == "price" else hour
        return matrix


def measure_overhead(given: Given, rounds: int) -> dict[str, Any]:
    """Return what the graph takes over the same calls by hand, in turns on the same requests."""
    with tempfile.TemporaryDirectory() as folder:
        app = load(Path(folder), "app_overhead", APP.format(name="overhead"))
    data = booster_of(app)
    encoder = Encoder(app.models[0].inputs)
    scorer = XGBoostScorer("offline", encoder, data=data, digest=hashlib.sha256(data).hexdigest())
    booster = xgboost.Booster()
    booster.load_model(bytearray(data))
    booster.set_param({"nthread": 1})
    memory = InMemory(given, app.graphs[0], scorer, booster)
    graph_ms, hand_ms, calls_ms, over_cpu_ms = [], [], [], []
    with without_collections():
        for number in range(rounds + rounds // 10):
            ask = memory.ask()
            # In turns also within a round: who comes second finds the request's rows in the processor's cache.
            if number % 2:
                (expected, of_calls_ms), of_hand = _timed(lambda ask=ask: memory.by_hand(ask))  # type: ignore[misc]
                ranked, of_graph = _timed(lambda ask=ask: memory.by_graph(ask))  # type: ignore[misc]
            else:
                ranked, of_graph = _timed(lambda ask=ask: memory.by_graph(ask))  # type: ignore[misc]
                (expected, of_calls_ms), of_hand = _timed(lambda ask=ask: memory.by_hand(ask))  # type: ignore[misc]
            if ranked != expected:
                raise ValueError(f"request {number}: the graph answers {ranked[:5]}…, by hand it is {expected[:5]}…")
            if number >= rounds // 10:
                graph_ms.append(of_graph[0])
                hand_ms.append(of_hand[0])
                calls_ms.append(of_calls_ms)
                over_cpu_ms.append(of_graph[1] - of_hand[1])
    over_ms = [one - other for one, other in zip(graph_ms, hand_ms, strict=True)]
    return {
        **percentiles("graph", graph_ms),
        **percentiles("by_hand", hand_ms),
        **percentiles("model_calls", calls_ms),
        **percentiles("overhead", over_ms),
        **percentiles("overhead_cpu", over_cpu_ms),
        "overhead_of_p99_ms": round(percentiles("x", graph_ms)["x_p99_ms"] - percentiles("x", hand_ms)["x_p99_ms"], 3),
        "rounds": rounds,
    }


def _timed(call: Callable[[], _Result]) -> tuple[_Result, tuple[float, float]]:
    """Return a call's result, and what it took: in ms of the clock and of this thread's CPU time."""
    begun_s, begun_cpu_s = time.perf_counter(), time.thread_time()
    result = call()
    return result, ((time.perf_counter() - begun_s) * 1_000, (time.thread_time() - begun_cpu_s) * 1_000)


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=500)
    asked = parser.parse_args()
    given = Given()
    overhead = measure_overhead(given, asked.rounds)
    say(f"graph {overhead['graph_p50_ms']} ms, by hand {overhead['by_hand_p50_ms']} ms")
    with local_kafka() as kafka, local_redis() as redis_url:
        whole = measure_whole(kafka, redis_url, given, asked.requests)
    sys.stdout.write(json.dumps({**whole, **overhead}) + "\n")


if __name__ == "__main__":
    main()
