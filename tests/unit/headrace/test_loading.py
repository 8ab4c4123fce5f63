"""An author's module becomes an app, or one clear line."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from definitions.errors import AppNotLoaded, DefinitionError, HeadraceError
from headrace.loading import load_app
from tests.builders import EVENTS, VIEW

MODEL = """\
class Late(hr.Model, version=1):
    features = [OriginTraffic.flights["1h"]]
    label = hr.Label(Arrived, key="flight_id", value=Arrived.late, within="24h")
    offline = hr.xgboost()
    route = hr.Route(champion="offline")
"""
Write = Callable[..., None]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Return what writes author's modules into the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each != str(tmp_path)])

    def write_module(name: str, *source: str) -> None:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(source))

    return write_module


def refusal(module: str) -> str:
    """Return the text with which a module is not loaded."""
    with pytest.raises(HeadraceError) as refused:
        load_app(module)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_everything_declared_in_the_module_is_in_the_app(write: Write) -> None:
    write("trips.py", EVENTS, VIEW, MODEL)

    app = load_app("trips")

    assert app.name == "trips"
    assert [each.name for each in app.events] == ["departed", "arrived"]
    assert [each.key for each in app.models] == ["late.v1"]
    assert app.views == app.model("late").views


def test_what_is_imported_into_the_module_and_what_that_reads_is_in_the_app(write: Write) -> None:
    write("trips/seen.py", EVENTS)
    write("trips/views.py", "from trips.seen import *\n", VIEW)
    write("trips/app.py", "import headrace as hr\nfrom trips.views import OriginTraffic, Arrived\n", MODEL)

    app = load_app("trips.app")

    assert app.name == "trips"
    assert {each.name for each in app.events} == {"departed", "arrived"}
    assert [each.name for each in app.views] == ["origin_traffic"]


@pytest.mark.parametrize(
    ("file", "module", "name"),
    [
        ("app.py", "app", "app"),
        ("a/b_c/main.py", "a.b_c.main", "b-c"),
        ("a/Trips.py", "a.Trips", "trips"),
        ("trips/__init__.py", "trips", "trips"),
    ],
)
def test_the_apps_name_comes_from_its_module(write: Write, file: str, module: str, name: str) -> None:
    write(file, EVENTS)

    assert load_app(module).name == name


def test_the_author_may_name_the_app(write: Write) -> None:
    write("app.py", EVENTS, '__app_name__ = "my-trips"\n')

    assert load_app("app").name == "my-trips"


def test_a_name_that_cannot_lead_keys_and_topics_is_refused(write: Write) -> None:
    write("app.py", EVENTS, '__app_name__ = "My Trips"\n')

    assert refusal("app") == (
        "cannot name app: app: expected 1 to 32 lower-case letters, digits and dashes, got 'My Trips'; "
        "set __app_name__ in it"
    )


def test_one_class_under_two_names_is_one_declaration(write: Write) -> None:
    write("app.py", EVENTS, VIEW, "Same = OriginTraffic\n")

    assert len(load_app("app").views) == 1


VIEW_TWICE = "cannot load app app: view origin_traffic v1: expected one declaration, got two"
MODEL_TWICE = "cannot load app app: model late v1: expected one declaration, got two"
EVENT_TWICE = "cannot load app app: expected each event name and topic once, got departed of flights.departed and"


@pytest.mark.parametrize(
    ("again", "said"),
    [
        ("First = OriginTraffic\n" + VIEW, f"{VIEW_TWICE} that are alike; remove one"),
        (
            "First = OriginTraffic\n" + VIEW.replace('"24h"', '"3h"'),
            f"{VIEW_TWICE} that differ: aggregates[0].windows was",
        ),
        (MODEL + "First = Late\n" + MODEL.replace("xgboost()", "xgboost(max_depth=3)"), f"{MODEL_TWICE} that differ: "),
        (
            MODEL + "First = Late\n" + MODEL.replace("version=1", "version=2"),
            "cannot load app app: model late: expected one version, got versions",
        ),
        (
            'class Left(hr.Event, topic="flights.departed", id="x", at="t"):\n    x: str; t: datetime\n',
            f"{EVENT_TWICE} left of flights.departed",
        ),
        (
            'First = Departed\nclass Departed(hr.Event, topic="t", id="x", at="t"):\n    x: str; t: datetime\n',
            "cannot load app app: expected each event name and topic once, got departed of t and departed of flights.",
        ),
    ],
)
def test_two_declarations_that_contradict_each_other_are_refused(write: Write, again: str, said: str) -> None:
    write("app.py", EVENTS, VIEW, again)

    assert refusal("app").startswith(said)


def test_two_versions_of_a_view_live_side_by_side(write: Write) -> None:
    write("app.py", EVENTS, VIEW, "First = OriginTraffic\n", VIEW.replace("version=1", "version=2"))

    assert sorted(each.version for each in load_app("app").views) == [1, 2]


def test_a_missing_module_is_one_line_with_the_mend(write: Write, tmp_path: Path) -> None:
    assert refusal("nowhere.app") == (
        f"cannot load app: no module 'nowhere' in {tmp_path} or installed; "
        "run in the project's folder, or name the module with --app"
    )
    write("trips/app.py", EVENTS)
    assert "no module 'trips.ap' in" in refusal("trips.ap")


def test_a_file_in_place_of_a_module_is_understood(write: Write) -> None:
    write("trips/app.py", EVENTS)

    assert refusal("trips/app.py").endswith("did you mean 'trips.app'?")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import headrace as hr\n1 / 0\n", "cannot load app: app.py:2: ZeroDivisionError: division by zero"),
        ("import nowhere\n", "cannot load app: app.py:1: ModuleNotFoundError: No module named 'nowhere'"),
        ("import json\njson.loads('{')\n", "cannot load app: app.py:2: JSONDecodeError: Expecting property name"),
        ("x = \n", "cannot load app: app.py:1: SyntaxError: invalid syntax"),
        ("import sys\nsys.exit(3)\n", "cannot load app: app.py:2: SystemExit: 3"),
        ("raise ValueError('one\\ntwo')\n", "cannot load app: app.py:1: ValueError: one two"),
        ("import headrace as hr\nhr.count(1, 2)\n", "cannot load app: app.py:2: TypeError: count() takes from"),
        ("x = 1\n", "cannot load app: app: expected classes of hr.Event and hr.Features, got none"),
    ],
)
def test_the_authors_own_error_is_one_line_with_its_place(write: Write, source: str, said: str) -> None:
    write("app.py", source)

    assert refusal("app").startswith(said)


def test_an_error_in_a_module_that_the_author_imports_names_that_module(write: Write) -> None:
    write("inner.py", "def fail():\n    raise KeyError('x')\n")
    write("app.py", "import inner\ninner.fail()\n")

    with pytest.raises(AppNotLoaded) as refused:
        load_app("app")

    assert str(refused.value) == "cannot load app: inner.py:2: KeyError: 'x'"


def test_a_wrong_definition_keeps_its_own_words(write: Write) -> None:
    write(
        "app.py", EVENTS, 'class V(hr.Features, on=Departed, by="orgin", version=1):\n    n = hr.count().over("1h")\n'
    )

    with pytest.raises(DefinitionError, match=r"cannot declare view V: app\.py:9: .*did you mean 'origin'\?"):
        load_app("app")


GRAPH = """\
class Ranking(hr.Graph, version=1):
    candidates = hr.candidates("origin", limit=10)
    answer = candidates.score(Late).top(2)
"""


def test_a_graph_brings_the_models_and_views_that_it_reads(write: Write) -> None:
    write("trips/parts.py", EVENTS, VIEW, MODEL)
    write(
        "trips/app.py", "import headrace as hr\nfrom trips.parts import Late as _late\n", GRAPH.replace("Late", "_late")
    )

    app = load_app("trips.app")

    assert [each.key for each in app.graphs] == ["ranking.v1"]
    assert [each.key for each in app.models] == ["late.v1"]
    assert app.views == app.model("late").views
    assert app.asked("ranking") is app.graphs[0]
    assert app.asked("late") is app.models[0]


def test_two_graphs_of_one_name_are_refused(write: Write) -> None:
    second = GRAPH.replace("version=1", "version=2")
    write("same.py", EVENTS, VIEW, MODEL, GRAPH, "First = Ranking\n", second)

    assert "graph ranking: expected a name that no other graph or model has, got ranking.v" in refusal("same")
