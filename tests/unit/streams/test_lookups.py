"""Features that are looked up by others: live, in a replay and in a training set the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st

from definitions.declared import EventDefinition, ModelDefinition, ViewDefinition
from definitions.values import Value
from streams.chain import Chain
from streams.engine import Engine
from streams.intake import Intake
from streams.lookups import LookupReader, row_of
from streams.reading import Asked, FeatureReader, Served
from streams.records import Partition, RecordBatch
from streams.replay import PointInTime
from streams.store import OnlineStore, Row, RowKey
from streams.store.memory import MemoryStore
from streams.vectors import VectorLayout
from tests.builders import EVENTS, declare
from tests.records import batch_of, json_record

APP = """\
class Airport(hr.Features, on=Departed, by="origin", version=1):
    n = hr.count().over("1h")
    delay = hr.mean(Departed.delay_min).over("1h")
    busy = (n["1h"] > 2).else_(False)
class Tail(hr.Features, on=Departed, by="tail", version=1):
    dest = hr.last(Departed.dest).over("1h")
class Leg(hr.Features, on=Departed, by=("origin", "dest"), version=1):
    n = hr.count().over("1h")
class Late(hr.Model, version=1):
    features = [
        Airport.n["1h"],
        hr.lookup(Airport.n["1h"], by=Tail.dest["1h"]),
        hr.lookup(Airport.delay["1h"], by=hr.request("via", str)),
        hr.lookup(Leg.n["1h"], by=(hr.request("via", str), Tail.dest["1h"])),
        hr.named("more", (Airport.n["1h"] - hr.lookup(Airport.n["1h"], by=Tail.dest["1h"])).else_(-1)),
    ]
    label = hr.Label(Arrived, key="flight_id", value=Arrived.late, within="1h")
    offline = hr.xgboost()
    route = hr.Route(champion="offline")
"""
MODEL: ModelDefinition = declare(EVENTS, APP)["Late"].definition
EVENT = MODEL.views[0].sources[0].event
START_MS = 1_700_000_000_000 // 3_600_000 * 3_600_000
PARTITIONS = [Partition(EVENT.topic, index, "tid") for index in (0, 1)]
AIRPORTS = ("JFK", "LAX", "SFO")
TAILS = ("N1", "N2")
BY_TAIL = "@tail.dest_1h"
Store = TypeVar("Store", bound=OnlineStore)


@dataclass(frozen=True)
class Question:
    entities: Asked
    inputs: Mapping[str, Value]
    at_ms: int


def departed(offset: int, minute: int, origin: str, dest: str, tail: str | None) -> Any:
    event = {
        "flight_id": f"f{offset}", "origin": origin, "dest": dest, "tail": tail, "delay_min": minute / 7,
        "diverted": False, "departed_at": START_MS + minute * 60_000,
    }  # fmt: skip
    return json_record(offset, event)


def asked(minute: int, origin: str | None = "JFK", tail: str | None = "N1", via: str | None = "LAX") -> Question:
    return Question({"origin": origin, "tail": tail}, {"via": via}, START_MS + minute * 60_000)


def stored(batches: Sequence[RecordBatch], views: Sequence[ViewDefinition] = MODEL.all_views) -> MemoryStore:
    """Return a store that contains the batches, as the features role writes them."""
    return extended(MemoryStore(), batches, views)


def extended(
    store: Store, batches: Sequence[RecordBatch], views: Sequence[ViewDefinition], event: EventDefinition = EVENT
) -> Store:
    """Add batches to some views of a store."""
    intake = Intake(event)
    for batch in batches:
        for view in views:
            engine, key = Engine(view.sources[0]), RowKey(view.key, batch.partition)
            chain = Chain(store, key, store.create_row(key, Row(next=0, first=0)), engine.codec)
            applied = engine.apply(chain.row, chain.load, intake.read(batch))
            chain.commit(applied.row, applied.changed)
    return store


def live(store: OnlineStore, questions: Sequence[Question]) -> list[Served]:
    """Return what the scoring role serves: two questions to the store for all requests."""
    reader, lookups = FeatureReader(MODEL.views), LookupReader(MODEL.lookups)
    question = reader.question([each.entities for each in questions])
    answer = store.read(question)
    first = [reader.serve(question, answer, index, each.at_ms) for index, each in enumerate(questions)]
    rows = [row_of(served, each.inputs, each.at_ms) for served, each in zip(first, questions, strict=True)]
    second = lookups.question(rows)
    answer = store.read(second)
    return [
        lookups.serve(second, answer, index, rows[index], after=first[index], at_ms=each.at_ms)
        for index, each in enumerate(questions)
    ]


def replayed(batches: Sequence[RecordBatch], question: Question) -> Served:
    history = PointInTime(MODEL.views, lookups=MODEL.lookups)
    for batch in batches:
        history.apply(batch)
    return history.serve(question.entities, question.at_ms, question.inputs)


def vector(served: Served, question: Question) -> list[Value]:
    return VectorLayout.of(MODEL).vector(row_of(served, question.inputs, question.at_ms))


def key_of(name: str) -> str:
    return next(view.key for view in MODEL.all_views if view.name == name)


def batches_of(*partitions: Sequence[tuple[int, str, str, str | None]]) -> list[RecordBatch]:
    return [
        batch_of(partition, [departed(offset, *each) for offset, each in enumerate(events)])
        for partition, events in zip(PARTITIONS, partitions, strict=False)
    ]


EARLIER = batches_of(
    [(0, "JFK", "SFO", "N1"), (1, "SFO", "JFK", "N2"), (2, "SFO", "LAX", "N2"), (3, "LAX", "SFO", "N2")],
    [(1, "LAX", "SFO", None), (2, "SFO", "JFK", None)],
)


def test_the_entity_is_the_one_that_another_value_names_at_that_time() -> None:
    [served] = live(stored(EARLIER), [asked(5)])

    assert served.values["tail.dest_1h"] == "SFO"
    assert served.values["airport.n_1h@tail.dest_1h"] == 3
    assert served.values["airport.delay_1h@via"] == (3 / 7 + 1 / 7) / 2
    assert served.values["leg.n_1h@via,tail.dest_1h"] == 2
    assert vector(served, asked(5)) == [1, 3, (3 / 7 + 1 / 7) / 2, 2, -2]


def test_nothing_to_look_up_by_is_absent_and_not_asked_for() -> None:
    question = asked(5, tail="N9", via=None)

    [served] = live(stored(EARLIER), [question])

    assert served.absent == ("tail", "airport@tail.dest_1h", "airport@via", "leg@via,tail.dest_1h")
    assert served.values["airport.n_1h@tail.dest_1h"] is None
    assert served.values["airport.busy@via"] is False
    assert vector(served, question) == [1, None, None, None, -1]
    rows = [row_of(served, question.inputs, question.at_ms)]
    assert LookupReader(MODEL.lookups).question(rows).cells == []


def test_what_cannot_be_answered_cannot_be_looked_up_by_and_is_no_missing_value() -> None:
    """The tail flew again two days on: of the hour that is asked about, its cell has given up its tiles."""
    batches = batches_of([(0, "JFK", "SFO", "N1"), (2880, "LAX", "SFO", "N1")], [(0, "JFK", "SFO", None)])
    question = asked(5, via="SFO")

    [served] = live(stored(batches), [question])

    assert set(served.unanswerable) >= {
        "tail.dest_1h",
        "airport.busy@tail.dest_1h", "airport.delay_1h@tail.dest_1h", "airport.n_1h@tail.dest_1h",
        "leg.n_1h@via,tail.dest_1h",
    }  # fmt: skip
    assert vector(served, question)[-1] is None, (
        "the author's else_ is for what is not there, not for what is not known"
    )
    assert served == replaced_time(replayed(batches, question), served)


def test_each_lookup_says_which_part_of_the_log_its_values_contain() -> None:
    [served] = live(stored(EARLIER), [asked(5)])

    airport = key_of("airport")
    assert served.positions.keys() == {
        airport, key_of("tail"), f"{airport}{BY_TAIL}", f"{airport}@via", f"{key_of('leg')}@via,tail.dest_1h",
    }  # fmt: skip
    assert all(reached == {"tid/0": 4, "tid/1": 2} for reached in served.positions.values())


def test_features_are_as_of_the_view_that_is_furthest_behind_also_where_it_is_only_looked_up() -> None:
    airport, tail, leg = MODEL.all_views
    [slow] = live(extended(stored(EARLIER[:1], [leg]), EARLIER, [airport, tail]), [asked(5)])
    record = json_record(0, {"flight_id": "f", "origin": "JFK", "dest": "LAX", "tail": "N1", "delay_min": 0.0,
                             "diverted": False, "departed_at": START_MS}, appended_ms=START_MS)  # fmt: skip
    behind = stored([batch_of(PARTITIONS[0], [record])], [leg])
    [slower] = live(extended(behind, EARLIER, [airport, tail]), [asked(5)])
    [unstarted] = live(stored(EARLIER, [airport, tail]), [asked(5)])

    assert [each.as_of_ms for each in (slow, slower, unstarted)] == [2**42, START_MS, None]


def test_requests_of_one_micro_batch_share_what_they_look_up() -> None:
    questions = [asked(5), asked(6), asked(6, tail="N2")]
    store = stored(EARLIER)
    rows = [
        row_of(each, question.inputs, question.at_ms)
        for each, question in zip(live(store, questions), questions, strict=True)
    ]

    question = LookupReader(MODEL.lookups).question(rows)

    assert question.cells == [(key_of("airport"), "SFO"), (key_of("airport"), "LAX"), (key_of("leg"), '["LAX","SFO"]')]


def replaced_time(served: Served, like: Served) -> Served:
    """Return what was served, as of the time of another: a replay has no broker that tells one."""
    return replace(served, as_of_ms=like.as_of_ms)


events = st.tuples(
    st.integers(0, 60 * 30), st.sampled_from(AIRPORTS), st.sampled_from(AIRPORTS), st.none() | st.sampled_from(TAILS)
)
questions_of = st.builds(
    asked,
    st.integers(0, 60 * 30),
    st.none() | st.sampled_from((*AIRPORTS, "XXX")),
    st.none() | st.sampled_from((*TAILS, "N9")),
    st.none() | st.sampled_from((*AIRPORTS, "XXX")),
)


@settings(deadline=None, max_examples=150)
@given(st.lists(st.lists(events, max_size=12), min_size=2, max_size=2), st.lists(questions_of, min_size=1, max_size=4))
def test_a_replay_of_the_same_records_serves_exactly_what_was_served_live(
    partitions: list[list[tuple[int, str, str, str | None]]], questions: list[Question]
) -> None:
    batches = batches_of(*partitions)

    served = live(stored(batches), questions)

    for each, question in zip(served, questions, strict=True):
        again = replaced_time(replayed(batches, question), each)
        assert again == each
        assert [repr(value) for value in vector(again, question)] == [repr(value) for value in vector(each, question)]


def test_views_are_read_once_whoever_reads_them() -> None:
    views: tuple[ViewDefinition, ...] = MODEL.all_views

    assert [view.name for view in views] == ["airport", "tail", "leg"]
    assert [f"{each.view.name}{each.suffix}" for each in MODEL.lookups] == [
        "airport@tail.dest_1h", "airport@via", "leg@via,tail.dest_1h",
    ]  # fmt: skip
