"""What is served says how far it can be relied on: absent, unanswerable, stale and zero are told apart."""

from __future__ import annotations

from typing import Any

from definitions.declared import Feature
from definitions.expressions import Name, Operation
from definitions.values import ValueType
from streams.chain import Chain
from streams.engine import Engine
from streams.entities import asked_key, entity_key
from streams.intake import Intake
from streams.reading import FeatureReader
from streams.records import Partition
from streams.replay import PointInTime
from streams.store import Answer, Pointer, Row, RowKey, StoredRow
from streams.store.memory import MemoryStore
from tests.builders import aggregate, airport_day, event_definition, view_definition
from tests.records import batch_of, cut, json_record

START_MS = 1_700_000_000_000 // 3_600_000 * 3_600_000
EVENT = event_definition()
VIEW = view_definition(on=EVENT)
ROUTE = view_definition(
    on=EVENT, by=["origin", "dest"], name="route", aggregates=[aggregate("flights", windows=["1h"])]
)
PARTITIONS = [Partition(EVENT.topic, index, "tid") for index in (0, 1)]


def departed(offset: int, minutes: float, *, appended_ms: int | None = None) -> Any:
    event = {
        "flight_id": "x", "origin": "JFK", "dest": "LAX", "carrier": "UA", "delay_min": 4.0,
        "departed_at": START_MS + int(minutes * 60_000),
    }  # fmt: skip
    return json_record(offset, event, appended_ms=appended_ms or START_MS + 7_200_000 + offset)


def filled(*counts: int) -> MemoryStore:
    """Return a store that contains so many departures per partition, a minute apart."""
    store, intake = MemoryStore(), Intake(EVENT)
    for partition, count in zip(PARTITIONS, counts, strict=False):
        batch = intake.read(batch_of(partition, [departed(offset, offset) for offset in range(count)]))
        for view in (VIEW, ROUTE):
            engine, key = Engine(view.sources[0]), RowKey(view.key, partition)
            chain = Chain(store, key, store.create_row(key, Row(next=0, first=0)), engine.codec)
            applied = engine.apply(chain.row, chain.load, batch)
            chain.commit(applied.row, applied.changed)
    return store


def test_requests_of_one_question_are_served_each_its_own() -> None:
    store, reader = filled(3, 2), FeatureReader([VIEW, ROUTE])
    store.advance_pointer("p", Pointer(1, 2, "d"))
    question = reader.question(
        [{"origin": "JFK", "dest": "LAX"}, {"origin": "LGA", "dest": "LAX"}, {"origin": "JFK", "dest": None}],
        pointers=["p"],
    )
    answer = store.read(question)
    first, second, third = (reader.serve(question, answer, index, START_MS + 300_000) for index in range(3))

    assert first.values["origin_traffic.flights_1h"] == first.values["route.flights_1h"] == 5
    assert (first.absent, second.absent, third.absent) == ((), ("origin_traffic", "route"), ("route",))
    assert set(second.values.values()) == {None}
    assert third.values["origin_traffic.flights_1h"] == 5
    assert answer.pointers == [Pointer(1, 2, "d")]
    assert len(question.cells) == 4


def test_a_view_on_several_events_is_asked_for_in_one_question_and_served_beside_others() -> None:
    day = airport_day()
    reader = FeatureReader([VIEW, day, ROUTE])

    question = reader.question([{"origin": "JFK", "dest": "LAX", "airport": "JFK"}, {"origin": "JFK", "airport": None}])

    assert question.folds == [VIEW.key, f"{day.key}.departed", f"{day.key}.arrived", ROUTE.key]
    assert question.cells == [
        (VIEW.key, "JFK"),
        (f"{day.key}.departed", "JFK"),
        (f"{day.key}.arrived", "JFK"),
        (ROUTE.key, '["JFK","LAX"]'),
    ]
    assert question.places == [[0, 1, 2, 3], [0, None, None, None]]
    answer = filled(3).read(question)
    first, second = (reader.serve(question, answer, index, START_MS + 300_000) for index in range(2))
    assert (first.absent, second.absent) == (("airport_day",), ("airport_day", "route"))
    assert first.values["origin_traffic.flights_1h"] == first.values["route.flights_1h"] == 3
    assert first.values["airport_day.waiting"] is None


def test_positions_are_those_of_the_rows_or_of_the_cells_where_they_are_further() -> None:
    store, reader = filled(3, 2), FeatureReader([VIEW])
    key = RowKey(VIEW.key, PARTITIONS[0])
    [stored] = store.read_rows([key])
    [cell] = store.read_cells(key, ["JFK"])
    assert stored is not None
    assert cell is not None
    behind = MemoryStore()
    behind.create_row(key, Row(next=1, first=0))
    behind.create_row(RowKey(VIEW.key, PARTITIONS[1]), Row(next=2, first=0))
    behind._cells = store._cells
    question = reader.question([{"origin": "JFK"}, {"origin": "LGA"}])
    answer = behind.read(question)

    assert reader.serve(question, answer, 0, START_MS).positions == {VIEW.key: {"tid/0": 3, "tid/1": 2}}
    assert reader.serve(question, answer, 1, START_MS).positions == {VIEW.key: {"tid/0": 1, "tid/1": 2}}


def test_features_are_as_of_the_partition_that_is_furthest_behind() -> None:
    store, reader = filled(3, 2), FeatureReader([VIEW])
    question = reader.question([{"origin": "JFK"}])

    assert reader.serve(question, store.read(question), 0, START_MS).as_of_ms == START_MS + 7_200_000 + 1


def test_a_view_that_has_not_started_has_no_time_it_is_as_of() -> None:
    store, reader = MemoryStore(), FeatureReader([VIEW])
    question = reader.question([{"origin": "JFK"}])
    served = reader.serve(question, store.read(question), 0, START_MS)

    assert (served.as_of_ms, served.absent, served.positions) == (None, ("origin_traffic",), {VIEW.key: {}})


def test_what_an_expression_makes_of_nothing_is_served() -> None:
    guarded = Feature("rush", ValueType.FLOAT, expression=Operation("/", Name("n_1h"), Name("n_24h"), otherwise=0.5))
    view = view_definition(on=EVENT, aggregates=[aggregate("n")], expressions=[guarded])
    reader = FeatureReader([view])
    question = reader.question([{"origin": "LGA"}])

    served = reader.serve(question, MemoryStore().read(question), 0, START_MS)

    assert served.values == {"origin_traffic.n_1h": None, "origin_traffic.n_24h": None, "origin_traffic.rush": 0.5}


def test_a_question_about_a_past_that_was_given_up_is_unanswerable_and_so_is_what_is_computed_from_it() -> None:
    history = PointInTime([VIEW])
    history.apply(batch_of(PARTITIONS[0], [departed(0, 0), departed(1, 60 * 24 * 3, appended_ms=2**42)]))

    served = history.serve({"origin": "JFK"}, START_MS)

    assert served.unanswerable == (
        "origin_traffic.delay_1h", "origin_traffic.delay_24h", "origin_traffic.flights_1h",
        "origin_traffic.flights_24h", "origin_traffic.worsening",
    )  # fmt: skip
    assert set(served.values.values()) == {None}


def test_a_cell_removed_while_the_answer_was_read_is_judged_by_the_rows_behind_it() -> None:
    reader, name = FeatureReader([VIEW]), PARTITIONS[0].field
    question = reader.question([{"origin": "JFK"}])
    before = StoredRow(Row(next=1, first=0, newest_ms=START_MS), b"the mark")
    behind = StoredRow(Row(next=2, first=0, newest_ms=START_MS + 3 * 24 * 3_600_000), b"its heir")
    rows = [{name: before}]

    quiet = reader.serve(question, Answer(rows, [{}], []), 0, START_MS)
    removed = reader.serve(question, Answer(rows, [{}], [], [{name: behind}]), 0, START_MS)

    assert (quiet.absent, quiet.unanswerable) == (("origin_traffic",), ())
    assert (removed.absent, len(removed.unanswerable)) == ((), len(VIEW.features))


def test_a_known_entity_becomes_unknown_when_its_last_event_leaves_the_longest_window() -> None:
    history = PointInTime([VIEW])
    history.apply(batch_of(PARTITIONS[0], [departed(0, 0)]))
    grid_ms = 24 * 60_000
    last_ms = (START_MS // grid_ms + 60) * grid_ms

    known, unknown = (history.serve({"origin": "JFK"}, at_ms) for at_ms in (last_ms - 1, last_ms))

    assert (known.absent, known.values["origin_traffic.flights_24h"]) == ((), 1)
    assert (known.values["origin_traffic.flights_1h"], known.values["origin_traffic.delay_1h"]) == (0, None)
    assert (unknown.absent, set(unknown.values.values())) == (("origin_traffic",), {None})


def test_a_record_is_visible_when_it_and_all_before_it_are_old_enough() -> None:
    history = PointInTime([VIEW], delay_ms=60_000)
    for batch in cut(PARTITIONS[0], [departed(0, 10), departed(1, 5), departed(2, 20)], [2]):
        history.feed(batch)
    history.feed(batch_of(PARTITIONS[1], [departed(0, 6)]))
    seen = []
    for minutes in (6, 7, 10, 11, 20, 21):
        at_ms = START_MS + minutes * 60_000
        history.advance(at_ms)
        seen.append(history.serve({"origin": "JFK"}, at_ms).values["origin_traffic.flights_1h"])

    assert seen == [None, 1, 1, 3, 3, 4]


def test_an_entity_is_named_alike_by_events_and_by_requests() -> None:
    assert asked_key(["a", "b"], {"b": 7, "a": "x"}) == entity_key(["x", 7]) == '["x",7]'
    assert asked_key(["a"], {"a": 7}) == "7"
    assert asked_key(["a", "b"], {"a": "x", "b": None}) is None
    assert asked_key(["a"], {}) is None
