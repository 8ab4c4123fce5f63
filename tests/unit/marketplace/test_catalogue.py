"""The catalogue: what is declared, what was measured, and what a filter keeps."""

from __future__ import annotations

from dataclasses import replace

import pytest

from definitions.declared import (
    Aggregate,
    AppDefinition,
    EventDefinition,
    Feature,
    Field,
    Input,
    Lookup,
    Source,
    ViewDefinition,
    Window,
)
from definitions.expressions import Constant, Name, Operation
from definitions.values import ValueType
from marketplace.catalogue import Filter, Served, entries
from tests.builders import airport_day, model_definition

_HOUR = Window("1h", 3_600_000, 60_000)
_DEPARTED = EventDefinition(
    name="Departed",
    topic="flights.departed",
    fields=(Field("flight_id", ValueType.CATEGORY), Field("at", ValueType.TIME)),
    id="flight_id",
    at="at",
    key=("flight_id",),
    disorder_ms=0,
)
_TRAFFIC = ViewDefinition(
    name="origin_traffic",
    version=1,
    entity=(Field("origin", ValueType.CATEGORY),),
    sources=(Source(_DEPARTED, ("origin",), (Aggregate("flights", "count", None, (_HOUR,)),)),),
    features=(Feature("flights_1h", ValueType.INT, aggregate="flights", window="1h"),),
    digest="0" * 12,
    owner="ops-ml",
)
_APP = AppDefinition("flights", (_DEPARTED,), (_TRAFFIC,), ())
_SERVED = Served(n=100, missing=25, mean=4.0, minimum=0.0, maximum=9.0, top=(), reads_per_min=30.0)


def test_an_entry_says_what_the_feature_is_made_of() -> None:
    """A recipe in words, so that nobody has to read the definition."""
    (entry,) = entries(_APP, {})

    assert (entry.name, entry.recipe, entry.owner) == (
        "origin_traffic.flights_1h",
        "count of Departed over 1h",
        "ops-ml",
    )


def test_a_feature_of_a_view_on_several_events_names_those_that_it_is_made_from() -> None:
    """An expression is made from the events of all that it reads."""
    day = airport_day()
    found = {each.name.removeprefix("airport_day."): each for each in entries(AppDefinition("a", (), (day,), ()), {})}

    sources = {name: found[name].source for name in ("left_1h", "came_1h", "waiting")}
    assert sources == {"left_1h": "departed", "came_1h": "arrived", "waiting": "departed, arrived"}
    assert found["came_1h"].recipe == "count of arrived over 1h"
    assert {each.entity for each in found.values()} == {"airport"}


def test_what_was_never_served_has_no_statistics() -> None:
    """Never measured is not zero."""
    assert entries(_APP, {})[0].served is None


@pytest.mark.parametrize(
    ("wanted", "is_kept"),
    [
        (Filter(), True),
        (Filter(text="FLIGHTS_1"), True),
        (Filter(text="tail"), False),
        (Filter(type="int"), True),
        (Filter(type="float"), False),
        (Filter(entity="origin"), True),
        (Filter(owner="fleet"), False),
        (Filter(model="late.v1"), False),
        (Filter(min_missing_ratio=0.25), True),
        (Filter(min_missing_ratio=0.3), False),
        (Filter(min_reads_per_min=30.0), True),
        (Filter(min_reads_per_min=31.0), False),
    ],
)
def test_a_filter_keeps_by_what_is_declared_and_by_what_was_measured(wanted: Filter, *, is_kept: bool) -> None:
    """Search by type, entity, owner, statistic and usage."""
    (entry,) = entries(_APP, {"origin_traffic.flights_1h": _SERVED})

    assert wanted.keeps(entry) is is_kept


def test_a_feature_says_its_unit_or_its_length_and_who_reads_it_on_the_way() -> None:
    """A model reads what its expressions and lookups read, though it is no place of its vector."""
    features = (
        *_TRAFFIC.features,
        Feature("delay_1h", ValueType.FLOAT, unit="min"),
        Feature("state_1h", ValueType.EMBEDDING, length=8),
    )
    view = replace(_TRAFFIC, features=features)
    model = model_definition(
        views=[view],
        inputs=[
            Input("twice", ValueType.INT, expression=Operation("*", Name("origin_traffic.flights_1h"), Constant(2)))
        ],
        lookups=(Lookup(view, ("origin_traffic.state_1h",)),),
    )

    flights, delay, state = entries(AppDefinition("flights", (_DEPARTED,), (view,), (model,)), {})

    assert [each.shown_type for each in (flights, delay, state)] == ["int", "float, min", "embedding of 8"]
    assert [each.models for each in (flights, delay, state)] == [("late.v1",), (), ("late.v1",)]
    assert Filter(type="embedding").keeps(state)
