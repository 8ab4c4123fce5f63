"""A view on several events: what `hr.Features` reads from one, what it refuses, and what its sources are called."""

from __future__ import annotations

from dataclasses import replace

import pytest

from definitions.declared import Aggregate, Feature, Field, Source, ViewDefinition, Window
from definitions.errors import DefinitionError
from definitions.expressions import Name, Operation
from definitions.identity import difference, view_digest
from definitions.values import ValueType
from tests.builders import airport_day, declare, view_definition

EVENTS = """\
from datetime import datetime
import headrace as hr
class Departed(hr.Event, topic="flights.departed", id="flight_id", at="departed_at", disorder="15m"):
    flight_id: str; origin: str; dest: str; gate: int; delay_min: float; departed_at: datetime
class Arrived(hr.Event, topic="flights.arrived", id="flight_id", at="arrived_at", disorder="1h"):
    flight_id: str; origin: str; dest: str | None; gate: str; delay_min: float; late: bool; arrived_at: datetime
class Weather(hr.Event, topic="weather", id="id", at="at"):
    id: str; origin: str; at: datetime
"""
BY_EACH = 'by={Departed: "origin", Arrived: "dest"}'
NAMED = f'entity="airport", {BY_EACH}'
COUNTS = ('left = hr.count(Departed).over("1h")', 'came = hr.count(Arrived).over("1h")')
HOUR = Window("1h", 3_600_000, 60_000)


def view(*lines: str, keywords: str = NAMED, on: str = "(Departed, Arrived)") -> str:
    """Return a view whose class statement is line 9 of the module, its first attribute line 10."""
    return "\n    ".join([f"class V(hr.Features, on={on}, {keywords}, version=1):", *lines]) + "\n"


def declared(*source: str) -> ViewDefinition:
    """Return the view ``V`` of the author's module."""
    found: ViewDefinition = declare(EVENTS, *source)["V"].definition
    return found


def refusal(*source: str) -> str:
    """Return the text with which the author's module is refused."""
    with pytest.raises(DefinitionError) as refused:
        declare(EVENTS, *source)
    return str(refused.value)


def test_each_event_is_a_source_with_its_own_aggregates() -> None:
    module = declare(
        EVENTS,
        view(
            'came = hr.count(Arrived).over("1h")',
            'left = hr.count(Departed).over("1h")',
            'delay = hr.mean(Arrived.delay_min).over("1h")',
            'waiting = came["1h"] - left["1h"]',
        ),
    )
    found = module["V"].definition

    assert found.entity == (Field("airport", ValueType.CATEGORY, nullable=True),)
    assert [replace(each, view="", version=0, key="") for each in found.sources] == [
        Source(module["Departed"].definition, ("origin",), (Aggregate("left", "count", None, (HOUR,)),)),
        Source(
            module["Arrived"].definition,
            ("dest",),
            (Aggregate("came", "count", None, (HOUR,)), Aggregate("delay", "mean", "delay_min", (HOUR,))),
        ),
    ]
    assert [each.name for each in found.features] == ["came_1h", "left_1h", "delay_1h", "waiting"]
    assert found.features[-1] == Feature(
        "waiting", ValueType.INT, expression=Operation("-", Name("came_1h"), Name("left_1h"))
    )


def test_a_field_of_one_name_in_every_event_needs_no_other_name() -> None:
    assert declared(view(*COUNTS, keywords='by="origin"')).entity_names == ("origin",)
    assert declared(view(*COUNTS, keywords='by={Departed: "origin", Arrived: "origin"}')).entity_names == ("origin",)


def test_parts_of_an_entity_are_matched_by_their_place() -> None:
    found = declared(
        view(
            *COUNTS, keywords='entity=("here", "there"), by={Arrived: ("dest", "origin"), Departed: ("origin", "dest")}'
        )
    )

    assert [each.by for each in found.sources] == [("origin", "dest"), ("dest", "origin")]
    assert [(each.name, each.nullable) for each in found.entity] == [("here", True), ("there", False)]


def test_an_entity_of_one_event_may_be_called_something_else_and_keeps_its_state() -> None:
    count = 'n = hr.count(Departed).over("1h")'
    renamed = declared(view(count, keywords='entity="airport", by="origin"', on="Departed"))
    plain = declared(view(count, keywords='by="origin"', on="Departed"))

    assert (renamed.entity_names, plain.entity_names) == (("airport",), ("origin",))
    assert renamed.sources == plain.sources


def test_one_source_is_folded_under_the_views_key_and_several_under_their_events_names() -> None:
    one, several = view_definition(), airport_day()

    assert [each.key for each in one.sources] == [one.key]
    assert [each.key for each in several.sources] == [f"{several.key}.departed", f"{several.key}.arrived"]
    assert {each.view for each in several.sources} == {"airport_day"}
    assert replace(several, version=2).sources[0].key.startswith("airport_day.v2.")


def test_the_digest_covers_every_source_and_neither_their_order_nor_what_requests_call_the_entity() -> None:
    day = airport_day()
    departed, arrived = day.sources
    turned, renamed = airport_day(sources=[arrived, departed]), airport_day(entity=["place"])
    other = airport_day(sources=[departed, replace(arrived, event=replace(arrived.event, disorder_ms=1))])
    later = airport_day(sources=[departed, replace(arrived, event=replace(arrived.event, name="landed"))])

    assert view_digest(day) == view_digest(turned) == view_digest(renamed)
    assert len({each.digest for each in (day, other, later, view_definition())}) == 4
    assert difference(day, other) == "sources.arrived.event.disorder_ms was 3600000, is 1"


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (
            view('n = hr.count().over("1h")'),
            ":10: expected n to say which of departed or arrived it counts, got hr.cou",
        ),
        (view('n = hr.count().over("1h")'), "got hr.count(); write hr.count(Departed)"),
        (
            view('n = hr.count(Weather).over("1h")'),
            ":10: expected n to count departed or arrived, got hr.count(weather)",
        ),
        (view("n = hr.count(Departed)"), ':10: expected n over windows, got hr.count(departed); write .over("1h")'),
        (view("n = hr.count(5)"), ":10: expected a class of hr.Event, got 5"),
        (view("n = hr.count(hr.Event)"), ":10: expected a class of hr.Event, got"),
        (
            view('n = hr.count(Arrived).over("1h")', keywords='by="origin"', on="Departed"),
            ":10: expected n to count departed, got hr.count(arrived)",
        ),
        (
            view('n = hr.last(Weather.id).over("1h")'),
            ":10: expected n to read a field of departed or arrived, got weather.id",
        ),
        (view(COUNTS[0]), ":9: expected an aggregate of arrived, got none; write hr.count(Arrived), or leave Arrived"),
        (view(*COUNTS, on="(Departed, Departed)"), ":9: expected on= to name each event once"),
        (view(*COUNTS, on="()"), ":9: expected on= to be a class of hr.Event or a tuple of such classes, got ()"),
        (
            view(*COUNTS, on="(Departed, 5)"),
            ":9: expected on= to be a class of hr.Event or a tuple of such classes, got 5",
        ),
        (view(*COUNTS, keywords='by="dest_"'), ":9: expected by= to be a field of departed, one of"),
        (
            view(*COUNTS, keywords=BY_EACH),
            ":9: expected entity= where events name the entity differently, got origin and",
        ),
        (view(*COUNTS, keywords=BY_EACH), 'got origin and dest; write entity="…"'),
        (
            view(*COUNTS, keywords='entity="airport", by={Departed: "origin"}'),
            ':9: expected by= to say the fields of departed and arrived, got none of arrived; write Arrived: "…"',
        ),
        (
            view(*COUNTS, keywords=NAMED.replace("}", ', Weather: "origin"}')),
            ":9: expected by= to say the fields of departed and arrived, got some of Weather; name it in on= too",
        ),
        (
            view(*COUNTS, keywords=NAMED.replace("}", ', 5: "origin"}')),
            ":9: expected by= to say the fields of departed and arrived, got some of 5",
        ),
        (
            view(*COUNTS, keywords='entity="gate", by="gate"'),
            ":9: expected gate to be of one type in every event, got departed.gate, an int and arrived.gate, a str",
        ),
        (
            view(*COUNTS, keywords='entity="x", by={Departed: "origin", Arrived: ("origin", "dest")}'),
            ":9: expected by= to name as many fields of each event, got 1 and, of arrived, 2",
        ),
        (view(*COUNTS, keywords=f'entity=("a", "b"), {BY_EACH}'), ":9: expected entity= to name 1, as by= does, got"),
        (
            view(*COUNTS, keywords=f"entity=5, {BY_EACH}"),
            ":9: expected entity= to be a name or a tuple of names, got 5",
        ),
        (view(*COUNTS, keywords=f'entity="a b", {BY_EACH}'), ":9: expected a name of letters, digits and underscores"),
        (
            view(*COUNTS, keywords='entity="x", by={Departed: "origin", Arrived: "late"}'),
            ":9: expected by= to be a str or an int, got late, a bool",
        ),
    ],
)
def test_what_cannot_be_one_view_is_refused_with_its_line_and_the_mend(source: str, text: str) -> None:
    said = refusal(source)

    assert text in said
    assert "cannot declare" in said
    assert "app.py:" in said


def test_an_entity_has_one_type_in_a_model_by_the_name_that_requests_give_it() -> None:
    others = """\
class Gates(hr.Features, on=Departed, entity="airport", by="gate", version=1):
    n = hr.count().over("1h")
class Late(hr.Model, version=1):
    features = [V.left["1h"], Gates.n["1h"]]
    label = hr.Label(Arrived, key="flight_id", value=Arrived.late, within="1h")
    online = hr.river(object)
    route = hr.Route(champion="online")
"""

    said = refusal(view(*COUNTS), others)

    assert "expected entity airport of one type, got str in v, int in gates" in said
