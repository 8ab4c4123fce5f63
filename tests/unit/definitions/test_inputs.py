"""What a model reads beside the features of its own entities: expressions, lookups and what requests carry."""

from __future__ import annotations

import pytest

from definitions.declared import Input, Lookup, ModelDefinition
from definitions.errors import DefinitionError
from definitions.expressions import ASKED_AT, Function, Name, Operation
from definitions.identity import difference
from definitions.values import ValueType
from tests.builders import EVENTS, declare

VIEWS = """\
class Traffic(hr.Features, on=Departed, by="origin", version=1):
    n = hr.count().over("1h")
    newest = hr.last(Departed.departed_at).over("1h")
class Tail(hr.Features, on=Departed, by="tail", version=1):
    dest = hr.last(Departed.dest).over("24h")
    seats = hr.last(Departed.seats).over("24h")
class Route(hr.Features, on=Departed, by=("origin", "dest"), version=1):
    n = hr.count().over("1h")
"""
LINE = 19
"""Where a model's list of features begins."""


def model(*features: str) -> str:
    """Return a model with these features, one a line from line `LINE` on."""
    return (
        "class Late(hr.Model, version=1):\n    features = [\n"
        + "".join(f"{each},\n" for each in features)
        + '    ]\n    label = hr.Label(Arrived, key="flight_id", value=Arrived.late, within="1h")\n'
        '    offline = hr.xgboost()\n    route = hr.Route(champion="offline")\n'
    )


def declared(*features: str) -> ModelDefinition:
    definition: ModelDefinition = declare(EVENTS, VIEWS, model(*features))["Late"].definition
    return definition


def refusal(*features: str) -> str:
    with pytest.raises(DefinitionError) as refused:
        declare(EVENTS, VIEWS, model(*features))
    return str(refused.value)


PER_SEAT = 'hr.named("per_seat", Traffic.n["1h"] / hr.request("seats", int))'
BY_TAIL = 'hr.lookup(Traffic.n["1h"], by=Tail.dest["24h"])'


def test_an_expression_over_views_and_requests_has_the_name_it_is_given() -> None:
    definition = declared(PER_SEAT, 'hr.request("distance", float)')

    [per_seat, distance] = definition.inputs
    assert per_seat == Input("per_seat", ValueType.FLOAT)
    assert per_seat.expression == Operation("/", Name("traffic.n_1h"), Name("seats"))
    assert not per_seat.is_request
    assert [each.name for each in definition.views] == ["traffic"]
    assert definition.carried == (Input("seats", ValueType.INT),)
    assert definition.requests == (distance, Input("seats", ValueType.INT))
    assert definition.reads == {"traffic.n_1h", "seats", "distance"}


def test_what_is_in_the_vector_already_is_not_carried_twice() -> None:
    definition = declared(PER_SEAT, 'hr.request("seats", int)')

    assert definition.carried == ()
    assert definition.requests == (Input("seats", ValueType.INT),)


def test_a_feature_is_looked_up_for_the_entity_that_another_names() -> None:
    definition = declared(
        BY_TAIL,
        'hr.named("more", hr.lookup(Traffic.n["1h"], by=Tail.dest["24h"]) - Traffic.n["1h"])',
        'hr.lookup(Route.n["1h"], by=(hr.request("from_", str), Tail.dest["24h"]))',
    )

    traffic, tail, route = (
        next(v for v in definition.all_views if v.name == name) for name in ("traffic", "tail", "route")
    )
    assert [each.name for each in definition.inputs] == [
        "traffic.n_1h@tail.dest_24h", "more", "route.n_1h@from_,tail.dest_24h",
    ]  # fmt: skip
    assert definition.inputs[1].expression == Operation("-", Name("traffic.n_1h@tail.dest_24h"), Name("traffic.n_1h"))
    assert definition.lookups == (
        Lookup(traffic, ("tail.dest_24h",)),
        Lookup(route, ("from_", "tail.dest_24h")),
    )
    assert definition.views == (tail, traffic)
    assert definition.all_views == (tail, traffic, route)
    assert definition.entities == ("tail", "origin")
    assert [each.name for each in definition.carried] == ["from_"]
    assert definition.reads == {"traffic.n_1h", "tail.dest_24h", "route.n_1h", "from_"}


def test_the_time_asked_about_is_part_of_expressions() -> None:
    [weekday, since] = declared(
        'hr.named("weekday", hr.weekday(hr.asked_at(), tz="America/New_York"))',
        'hr.named("since", hr.asked_at() - Traffic.newest["1h"])',
    ).inputs

    assert weekday.expression == Function("weekday", Name(ASKED_AT), ("America/New_York",))
    assert since.expression == Operation("-", Name(ASKED_AT), Name("traffic.newest_1h"))
    assert (since.type, since.unit) == (ValueType.INT, "ms")


def test_a_request_may_carry_an_embedding() -> None:
    [embedding] = declared('hr.request("query", list[float], length=3)').inputs

    assert (embedding.type, embedding.length) == (ValueType.EMBEDDING, 3)


@pytest.mark.parametrize(
    ("feature", "text"),
    [
        (
            'Traffic.n["1h"] / 2',
            "got (traffic.n_1h / 2); declare the expression as an attribute of its view, or name it",
        ),
        ('hr.named("a.b", Traffic.n["1h"])', f":{LINE}: expected a name of letters, digits and underscores"),
        ('hr.named("a", 5)', f":{LINE}: expected an expression, got 5"),
        (
            'hr.named("a", Departed.delay_min * 2)',
            "expected expressions of features of views and hr.request(…), got dep",
        ),
        (
            'hr.named("a", Traffic.newest["1h"])',
            "expected a to be a number, a bool, a str or an embedding, got a time; w",
        ),
        (
            'Traffic.newest["1h"]',
            "expected traffic.newest_1h to be a number, a bool, a str or an embedding, got a time",
        ),
        ("hr.asked_at()", "got hr.asked_at()"),
        (
            'hr.named("seats", hr.request("seats", int) + 1)',
            "that do not read themselves, got seats <- seats; a request",
        ),
        (
            'hr.named("x", hr.request("y", int) + 1), hr.named("y", hr.request("x", int) + 1)',
            "expected expressions that do not read themselves, got x <- y <- x",
        ),
        (f'{PER_SEAT}, hr.request("per_seat", int)', "expected each input once, got per_seat twice"),
        (
            f'{PER_SEAT}, hr.named("y", hr.request("per_seat", int) + 1)',
            "expected per_seat to name one thing, got an expression and a request input",
        ),
        (f'{PER_SEAT}, hr.named("per_seat", hr.request("x", int) + 1)', "expected each input once, got per_seat twice"),
        (
            f'{PER_SEAT}, hr.request("seats", float)',
            "expected request input seats of one type and unit, got int and flo",
        ),
        (
            'hr.named("a", hr.request("x", float, unit="km") + 1), hr.request("x", float, unit="mi")',
            "expected request input x of one type and unit, got float km and float mi",
        ),
        ('hr.request("x", list[float])', "expected x to have a length of 1 to 4096, got None"),
        ('hr.request("x", int, length=2)', "expected a length of list[float] only, not of x, got an int"),
        ('hr.request("x", str, unit="m")', "expected a unit of a number only, not of x, got a str"),
        ("hr.lookup(5, by=Tail.dest)", f":{LINE}: expected a feature of a view, got 5; as in CarrierStats."),
        ('hr.lookup(Traffic.n["1h"], by=())', f":{LINE}: expected by= to give origin of traffic, got 0 terms"),
        ('hr.lookup(Route.n["1h"], by=Tail.dest["24h"])', "expected by= to give origin, dest of route, got 1 terms"),
        ('hr.lookup(Traffic.n["1h"], by="JFK")', "expected by= to be a feature or a request input, got 'JFK'"),
        (
            'hr.lookup(Traffic.n["1h"], by=Tail.seats["24h"])',
            "expected by= to be a str, as origin of traffic is, got an i",
        ),
        (f'hr.lookup(Tail.dest["24h"], by={BY_TAIL})', "a feature that is looked up cannot name what is looked up"),
        (
            'hr.lookup(Traffic.n["1h"], by=Tail.dest["24h"].else_("JFK"))',
            "got tail.dest_24h.else_('JFK'); declare an expression as an attribute of its view",
        ),
    ],
)
def test_what_a_model_cannot_read_is_refused_with_its_line_and_the_mend(feature: str, text: str) -> None:
    said = refusal(feature)

    assert text in said
    assert "app.py:" in said


def test_a_label_reads_its_event_alone() -> None:
    for value in ("hr.asked_at() > hr.asked_at()", 'hr.request("x", int) > 1'):
        source = model(PER_SEAT).replace("value=Arrived.late", f"value={value}")
        with pytest.raises(DefinitionError, match=r"expected value= to read fields of arrived, got hr\."):
            declare(EVENTS, VIEWS, source)


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        (PER_SEAT, PER_SEAT.replace("/", "*"), "inputs[0].expression.expression"),
        (PER_SEAT, PER_SEAT.replace("int", "float"), "inputs[0].expression.reads.seats.type"),
        (BY_TAIL, BY_TAIL.replace('Tail.dest["24h"]', 'hr.request("d", str)'), "inputs[0].name"),
        ('hr.request("q", list[float], length=3)', 'hr.request("q", list[float], length=4)', "inputs[0].length"),
        (
            'hr.named("h", hr.hour(hr.asked_at(), tz="UTC"))',
            'hr.named("h", hr.hour(hr.asked_at(), tz="Asia/Tokyo"))',
            "inputs[0].expression.expression",
        ),
    ],
)
def test_what_is_behind_a_models_vector_decides_its_digest(before: str, after: str, changed: str) -> None:
    old, new = declared(before), declared(after)

    assert old.digest != new.digest
    assert changed in (difference(old, new) or "")


def test_another_recipe_of_what_is_looked_up_or_looked_up_by_is_another_model() -> None:
    old = declared(BY_TAIL)
    digests = {
        declare(EVENTS, VIEWS.replace(*change), model(BY_TAIL))["Late"].definition.digest
        for change in (
            ('by="tail", version=1', 'by="tail", version=2'),
            (
                'class Traffic(hr.Features, on=Departed, by="origin"',
                'class Traffic(hr.Features, on=Departed, by="dest"',
            ),
        )
    }

    assert len(digests | {old.digest}) == 3
