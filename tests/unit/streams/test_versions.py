"""Which version of a view is read: each answer is of one version, and a switch costs one more round trip, once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from definitions.declared import AppDefinition, Field, ModelDefinition, ViewDefinition
from definitions.values import ValueType
from streams.errors import SwitchRefused
from streams.records import Partition
from streams.store import Answer, Question, Row, RowKey
from streams.store.memory import MemoryStore
from streams.switching import refuse_unreadable, switch
from streams.versions import InForce, ModelReader, read_in_force, read_versions, unreadable
from tests.builders import (
    EVENTS,
    VIEW,
    aggregate,
    app_definition,
    declare,
    feature_input,
    model_definition,
    view_definition,
)

AT_MS = 1_700_000_000_000
V1, V2 = view_definition(), view_definition(version=2)
NARROW = view_definition(version=3, aggregates=[aggregate("flights")])
LATE = model_definition(views=(V1,))
PINNED = model_definition(views=(V1,), name="pinned", pinned=("origin_traffic",))
NEXT = model_definition(views=(V2,), name="next")
APP: AppDefinition = app_definition(views=(V1, V2, NARROW), models=(LATE, PINNED, NEXT))
PARTITION = Partition(V1.sources[0].event.topic, 0, "t")


class Counted:
    """A store that counts how often it is read, and can be switched between two reads of one caller."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.reads = 0
        for view, reached in ((V1, 10), (V2, 20), (NARROW, 30)):
            self.store.create_row(RowKey(view.key, PARTITION), Row(next=reached, first=0))

    def read(self, question: Question) -> Answer:
        self.reads += 1
        return self.store.read(question)

    def switch(self, to: ViewDefinition) -> InForce:
        return switch(self.store, read_in_force(self.store, (V1, V2, NARROW)), to)


def versions_read(reader: ModelReader, counted: Counted) -> tuple[list[dict[str, int]], int]:
    """Return what each of two requests contained of which version, and how many round trips that took."""
    counted.reads = 0
    found = reader.read([{"origin": "JFK"}, {"origin": "LAX"}], [AT_MS, AT_MS], counted.read, pointers=["other"])
    assert found is not None
    assert found.pointers == [None]
    assert [view.key for view in found.views] == list(found.served[0].positions)
    reached = [{key: at[PARTITION.field] for key, at in served.positions.items()} for served in found.served]
    return reached, counted.reads


def test_a_model_follows_the_version_in_force_at_the_cost_of_one_read_once() -> None:
    counted, reader = Counted(), ModelReader(LATE, APP.views)
    of_v1, of_v2 = [{V1.key: 10}] * 2, [{V2.key: 20}] * 2

    assert versions_read(reader, counted) == (of_v1, 1)
    counted.switch(V2)
    assert versions_read(reader, counted) == (of_v2, 2)
    assert versions_read(reader, counted) == (of_v2, 1)
    counted.switch(V1)
    assert versions_read(reader, counted) == (of_v1, 2)
    assert versions_read(reader, counted) == (of_v1, 1)


@pytest.mark.parametrize("declared", [(V1,), (V1, NARROW)])
def test_a_version_that_is_not_known_or_cannot_be_read_is_not_followed(declared: tuple[ViewDefinition, ...]) -> None:
    counted, reader = Counted(), ModelReader(LATE, declared)
    counted.switch(declared[-1] if len(declared) > 1 else V2)

    assert versions_read(reader, counted) == ([{V1.key: 10}] * 2, 1)


def test_a_pinned_model_keeps_its_version() -> None:
    counted, reader = Counted(), ModelReader(PINNED, APP.views)
    counted.switch(V2)

    assert versions_read(reader, counted) == ([{V1.key: 10}] * 2, 1)


def test_a_store_that_does_not_answer_the_second_time_has_not_answered() -> None:
    counted, reader = Counted(), ModelReader(LATE, APP.views)
    counted.switch(V2)
    answers: list[Answer | None] = [None]

    def read(question: Question) -> Answer | None:
        answers.append(counted.read(question))
        return answers[1] if len(answers) == 2 else None

    assert reader.read([{"origin": "JFK"}], [AT_MS], read) is None
    assert versions_read(reader, counted) == ([{V2.key: 20}] * 2, 1)


def test_before_the_first_switch_each_model_reads_its_own_and_then_all_but_the_pinned_the_one_in_force() -> None:
    counted = Counted()
    before = read_in_force(counted.store, APP.versions("origin_traffic"))
    after = counted.switch(V2)

    def read(in_force: InForce) -> dict[str, int]:
        return {model: view.version for model, view in read_versions(APP, "origin_traffic", in_force).items()}

    assert (before.key, before.generation) == (V1.key, 0)
    assert read(before) == {"late.v1": 1, "pinned.v1": 1, "next.v1": 2}
    assert read(after) == {"late.v1": 2, "pinned.v1": 1, "next.v1": 2}


def test_what_a_model_cannot_read_in_another_version_is_named() -> None:
    renamed = view_definition(version=4, entity=["airport"])
    retyped = view_definition(version=5, aggregates=[aggregate("flights"), aggregate("delay", "sum", "seats")])
    narrow: ModelDefinition = model_definition(views=(V1,), inputs=[feature_input(V1, "flights_1h")], name="narrow")

    assert unreadable(LATE, V2) == unreadable(narrow, NARROW) == ()
    assert unreadable(narrow, renamed) == ("origin_traffic(origin)",)
    assert "origin_traffic.delay_1h" in unreadable(LATE, retyped)
    assert unreadable(LATE, NARROW) == tuple(
        f"origin_traffic.{name}" for name in ("delay_1h", "delay_24h", "worsening")
    )
    with pytest.raises(SwitchRefused, match=r"model late\.v1: expected origin_traffic\.delay_1h, .* with pins="):
        refuse_unreadable(APP, NARROW)
    refuse_unreadable(APP, V2)


def test_entities_of_another_type_cannot_be_asked_for() -> None:
    other = view_definition(version=6)
    object.__setattr__(other, "entity", (Field("origin", ValueType.INT),))

    assert unreadable(LATE, other) == ("origin_traffic(origin)",)


def test_a_graph_follows_views_and_keeps_them_from_being_dropped_as_models_do() -> None:
    module = declare(
        EVENTS,
        VIEW,
        "class Ranking(hr.Graph, version=1):\n"
        '    candidates = hr.candidates("origin", limit=9)\n'
        '    answer = candidates.score(OriginTraffic.flights["1h"])\n',
    )
    ranking = module["Ranking"].definition
    app = AppDefinition("trips", (), ranking.views, (), (ranking,))
    [view] = ranking.views

    assert read_versions(app, view.name, InForce(view.key, view.key)) == {"ranking.v1": view}
    assert unreadable(ranking, replace(view, features=())) == ("origin_traffic.flights_1h",)
    with pytest.raises(SwitchRefused, match=r"ranking.v1: expected origin_traffic.flights_1h"):
        refuse_unreadable(app, replace(view, version=2, features=()))
