"""What `hr.Model`, `hr.Label`, `hr.Route` and the learners read, and what they refuse."""

from __future__ import annotations

import pytest

from definitions.declared import Input, RouteDefinition
from definitions.errors import DefinitionError
from definitions.expressions import Constant, Name, Operation
from definitions.values import ValueType
from tests.builders import EVENTS, VIEW, declare

PARTS = {
    "features": '[OriginTraffic.flights["1h"], OriginTraffic.worsening, hr.request("distance", float)]',
    "label": 'hr.Label(Arrived, key="flight_id", value=Arrived.delay_min > 15, within="24h", otherwise="drop")',
    "online": "hr.river(lambda: object())",
    "offline": 'hr.xgboost(objective="binary:logistic", max_depth=6)',
    "route": 'hr.Route(champion="offline", shadow=["online"])',
}


def model(keywords: str = "version=1", /, **changes: str | None) -> str:
    """Return a model whose class statement is line 13 of the module; a part that is None is left out."""
    parts = {**PARTS, **changes}
    lines = [f"class Late(hr.Model, {keywords}):", *(f"    {name} = {text}" for name, text in parts.items() if text)]
    return "\n".join(lines) + "\n"


def refusal(source: str) -> str:
    """Return the text with which the author's module is refused."""
    with pytest.raises(DefinitionError) as refused:
        declare(EVENTS, VIEW, source)
    return str(refused.value)


def test_a_class_becomes_its_definition() -> None:
    module = declare(EVENTS, VIEW, model('version=3, owner="ops-ml", timeout="250ms", tz="America/New_York"'))
    declared = module["Late"].definition

    assert (declared.key, declared.owner, declared.timeout_ms, declared.tz) == (
        "late.v3",
        "ops-ml",
        250,
        "America/New_York",
    )
    assert declared.inputs == (
        Input("origin_traffic.flights_1h", ValueType.INT, "origin_traffic", "flights_1h"),
        Input("origin_traffic.worsening", ValueType.FLOAT, "origin_traffic", "worsening"),
        Input("distance", ValueType.FLOAT),
    )
    assert declared.views == (module["OriginTraffic"].definition,)
    assert declared.entities == ("origin",)
    assert declared.route == RouteDefinition("offline", ("online",))


def test_features_may_be_asked_to_be_fresh() -> None:
    spans = [declare(EVENTS, VIEW, model(keywords))["Late"].definition.fresh_within_ms for keywords in (
        "version=1", 'version=1, fresh_within="30s"'
    )]  # fmt: skip

    assert spans == [None, 30_000]


def test_learners_are_the_attributes_that_hold_them() -> None:
    learners = declare(EVENTS, VIEW, model())["Late"].definition.learners

    assert {name: each.kind for name, each in learners.items()} == {"online": "river", "offline": "xgboost"}
    assert learners["offline"].parameters == {"objective": "binary:logistic", "max_depth": 6}
    assert learners["online"].factory is not None


def test_the_label_is_an_expression_of_its_events_fields() -> None:
    label = declare(EVENTS, VIEW, model())["Late"].definition.label

    assert label.event.name == "arrived"
    assert label.value == Operation(">", Name("delay_min"), Constant(15))
    assert (label.key, label.within_ms, label.otherwise) == ("flight_id", 86_400_000, None)


def test_a_label_says_what_revisions_do_and_which_predictions_of_a_key_count() -> None:
    plain = declare(EVENTS, VIEW, label())["Late"].definition
    chosen = declare(EVENTS, VIEW, label(revised='"replace"', per_key='"first"'))["Late"].definition

    assert (plain.label.revised, plain.label.per_key) == ("ignore", "all")
    assert (chosen.label.revised, chosen.label.per_key) == ("replace", "first")
    assert plain.label.type is ValueType.BOOL
    assert plain.digest != chosen.digest


@pytest.mark.parametrize(
    ("value", "otherwise", "expected"),
    [
        ("Arrived.late", "False", False),
        ("Arrived.delay_min", "0.0", 0.0),
        ("Arrived.delay_min", "0", 0),
        ("Arrived.gate == 'A1'", "True", True),
    ],
)
def test_a_prediction_without_a_label_may_get_one(value: str, otherwise: str, expected: object) -> None:
    text = f'hr.Label(Arrived, key="flight_id", value={value}, within="1d", otherwise={otherwise})'

    assert declare(EVENTS, VIEW, model(label=text))["Late"].definition.label.otherwise == expected


def label(**changes: str) -> str:
    """Return the model with another label."""
    arguments = {"key": '"flight_id"', "value": "Arrived.late", "within": '"24h"'} | changes
    event = arguments.pop("event", "Arrived")
    return model(label=f"hr.Label({event}, {', '.join(f'{name}={text}' for name, text in arguments.items())})")


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (label(revised='"forget"'), ":15: expected revised= to be 'ignore' or 'replace', got 'forget'"),
        (label(per_key='"last"'), ":15: expected per_key= to be 'all' or 'first', got 'last'"),
        (model(features=None), ":13: expected features to be a list of features and request inputs, got none"),
        (model(features="[]"), ":13: expected features to be a list of features and request inputs, got none"),
        (
            model(features="OriginTraffic.worsening"),
            ":13: expected features to be a list of features and request inputs",
        ),
        (model(features="[OriginTraffic.flights]"), 'name a window, as in ["1h"]'),
        (model(features="[OriginTraffic.worsening * 2]"), "declare the expression as an attribute of its view"),
        (
            model(features="[Departed.delay_min]"),
            ":13: expected features of views and hr.request(…), got departed.delay_min",
        ),
        (
            model(features="[OriginTraffic.worsening] * 2"),
            ":13: expected each input once, got origin_traffic.worsening twice",
        ),
        (model(features='[OriginTraffic.flights["2h"]]'), ":14: expected one of 1h, 24h, got '2h'"),
        (model(features='[hr.request("class", str)]'), ":14: expected a name, got the Python keyword 'class'"),
        (
            model(features='[hr.request("a.b", str)]'),
            ":14: expected a name of letters, digits and underscores, got 'a.b'",
        ),
        (
            model(features='[hr.request("at", datetime)]'),
            ":14: expected int, float, bool, str or list[float], got datetime",
        ),
        (
            model(features='[hr.request("at", "float")]'),
            ":14: expected int, float, bool, str or list[float], got 'float'",
        ),
        (model(route=None), ':13: expected route to say who answers, got none; write hr.Route(champion="online")'),
        (model(route="hr.Route()"), ":18: expected champion= to name a learner, got ''"),
        (model(route='hr.Route(shadow=["online"])'), ":18: expected champion= to name a learner, got ''"),
        (
            model(route='hr.Route(champion="ofline")'),
            ":18: expected route to name one of online, offline, got 'ofline'",
        ),
        (model(route='hr.Route(champion="ofline")'), "did you mean 'offline'?"),
        (model(route='hr.Route(champion="offline", shadow=["x"])'), ":18: expected route to name one of"),
        (model(route='hr.Route(champion="offline", shadow=["offline"])'), ":18: expected each learner once"),
        (model(route='hr.Route(champion="offline", shadow="online")'), ":18: expected shadow= to be a tuple of texts"),
        (model(online=None, offline=None), ":13: expected at least one learner, got none"),
        (model(online="hr.river(5)"), ":16: expected a function that builds an estimator, got 5"),
        (model(online="hr.river(object, balance='half')"), ":16: expected balance= to weigh both labels by numbers"),
        (model(online="hr.river(object, balance={True: 2})"), 'write balance="labels" or balance={True: 5, False: 1}'),
        (model(online="hr.river(object, balance={True: 0, False: 1})"), ":16: expected balance= to weigh both labels"),
        (model(online="hr.river(object, only=1)"), ":16: expected only= to be True or False, got 1"),
        (
            model(online="hr.river(object, weight='distence')"),
            "origin_traffic.worsening, distance, got 'distence'; did you mean 'distance'?",
        ),
        (model(offline="hr.xgboost(max_depth=[1])"), ":17: expected parameter max_depth to be a number, a text"),
        (model(offline="hr.xgboost(eta=float('nan'))"), ":17: expected parameter eta to be a number, a text"),
        (
            model(lable="5"),
            ":13: expected attributes features, label, route and learners, got lable = 5; did you mean 'label'?",
        ),
        (model(label=None), ":13: expected label to say what is learned, got none"),
        (model("owner='x'"), ":13: expected the keyword version=, got none"),
        (model('version=1, fresh_within="soon"'), "app.py:13: expected a number and ms, s, m, h or d, got 'soon'"),
        (model('version=1, timeout="soon"'), "app.py:13: expected a number and ms, s, m, h or d, got 'soon'"),
        (model('version=1, tz="America"'), ":13: expected tz= to be an IANA time zone, got 'America'"),
        (model('version=1, tz="../zone"'), ":13: expected tz= to be an IANA time zone, got '../zone'"),
        (model('version=1, tz=""'), ":13: expected tz= to be an IANA time zone, got ''"),
        (model("version=1, tz=1"), ":13: expected tz= to be text, got 1"),
        (model('version=1, tz="Mars"'), ":13: expected tz= to be an IANA time zone, got 'Mars'"),
        (model('version=1, timout="1s"'), "got timout=; did you mean 'timeout'?"),
        (label(key='"flight"'), ":15: expected key= to be a field of arrived, one of"),
        (label(key='"delay_min"'), ":15: expected key= to be a str or an int, got delay_min, a float"),
        (
            label(event="Departed", key='"tail"', value="Departed.diverted"),
            ":15: expected key= to be never null, got tail",
        ),
        (label(value="Arrived.gate"), ":15: expected value= to be a bool or a number, got arrived.gate, a str"),
        (
            label(value="Arrived.arrived_at"),
            ":15: expected value= to be a bool or a number, got arrived.arrived_at, a datetime",
        ),
        (
            label(value="Departed.delay_min > 15"),
            ":15: expected value= to read fields of arrived, got departed.delay_min",
        ),
        (
            label(value="OriginTraffic.worsening > 15"),
            ":15: expected value= to read fields of arrived, got origin_traffic.worsening",
        ),
        (label(value="True"), ":15: expected value= to be an expression of the event's fields, got True"),
        (label(otherwise="0"), ':15: expected otherwise= to be "drop" or a bool, as the value is, got 0'),
        (label(within='"24x"'), "app.py:15: expected a number and ms, s, m, h or d, got '24x'"),
        (label(event="5"), ":15: expected a class of hr.Event, got 5"),
    ],
)
def test_a_wrong_model_is_refused_with_its_line_and_the_mend(source: str, text: str) -> None:
    said = refusal(source)

    assert text in said
    assert "app.py:" in said


def test_one_model_reads_one_version_of_a_view() -> None:
    second = VIEW.replace("version=1", "version=2").replace("class OriginTraffic", "class OriginTraffic")
    source = "First = OriginTraffic\n" + second + model(features='[First.worsening, OriginTraffic.flights["1h"]]')

    assert "expected one version of view origin_traffic, got two" in refusal(source)


def test_an_entity_has_one_type_in_a_model() -> None:
    other = """\
class Weather(hr.Event, topic="weather", id="id", at="at"):
    id: str; origin: int; at: datetime
class OriginWeather(hr.Features, on=Weather, by="origin", version=1):
    n = hr.count().over("1h")
"""
    source = other + model(features='[OriginTraffic.worsening, OriginWeather.n["1h"]]')

    assert "expected entity origin of one type, got str in origin_traffic, int in origin_weather" in refusal(source)


def test_a_model_names_one_of_several_features_by_window_and_part() -> None:
    tails = VIEW + '    tails = hr.last_k(Departed.tail, 2).over("1h")\n'

    declared = declare(EVENTS, tails, model(features='[OriginTraffic.tails["1h", 2]]'))["Late"].definition
    with pytest.raises(DefinitionError, match=r'name a window, as in \["1h", 1\]'):
        declare(EVENTS, tails, model(features="[OriginTraffic.tails]"))

    assert [each.name for each in declared.inputs] == ["origin_traffic.tails_1h_2"]


def test_two_versions_of_a_view_stand_in_one_module_and_a_model_may_pin_the_one_it_is_of() -> None:
    second = VIEW.replace("class OriginTraffic(hr.Features,", 'class NextTraffic(hr.Features, name="origin_traffic",')
    second = second.replace("version=1", "version=2")

    module = declare(EVENTS, VIEW, second, model("version=1, pins=OriginTraffic"))

    first, other = module["OriginTraffic"].definition, module["NextTraffic"].definition
    assert (first.name, first.version, other.name, other.version) == ("origin_traffic", 1, "origin_traffic", 2)
    assert first.digest == other.digest
    assert module["Late"].definition.pinned == ("origin_traffic",)
    assert module["Late"].definition.digest == declare(EVENTS, VIEW, model())["Late"].definition.digest
    with pytest.raises(DefinitionError, match="expected pins= to name views that the features are of"):
        declare(EVENTS, VIEW, second, model("version=1, pins=NextTraffic"))
    with pytest.raises(DefinitionError, match="expected pins= to be a class"):
        declare(EVENTS, VIEW, model("version=1, pins='origin_traffic'"))


def test_what_a_learner_makes_of_an_example_is_part_of_its_identity() -> None:
    options = ("", ", weight='distance'", ", balance='labels'", ", balance={True: 2, False: 1}", ", only=False")

    digests = {
        declare(EVENTS, VIEW, model(online=f"hr.river(object{each})"))["Late"].definition.digest for each in options
    }

    assert len(digests) == len(options)


WITH_CARRIER = '[OriginTraffic.flights["1h"], hr.request("carrier", str), hr.request("distance", float)]'


def test_segments_are_values_of_a_category_and_no_part_of_what_the_model_is() -> None:
    source = model('version=1, segments={"carrier": ("UA", "AA")}', features=WITH_CARRIER)
    declared = declare(EVENTS, VIEW, source)["Late"].definition

    assert declared.segments == {"carrier": ("UA", "AA")}
    assert declared.digest == declare(EVENTS, VIEW, model(features=WITH_CARRIER))["Late"].definition.digest


@pytest.mark.parametrize(
    ("segments", "text"),
    [
        ('"carrier"', "expected segments= to be at most 5 categories with their values"),
        ("{str(each): () for each in range(6)}", "expected segments= to be at most 5 categories"),
        ('{"carier": ("UA",)}', "expected segments= to name a category of the vector, one of carrier, got 'carier'"),
        ('{"distance": ("1",)}', "expected segments= to name a category of the vector, one of carrier, got 'distance'"),
        ('{"carrier": "UA"}', "expected segments['carrier']= to be a tuple of texts, got 'UA'"),
        ('{"carrier": ("UA", "UA")}', "expected segments['carrier'] to be 1 to 20 values, each once"),
        ('{"carrier": ()}', "expected segments['carrier'] to be 1 to 20 values, each once"),
    ],
)
def test_segments_that_cannot_be_told_apart_are_refused(segments: str, text: str) -> None:
    assert text in refusal(model(f"version=1, segments={segments}", features=WITH_CARRIER))
