"""What `hr.Features` reads from a class, and what it refuses."""

from __future__ import annotations

import re

import pytest

from definitions.declared import Aggregate, Feature, Window
from definitions.declaring import Declaring
from definitions.errors import DefinitionError
from definitions.expressions import ASKED_AT, Constant, Function, Name, Operation
from definitions.features import _refuse_cycle
from definitions.values import ValueType
from tests.builders import EVENTS, VIEW, declare

HOUR, DAY = 3_600_000, 86_400_000


def view(*lines: str, keywords: str = 'on=Departed, by="origin", version=1', name: str = "V") -> str:
    """Return a view whose class statement is line 9 of the module, its first attribute line 10."""
    return "\n    ".join([f"class {name}(hr.Features, {keywords}):", *lines]) + "\n"


def refusal(*source: str) -> str:
    """Return the text with which the author's module is refused."""
    with pytest.raises(DefinitionError) as refused:
        declare(EVENTS, *source)
    return str(refused.value)


def test_a_class_becomes_its_definition() -> None:
    declared = declare(EVENTS, VIEW)["OriginTraffic"].definition

    hour, day = Window("1h", HOUR, 60_000), Window("24h", DAY, 24 * 60_000)
    assert (declared.name, declared.version, declared.owner, declared.entity_names) == (
        "origin_traffic",
        1,
        "ops-ml",
        ("origin",),
    )
    assert declared.aggregates == (
        Aggregate("flights", "count", None, (hour, day)),
        Aggregate("delay", "mean", "delay_min", (hour, day)),
    )
    assert declared.features == (
        Feature("flights_1h", ValueType.INT, aggregate="flights", window="1h"),
        Feature("flights_24h", ValueType.INT, aggregate="flights", window="24h"),
        Feature("delay_1h", ValueType.FLOAT, aggregate="delay", window="1h"),
        Feature("delay_24h", ValueType.FLOAT, aggregate="delay", window="24h"),
        Feature("worsening", ValueType.FLOAT, expression=Operation("-", Name("delay_1h"), Name("delay_24h"))),
    )
    assert declared.key == f"origin_traffic.v1.{declared.digest}"


def test_the_entity_may_be_named_by_several_fields_and_the_docstring_describes() -> None:
    keywords = 'on=Departed, by=("origin", "dest"), version=2, tags=["traffic"]'
    declared = declare(
        EVENTS, view('"""Both ways.\n\n    And back."""', 'n = hr.count().over("1h")', keywords=keywords)
    )

    definition = declared["V"].definition

    assert definition.sources[0].by == definition.entity_names == ("origin", "dest")
    assert definition.tags == ("traffic",)
    assert definition.description == "Both ways.\n\nAnd back."


@pytest.mark.parametrize(
    ("aggregate", "kind"),
    [
        ("hr.count()", ValueType.INT),
        ("hr.sum(Departed.seats)", ValueType.INT),
        ("hr.sum(Departed.delay_min)", ValueType.FLOAT),
        ("hr.sum(Departed.diverted)", ValueType.INT),
        ("hr.mean(Departed.seats)", ValueType.FLOAT),
        ("hr.mean(Departed.diverted)", ValueType.FLOAT),
        ("hr.min(Departed.seats)", ValueType.INT),
        ("hr.max(Departed.delay_min)", ValueType.FLOAT),
        ("hr.last(Departed.tail)", ValueType.CATEGORY),
        ("hr.last(Departed.diverted)", ValueType.BOOL),
        ("hr.first(Departed.tail)", ValueType.CATEGORY),
        ("hr.variance(Departed.seats)", ValueType.FLOAT),
        ("hr.std(Departed.delay_min)", ValueType.FLOAT),
        ("hr.last_k(Departed.tail, 2)", ValueType.CATEGORY),
        ("hr.distinct(Departed.tail)", ValueType.INT),
        ("hr.quantile(Departed.seats, 0.5)", ValueType.FLOAT),
        ("hr.top_k(Departed.seats, 2)", ValueType.INT),
        ('hr.decayed_count(half_life="1h")', ValueType.FLOAT),
        ('hr.decayed_mean(Departed.delay_min, half_life="1h")', ValueType.FLOAT),
        ("hr.ratio(hr.sum(Departed.seats), hr.count())", ValueType.FLOAT),
    ],
)
def test_an_aggregates_type_follows_from_its_field(aggregate: str, kind: ValueType) -> None:
    declared = declare(EVENTS, view(f'a = {aggregate}.over("1h")'))["V"].definition

    assert declared.features[0].type is kind


@pytest.mark.parametrize(
    ("over", "grid_ms"),
    [
        ('"1h"', 60_000),
        ('"24h", every="15m"', 900_000),
        ('"1s"', 10),  # 60 does not divide it, 100 does
        ('"7ms"', 1),
        ('"1h", every="1h"', HOUR),
    ],
)
def test_a_window_is_cut_into_60_tiles_or_as_the_author_says(over: str, grid_ms: int) -> None:
    declared = declare(EVENTS, view(f"a = hr.count().over({over})"))["V"].definition

    assert declared.aggregates[0].windows[0].grid_ms == grid_ms


@pytest.mark.parametrize(
    ("aggregate", "options"),
    [
        ("hr.last_k(Departed.tail, 2)", (("k", 2),)),
        ("hr.distinct(Departed.tail)", (("exact", 256), ("precision", 12))),
        ("hr.quantile(Departed.seats, 1)", (("accuracy", 0.01), ("q", 1.0))),
        ("hr.top_k(Departed.tail, 3)", (("capacity", 64), ("k", 3))),
        ("hr.top_k(Departed.tail, 20)", (("capacity", 80), ("k", 20))),
        ('hr.decayed_count(half_life="90s")', (("half_life_ms", 90_000),)),
    ],
)
def test_what_a_kind_is_told_is_declared(aggregate: str, options: object) -> None:
    declared = declare(EVENTS, view(f'a = {aggregate}.over("1h")'))["V"].definition

    assert declared.aggregates[0].options == options


@pytest.mark.parametrize(
    "aggregate", ["hr.distinct(Departed.tail)", "hr.ratio(hr.distinct(Departed.tail), hr.count())"]
)
def test_a_sketched_window_is_cut_into_6_tiles(aggregate: str) -> None:
    declared = declare(EVENTS, view(f'a = {aggregate}.over("1h")'))["V"].definition

    assert declared.aggregates[0].windows == (Window("1h", HOUR, 600_000),)


def test_several_values_are_a_feature_each() -> None:
    module = declare(
        EVENTS, view('tails = hr.last_k(Departed.tail, 2).over("1h", "24h")', 'new = tails["1h", 1] == "N1"')
    )

    declared, tails = module["V"].definition, module["V"].tails

    assert [(each.name, each.window, each.item) for each in declared.features[:-1]] == [
        ("tails_1h_1", "1h", 1),
        ("tails_1h_2", "1h", 2),
        ("tails_24h_1", "24h", 1),
        ("tails_24h_2", "24h", 2),
    ]
    assert declared.features[-1].expression == Operation("==", Name("tails_1h_1"), Constant("N1"))
    assert tails["24h", 2].feature.name == "tails_24h_2"


def test_groups_are_filtered_aggregates_with_a_feature_each() -> None:
    module = declare(
        EVENTS,
        view(
            'n = hr.count(by=Departed.dest, groups=("LAX", "SFO"), where=Departed.delay_min > 15).over("1h")',
            'share = n["1h", "LAX"] / n["1h", "SFO"]',
        ),
    )

    declared, late = module["V"].definition, Operation(">", Name("delay_min"), Constant(15))

    assert declared.aggregates == tuple(
        Aggregate(f"n[{group}]", "count", None, (Window("1h", HOUR, 60_000),), where=(late, is_group))
        for group, is_group in (
            ("LAX", Operation("==", Name("dest"), Constant("LAX"))),
            ("SFO", Operation("==", Name("dest"), Constant("SFO"))),
        )
    )
    assert [each.name for each in declared.features] == ["n_1h_LAX", "n_1h_SFO", "share"]
    assert module["V"].n["1h", "SFO"].feature.aggregate == "n[SFO]"


def test_groups_may_be_whole_numbers() -> None:
    module = declare(EVENTS, view('n = hr.mean(Departed.delay_min, by=Departed.seats, groups=(2, 3)).over("1h")'))

    assert module["V"].n["1h", 3].feature.name == "n_1h_3"


def test_a_ratio_holds_two_statistics_with_their_filters() -> None:
    line = (
        'late = hr.ratio(hr.count(where=(Departed.diverted, Departed.tail == "N1")), hr.sum(Departed.seats)).over("1h")'
    )

    (declared,) = declare(EVENTS, view(line))["V"].definition.aggregates

    where = (Name("diverted"), Operation("==", Name("tail"), Constant("N1")))
    assert (declared.kind, declared.field, declared.where) == ("ratio", None, ())
    assert declared.of == (Aggregate("", "count", None, (), where), Aggregate("", "sum", "seats", ()))


@pytest.mark.parametrize(
    ("expression", "expected", "kind"),
    [
        ('n["1h"] + 1', Operation("+", Name("n_1h"), Constant(1)), ValueType.INT),
        ('1 - n["1h"]', Operation("-", Constant(1), Name("n_1h")), ValueType.INT),
        ('n["1h"] * 0.5', Operation("*", Name("n_1h"), Constant(0.5)), ValueType.FLOAT),
        ('n["1h"] / n["1h"]', Operation("/", Name("n_1h"), Name("n_1h")), ValueType.FLOAT),
        ('n["1h"] > d["1h"]', Operation(">", Name("n_1h"), Name("d_1h")), ValueType.BOOL),
        ('t["1h"] == "N1"', Operation("==", Name("t_1h"), Constant("N1")), ValueType.BOOL),
        ('t["1h"] != "N1"', Operation("!=", Name("t_1h"), Constant("N1")), ValueType.BOOL),
        ('(n["1h"] / 2).else_(0)', Operation("/", Name("n_1h"), Constant(2), otherwise=0), ValueType.FLOAT),
        ('d["1h"].else_(0.0)', Operation("else", Name("d_1h"), Constant(0.0), otherwise=0.0), ValueType.FLOAT),
        ('n["1h"].else_(0.5)', Operation("else", Name("n_1h"), Constant(0.5), otherwise=0.5), ValueType.FLOAT),
        (
            't["1h"].else_("none")',
            Operation("else", Name("t_1h"), Constant("none"), otherwise="none"),
            ValueType.CATEGORY,
        ),
        ('n["1h"]', Name("n_1h"), ValueType.INT),
        ("w + 1", Operation("+", Name("w"), Constant(1)), ValueType.FLOAT),
        ('abs(n["1h"])', Function("abs", Name("n_1h")), ValueType.INT),
        ('n["1h"].log()', Function("log", Name("n_1h")), ValueType.FLOAT),
        ('n["1h"].log1p().else_(0)', Function("log1p", Name("n_1h"), otherwise=0), ValueType.FLOAT),
        ('n["1h"].clip(1, 9)', Function("clip", Name("n_1h"), (1, 9)), ValueType.INT),
        ('n["1h"].clip(high=0.5)', Function("clip", Name("n_1h"), (None, 0.5)), ValueType.FLOAT),
        ('~(n["1h"] > 1)', Function("not", Operation(">", Name("n_1h"), Constant(1))), ValueType.BOOL),
        ('b["1h"] & (w > 0)', Operation("&", Name("b_1h"), Operation(">", Name("w"), Constant(0))), ValueType.BOOL),
        ('b["1h"] | True', Operation("|", Name("b_1h"), Constant(True)), ValueType.BOOL),
        ('hr.hour(at["1h"], tz="UTC")', Function("hour", Name("at_1h"), ("UTC",)), ValueType.INT),
        ('hr.weekday(hr.asked_at(), tz="UTC")', Function("weekday", Name(ASKED_AT), ("UTC",)), ValueType.INT),
        ('hr.asked_at() - at["1h"]', Operation("-", Name(ASKED_AT), Name("at_1h")), ValueType.INT),
        ('at["1h"] < hr.asked_at()', Operation("<", Name("at_1h"), Name(ASKED_AT)), ValueType.BOOL),
    ],
)
def test_expressions_are_what_the_author_wrote(expression: str, expected: object, kind: ValueType) -> None:
    declared = declare(
        EVENTS,
        view(
            'n = hr.count().over("1h")',
            'd = hr.mean(Departed.delay_min).over("1h")',
            't = hr.last(Departed.tail).over("1h")',
            'b = hr.last(Departed.diverted).over("1h")',
            'at = hr.last(Departed.departed_at).over("1h")',
            'w = d["1h"] * 2',
            f"e = {expression}",
        ),
    )["V"].definition

    feature = declared.features[-1]

    assert (feature.name, feature.expression, feature.type) == ("e", expected, kind)


COUNT = 'n = hr.count().over("1h")'


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (
            view(COUNT, keywords='on=Departed, by="orgin", version=1'),
            ":9: expected by= to be a field of departed, one of",
        ),
        (view(COUNT, keywords='on=Departed, by="orgin", version=1'), "got 'orgin'; did you mean 'origin'?"),
        (
            view(COUNT, keywords='on=Departed, by="delay_min", version=1'),
            "by= to be a str or an int, got delay_min, a float",
        ),
        (view(COUNT, keywords="on=Departed, by=(), version=1"), "expected by= to be a name or a tuple of names"),
        (
            view(COUNT, keywords='on=5, by="origin", version=1'),
            "expected on= to be a class of hr.Event or a tuple of such classes, got 5",
        ),
        (view(COUNT, keywords='on=Departed, by="origin"'), ":9: expected the keyword version=, got none"),
        (
            view(COUNT, keywords='on=Departed, by="origin", version="1"'),
            "version= to be a whole number from 1 on, got '1'",
        ),
        (view(COUNT, keywords='on=Departed, by="origin", version=True'), "version= to be a whole number from 1 on"),
        (view(COUNT, keywords='on=Departed, by="origin", version=1, ownr="x"'), "got ownr=; did you mean 'owner'?"),
        (
            view(COUNT, keywords='on=Departed, by="origin", version=1, tags="x"'),
            "tags= to be a tuple of texts, got 'x'",
        ),
        (view("pass"), ":9: expected at least one feature, got none"),
        (view("n = hr.count()"), ':10: expected n over windows, got hr.count(); write .over("1h")'),
        (view("n = 5"), ":9: expected n to be an aggregate or an expression, got 5; or name it _n"),
        (view("m = hr.mean(Departed.tail)"), ":10: expected a field of type int or float or bool, got departed.tail"),
        (view("m = hr.max(Departed.diverted)"), ":10: expected a field of type int or float, got departed.diverted"),
        (view("m = hr.max(Departed.departed_at)"), "got departed.departed_at, a datetime; write hr.last("),
        (
            view('m = hr.mean("delay_min")'),
            ":10: expected a field of an event, got 'delay_min'; write hr.mean(Event.field)",
        ),
        (
            view('m = hr.mean(Arrived.delay_min).over("1h")'),
            ":10: expected m to read a field of departed, got arrived.",
        ),
        (view('n = hr.count().over("1h", every="7m")'), ":10: expected every= to divide the window 1h, got '7m'"),
        (view('n = hr.count().over("1h", every="2h")'), ":10: expected every= to divide the window 1h, got '2h'"),
        (view('n = hr.count().over("0h")'), "app.py:10: expected a number and ms, s, m, h or d, got '0h'"),
        (view("n = hr.count().over(3600)"), "app.py:10: expected a number and ms, s, m, h or d, got 3600"),
        (view("n = hr.count().over()"), ":10: expected over() to name a window, got none"),
        (view('n = hr.count().over("1h", "24h", "60m")'), ":10: expected each window once, got 1h and 60m"),
        (view(COUNT, 'e = n["2h"]'), ":11: expected one of 1h, got '2h'"),
        (view(COUNT, 'e = n["1h", 1]'), ":11: expected '1h' alone, got ('1h', 1); as in [\"1h\"]"),
        (
            view('t = hr.last_k(Departed.tail, 2).over("1h")', 'e = t["1h"]'),
            ":11: expected a window and one of 1, 2, got '1h'; as in [\"1h\", 1]",
        ),
        (
            view('n = hr.count(by=Departed.dest, groups=("LAX",)).over("1h")', 'e = n["1h", "LAZ"]'),
            ":11: expected a window and one of LAX, got ('1h', 'LAZ'); did you mean 'LAX'?",
        ),
        (view("n = hr.count(where=5)"), ":10: expected where= to be a condition on the event's fields, got 5; as in"),
        (view("n = hr.count(where=())"), ":10: expected where= to be a condition on the event's fields, got none"),
        (view("n = hr.count(where=Departed.seats)"), ":10: expected where= to be a bool, got departed.seats, an int"),
        (
            view("n = hr.count(were=Departed.diverted)"),
            "expected the keywords by, groups, where, got were=; did you mean",
        ),
        (view("n = hr.last_k(Departed.tail, 2, by=Departed.dest)"), "expected the keywords where, got by="),
        (
            view('n = hr.count(where=Arrived.late).over("1h")'),
            ":10: expected where= and by= to read fields of departed, got arrived.late",
        ),
        (
            view(COUNT, 'm = hr.count(where=n["1h"] > 5).over("1h")'),
            ":11: expected where= and by= to read fields of departed, got the feature hr.count()['1h']",
        ),
        (
            view('n = hr.count(by=Arrived.gate, groups=("A",)).over("1h")'),
            ":10: expected where= and by= to read fields of departed, got arrived.gate",
        ),
        (
            view('n = hr.ratio(hr.count(), hr.sum(Arrived.delay_min)).over("1h")'),
            ":10: expected n to read a field of departed, got arrived.delay_min",
        ),
        (view("n = hr.count(by=Departed.dest)"), ":10: expected by= and groups= together, got one of them; as in by="),
        (view('n = hr.count(by="dest", groups=("A",))'), ":10: expected by= to be a field of an event, got 'dest'"),
        (
            view("n = hr.count(by=Departed.delay_min, groups=(1.0,))"),
            ":10: expected by= to be a str or an int, got departed.delay_min, a float",
        ),
        (view('n = hr.count(by=Departed.dest, groups="LAX")'), ":10: expected groups= to be a tuple of the field's"),
        (
            view("n = hr.count(by=Departed.dest, groups=(5,))"),
            "groups= to be values of departed.dest, a str each, got 5",
        ),
        (view('n = hr.count(by=Departed.dest, groups=("A", "A"))'), ":10: expected groups= to name each once"),
        (
            view('n = hr.count(by=Departed.dest, groups=("New York",)).over("1h")'),
            "view V: app.py:10: expected a name of letters, digits and underscores, got 'n_1h_New York'",
        ),
        (view("n = hr.last_k(Departed.tail, 0)"), ":10: expected k to be a whole number from 1 to 100, got 0"),
        (view("n = hr.top_k(Departed.tail, 2.0)"), ":10: expected k to be a whole number from 1 to 100, got 2.0"),
        (
            view("n = hr.top_k(Departed.delay_min, 2)"),
            ":10: expected a field of type int or str, got departed.delay_min",
        ),
        (view("n = hr.quantile(Departed.seats, 90)"), ":10: expected q from 0 to 1, got 90"),
        (view("n = hr.variance(Departed.tail)"), ":10: expected a field of type int or float, got departed.tail"),
        (
            view('n = hr.decayed_count(half_life="1 hour")'),
            "app.py:10: expected a number and ms, s, m, h or d, got '1 hour'",
        ),
        (
            view('n = hr.ratio(hr.count().over("1h"), hr.count())'),
            ":10: expected two statistics without windows, got hr.",
        ),
        (
            view("n = hr.ratio(5, hr.count())"),
            ":10: expected two statistics, got 5; write hr.ratio(hr.sum(Event.field)",
        ),
        (view("n = hr.ratio(hr.last(Departed.tail), hr.count())"), ":10: expected two statistics of one number each"),
        (
            view('n = hr.ratio(hr.count(by=Departed.dest, groups=("A",)), hr.count())'),
            ":10: expected statistics without groups, got hr.count(groups=('A')); write where= for each",
        ),
        (view('n = hr.distinct(Departed.tail).over("7m", every="2m")'), ":10: expected every= to divide the window 7m"),
        (
            view(COUNT, 't = hr.last(Departed.tail).over("1h")', 'e = t["1h"] - n["1h"]'),
            ":12: expected numbers on both",
        ),
        (view(COUNT, 't = hr.last(Departed.tail).over("1h")', 'e = t["1h"] - n["1h"]'), "got a str - an int"),
        (view(COUNT, 'e = n["1h"] == "many"'), ":11: expected values that can be compared, got an int == a str"),
        (view(COUNT, 'e = n["1h"] + None'), ":11: expected a number, a text or a term, got None"),
        (view(COUNT, 'e = n["1h"] + float("nan")'), ":11: expected a number, a text or a term, got nan"),
        (view(COUNT, 'e = n["1h"].else_("x")'), ":11: expected else_ to give an int, as hr.count()['1h'] is, got 'x'"),
        (
            view(COUNT, "e = Departed.delay_min"),
            ":9: expected e to read features, got the field departed.delay_min; write",
        ),
        (
            view(COUNT, 'e = n["1h"] - Departed.delay_min'),
            ":11: expected e to read features, got the field departed.delay_min",
        ),
        (
            view('e = hr.count().over("1h")["1h"] + 1'),
            ":10: expected e to read this view's features, got hr.count()['1h']",
        ),
        (view(COUNT, "n_1h = n['1h'] + 1"), ":11: expected each feature name once, got n_1h twice"),
        (view(COUNT, "m = n"), "expected m to be an aggregate of its own, got one that has a name"),
        (view(f'{"n" * 62} = hr.count().over("1h")'), ":10: expected a name of at most 64 characters"),
        (view(COUNT, name="Lambda"), ":9: expected a name, got the Python keyword 'lambda'"),
        (view('definition = hr.count().over("1h")'), "expected a name other than definition"),
        (
            view(COUNT, 'e = (n["1h"] > 1) & n["1h"]'),
            ":11: expected a bool on both sides, got a bool & an int; put each",
        ),
        (view(COUNT, 'e = n["1h"] > 1 & n["1h"]'), ":11: expected a bool on both sides, got an int & an int; put each"),
        (view(COUNT, 'e = ~n["1h"]'), ":11: expected a bool, got an int"),
        (view(COUNT, 'e = (n["1h"] > 1).log()'), ":11: expected a number, got a bool"),
        (view(COUNT, 'e = abs(n["1h"] > 1)'), ":11: expected a number, got a bool"),
        (view(COUNT, 'e = n["1h"].clip()'), ":11: expected clip to be given low <= high, got low=None, high=None"),
        (view(COUNT, 'e = n["1h"].clip(5, 1)'), ":11: expected clip to be given low <= high, got low=5, high=1"),
        (view(COUNT, 'e = n["1h"].clip("a", "b")'), ":11: expected clip to be given low <= high, got low='a'"),
        (view(COUNT, 'e = hr.hour(n["1h"], tz="UTC")'), ":11: expected a datetime, got an int"),
        (view('e = hr.hour(5, tz="UTC")'), ":10: expected a time, got 5; write hr.hour(hr.asked_at(), tz=…)"),
        (view('e = hr.hour(hr.asked_at(), tz="Mars")'), ":10: expected tz= to be an IANA time zone, got 'Mars'"),
        (view("e = hr.asked_at() + 1"), ":10: expected numbers on both sides, got a datetime + an int"),
        (view("e = hr.asked_at() * hr.asked_at()"), ":10: expected numbers on both sides"),
        (
            view(COUNT, 'e = n["1h"] / hr.request("seats", int)'),
            ":11: expected e to read this view's features, got hr.request('seats'); put it into the features",
        ),
        (view(COUNT, 'e = hr.named("f", n["1h"] + 1)'), ":11: expected e to read this view's features, got hr.named("),
    ],
)
def test_a_wrong_view_is_refused_with_its_line_and_the_mend(source: str, text: str) -> None:
    said = refusal(source)

    assert text in said
    assert "app.py:" in said


def test_an_expression_reads_its_own_view_only() -> None:
    other = view(COUNT, 'e = n["1h"] - OriginTraffic.flights["1h"]')

    said = refusal(VIEW, other)

    assert (
        "cannot declare view V: app.py:15: expected e to read this view's features, got origin_traffic.flights_1h"
        in said
    )


def test_a_view_derives_from_features_alone() -> None:
    said = refusal(VIEW, 'class V(OriginTraffic, on=Departed, by="origin", version=1):\n    pass\n')

    assert "expected hr.Features as the only base, got ['OriginTraffic']" in said


def test_features_that_read_each_other_in_a_circle_are_refused() -> None:
    """A class body cannot write them; whoever else makes features is stopped where they are declared."""
    circle = {name: Feature(name, ValueType.INT, expression=Name(other)) for name, other in (("a", "b"), ("b", "a"))}

    with pytest.raises(DefinitionError, match=r"expected features that do not read themselves, got a <- b <- a"):
        _refuse_cycle(Declaring("view V", "app.py:1"), circle)


def test_a_rekeyed_view_has_those_events_copied_whose_key_may_spread_an_entity() -> None:
    keyed = EVENTS.replace('disorder="1h"', 'disorder="1h", key="gate"')
    module = declare(
        keyed,
        "class Gates(hr.Features, on=(Departed, Arrived), by={Departed: 'dest', Arrived: 'gate'}, entity='gate',\n"
        "    version=1, rekey=True):\n"
        "    left = hr.count(Departed).over('1h')\n"
        "    came = hr.count(Arrived).over('1h')\n",
    )

    assert [each.rekey for each in module["Gates"].definition.sources] == [True, False]


@pytest.mark.parametrize(
    ("said", "refusal"),
    [
        ('by="origin", rekey="yes"', "expected rekey= to be True or False, got 'yes'"),
        ('by="flight_id", rekey=True', "in several partitions, got departed keyed by flight_id; leave rekey= out"),
    ],
)
def test_rekey_that_means_nothing_is_refused(said: str, refusal: str) -> None:
    source = f"class V(hr.Features, on=Departed, version=1, {said}):\n    n = hr.count().over('1h')\n"
    with pytest.raises(DefinitionError, match=re.escape(refusal)):
        declare(EVENTS, source)
