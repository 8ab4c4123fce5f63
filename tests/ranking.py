"""Graphs to be run in tests, and the brute-force oracle: one candidate after the other, by plain Python."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from definitions.declared import Dot, GraphDefinition, ModelDefinition, Predicted, ViewDefinition
from definitions.expressions import ASKED_AT, evaluate
from definitions.values import Value
from online_models.executor import Executor
from online_models.graphs import Ask, Features, Read, World
from online_models.graphs.columns import Rows
from online_models.graphs.matrix import Matrix
from tests.builders import EVENTS, declare

MODULE = """\
class Traffic(hr.Features, on=Departed, by="origin", version=1):
    flights = hr.count().over("1h", "24h")
    delay = hr.mean(Departed.delay_min).over("24h")
class Tails(hr.Features, on=Departed, by="tail", version=1):
    delay = hr.mean(Departed.delay_min).over("24h")
class Pairs(hr.Features, on=Departed, by=("tail", "origin"), version=1):
    flights = hr.count().over("24h")
class Late(hr.Model, version=1):
    features = [
        Traffic.flights["1h"], Tails.delay["24h"], hr.request("price", float), hr.request("hour", int),
        hr.named("load", Traffic.flights["1h"] / hr.request("hour", int)),
    ]
    label = hr.Label(Arrived, key="flight_id", value=Arrived.late, within="24h", otherwise="drop")
    online = hr.river(lambda: object())
    offline = hr.river(lambda: object())
    route = hr.Route(champion="offline", shadow=["online"])
"""
RANKING = """\
class Ranking(hr.Graph, version=1):
    candidates = hr.candidates("origin", limit=1_000)
    price = candidates.input("price", float)
    gate = candidates.input("gate", str)
    seats = candidates.input("seats", int)
    near = hr.dot(hr.request("taste", list[float], length=2), "routes")
    late = hr.predicted(Late)
    value = near - 2 * late + Pairs.flights["24h"] / seats
    answer = (
        candidates.filter((price <= hr.request("budget", float)) | (seats == 7))
        .score(near).top(12)
        .filter(Traffic.delay["24h"] < 20)
        .score(late).top(8)
        .group(gate, at_most=2)
        .score(value).sort().top(5)
    )
"""
"""Every kind of stage; the request's entity is a tail."""


def graph(source: str = RANKING) -> GraphDefinition:
    """Return the graph that an author's module declares."""
    found: GraphDefinition = declare(EVENTS, MODULE, source)["Ranking"].definition
    return found


class Linear:
    """A scorer of plain arithmetic, one vector at a time; it fails where it is told to."""

    def __init__(self, name: str, *, fails: bool = False) -> None:
        self.name = name
        self.digest = name * 8
        self.fails = fails
        self.calls: list[int] = []

    def score_many(self, vectors: Sequence[Sequence[Value]]) -> list[float]:
        self.calls.append(len(vectors))
        if self.fails:
            raise ZeroDivisionError("a scorer that fails")
        return [self.one(vector) for vector in vectors]

    @staticmethod
    def one(vector: Sequence[Value]) -> float:
        return sum((place + 1) * float(each) for place, each in enumerate(vector) if each is not None) / 64.0  # type: ignore[arg-type]


def executor_of(model: ModelDefinition, **scorers: Any) -> Executor:
    """Return the executor of a model, with linear scorers where others are not given."""
    executor = Executor(model, clock=lambda: 0.0)
    for name in model.learners:
        scorer = scorers.get(name, Linear(name))
        if scorer is not None:
            executor.put(name, scorer)
    return executor


@dataclass
class Stored:
    """Features as a store would have them, by view and entity; it counts what it is asked for."""

    graph: GraphDefinition
    values: Callable[[str, tuple[Value, ...]], Value]
    """Feature and entity to its value."""
    tails: Sequence[str | None]
    asks: Sequence[Ask]
    is_down: bool = False
    unread: Callable[[str, tuple[Value, ...]], bool] = lambda *_: False
    asked: list[tuple[tuple[str, ...], list[list[str | int]]]] = field(default_factory=list)

    def fetch(self, views: Sequence[str], wanted: Sequence[Rows]) -> Features | None:
        ids = [[ask.ids[place] for place in places] for ask, places in zip(self.asks, wanted, strict=True)]
        self.asked.append((tuple(views), ids))
        if self.is_down:
            return None
        of_candidates, of_requests = {}, {}
        for name in sorted(self.graph.reads):
            view = self.view(name)
            if view.name in views and self.graph.is_of_candidates(view):
                of_candidates[name] = self._read(
                    name, [self.entity(view, number, each) for number, own in enumerate(ids) for each in own]
                )
            elif view.name in views:
                of_requests[name] = self._read(name, [self.entity(view, number) for number in range(len(self.asks))])
        return Features(of_candidates, of_requests)

    def _read(self, name: str, entities: Sequence[tuple[Value, ...]]) -> Read:
        unread = np.array([self.unread(name, each) for each in entities], dtype=np.bool_)
        values = [None if lost else self.values(name, each) for each, lost in zip(entities, unread, strict=True)]
        return Read(values, unread if unread.any() else None)

    def view(self, name: str) -> ViewDefinition:
        return next(each for each in self.graph.views if each.name == name.partition(".")[0])

    def entity(self, view: ViewDefinition, number: int, candidate: str | int | None = None) -> tuple[Value, ...]:
        named = {"tail": self.tails[number], "origin": candidate}
        return tuple(named[each] for each in view.entity_names)


def world_of(stored: Stored, matrices: Mapping[str, Matrix | None], **changes: Any) -> World:
    """Return what the graph meets: the store, linear models, matrices."""
    models = {each.name: executor_of(each) for each in stored.graph.models}
    return World(**{"fetch": stored.fetch, "models": models, "matrices": matrices, **changes})


Ranking = list[tuple[int, float | None]]


def brute_force(stored: Stored, number: int, rows_of: Mapping[str, Mapping[str | int, Sequence[float]]]) -> Ranking:
    """Return (place, score) of what is left of one request's candidates, by the rules as they are written."""
    graph, ask = stored.graph, stored.asks[number]
    left: list[dict[str, Any]] = [
        {"place": place, "row": _row(stored, number, place, rows_of), "score": None} for place in range(len(ask.ids))
    ]
    for stage in graph.stages:
        value = (lambda each, stage=stage: each["row"][stage.column]) if stage.column else (lambda each: each["score"])
        if stage.kind == "filter":
            left = [each for each in left if value(each) is True]
        elif stage.kind == "score":
            for each in left:
                each["score"] = None if value(each) is None else float(value(each))
        elif stage.kind == "top":
            left = sorted(left, key=_better)[: stage.count]
        elif stage.kind == "group":
            kept = set()
            for key in {value(each) for each in left}:
                members = sorted((each for each in left if value(each) == key), key=_better)
                kept |= {each["place"] for each in (members if key is None else members[: stage.count])}
            left = [each for each in left if each["place"] in kept]
        else:
            sign = -1 if stage.descending else 1
            left.sort(key=lambda each: (value(each) is None, sign * (value(each) or 0), each["place"]))
    return [(each["place"], each["score"]) for each in left]


def _better(each: Mapping[str, Any]) -> tuple[bool, float, int]:
    return each["score"] is None, -(each["score"] or 0.0), each["place"]


def _row(
    stored: Stored, number: int, place: int, rows_of: Mapping[str, Mapping[str | int, Sequence[float]]]
) -> dict[str, Value]:
    graph, ask = stored.graph, stored.asks[number]
    row: dict[str, Value] = {ASKED_AT: ask.at_ms, **ask.inputs}
    row |= {name: values[place] for name, values in ask.candidates.items()}
    for name in graph.reads:
        view = stored.view(name)
        row[name] = stored.values(name, stored.entity(view, number, ask.ids[place]))
    for column in graph.columns.values():
        made = column.made
        if isinstance(made, Predicted):
            model = graph.model(made.model)
            vector = [row[e.name] if e.expression is None else evaluate(e.expression, row) for e in model.inputs]
            row[column.name] = Linear.one(vector)
        elif isinstance(made, Dot):
            own, given = rows_of[made.matrix].get(ask.ids[place]), row[made.vector]
            row[column.name] = None
            if own is not None and isinstance(given, list):
                products = [np.float32(a) * np.float32(b) for a, b in zip(own, given, strict=True)]
                row[column.name] = float(sum(products, np.float32(0)))
        else:
            row[column.name] = evaluate(made, row)
    return row
