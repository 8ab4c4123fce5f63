"""``headrace check``: what views and requests cost is told, and what costs too much is refused with a mend."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from headrace.budget import Budget, read_budget
from headrace.command import main
from headrace.errors import SettingsError
from headrace.overruns import narrow_disorder, over_budget
from streams.costs import cost_of_model, cost_of_view, is_keyed
from tests.builders import (
    EVENTS,
    VIEW,
    aggregate,
    airport_day,
    event_definition,
    model_definition,
    rekeyed_view,
    view_definition,
)

MODEL = """\
class Late(hr.Model, version=1):
    features = [OriginTraffic.flights["1h"], hr.request("distance", float)]
    label = hr.Label(Arrived, key="flight_id", value=Arrived.late, within="1h")
    online = hr.river(object)
    route = hr.Route(champion="online")
"""
WIDE = view_definition(aggregates=[aggregate("flights", windows=["1h"])])


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a project of one view and one model."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "costed.py").write_text(EVENTS + VIEW + MODEL)
    (tmp_path / "pyproject.toml").write_text('[tool.headrace]\napp = "costed"\n')
    return tmp_path


def checked(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int | str | None, dict[str, Any], str]:
    with pytest.raises(SystemExit) as ended:
        main(["check", "--json", *arguments])
    said = capsys.readouterr()
    return ended.value.code, json.loads(said.out) if said.out else {}, said.err


def test_every_view_and_model_has_its_cost(capsys: pytest.CaptureFixture[str]) -> None:
    code, answer, said = checked(capsys)

    [view], [model] = answer["views"], answer["models"]
    assert (code, answer["ok"], answer["partitions"]) == (0, True, 4)
    assert view["sources"][0]["partitions"] == view["cells"] == model["cells"] == 4
    assert view["sources"][0]["tiles"] == {"1h": 60, "24h": 60}
    assert 0 < view["typical"]["cell_bytes"] < view["hot"]["cell_bytes"]
    assert (model["round_trips"], model["hot_bytes"]) == (1, view["hot"]["read_bytes"])
    assert "origin_traffic" in said
    assert "late.v1" in said


def test_more_partitions_cost_more(capsys: pytest.CaptureFixture[str]) -> None:
    _, few, _ = checked(capsys, "--partitions", "1")
    _, many, _ = checked(capsys, "--partitions", "64")

    assert many["views"][0]["hot"]["cell_bytes"] == 64 * few["views"][0]["hot"]["cell_bytes"]
    assert many["models"][0]["hot_ms"] > 16 * few["models"][0]["hot_ms"]


def test_over_budget_is_refused_with_a_mend(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (project / "pyproject.toml").open("a") as file:
        file.write("[tool.headrace.budget]\nhot_entity_bytes = 5_000\n")

    code, answer, said = checked(capsys)

    [over] = answer["over_budget"]
    assert (code, answer["ok"]) == (1, False)
    assert (over["what"], over["measure"], over["allowed"]) == ("view origin_traffic", "hot_entity_bytes", 5_000)
    assert "over budget: view origin_traffic: expected hot_entity_bytes up to 5000" in said
    assert "key= the event by the entity" in said
    assert "every=" in said


def test_a_table_for_people_says_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["check"])

    said = capsys.readouterr().out
    assert ended.value.code == 0
    assert "in Redis" in said
    assert "within budget" in said


def test_definitions_that_mean_nothing_are_refused_as_everywhere(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "wrong.py").write_text(
        EVENTS + 'class Empty(hr.Features, on=Departed, by="origin", version=1):\n    ""\n'
    )

    with pytest.raises(SystemExit) as ended:
        main(["--app", "wrong", "check"])

    assert ended.value.code == 1
    assert "at least one feature" in capsys.readouterr().err


def test_an_entity_that_decides_the_topics_key_lies_in_one_partition() -> None:
    by_origin = event_definition(key=("origin",))
    both = view_definition(on=by_origin, by=["origin", "dest"], aggregates=[aggregate()]).sources[0]
    other = view_definition(on=by_origin, by=["dest"], aggregates=[aggregate()]).sources[0]
    finer = view_definition(on=event_definition(key=("origin", "dest")), aggregates=[aggregate()]).sources[0]

    assert [is_keyed(each) for each in (both, other, finer)] == [True, False, False]


def test_a_rekeyed_view_costs_one_cell_and_is_the_way_out_of_an_overrun() -> None:
    plain, rekeyed = view_definition(), rekeyed_view()
    costs = [cost_of_view(each, 64, namespace="n") for each in (plain, rekeyed)]
    budget = Budget(hot_entity_bytes=2 * costs[1].hot.redis_bytes, typical_entity_bytes=1e9, read_ms=1e9)

    [over] = over_budget(costs, [], budget)

    assert [each.cells for each in costs] == [64, 1]
    assert costs[0].hot.cell_bytes == 64 * costs[1].hot.cell_bytes
    assert "say rekey=True in the view" in over.mend
    assert costs[1].hot.read_bytes < costs[0].hot.read_bytes


def test_a_rekeyed_view_is_checked_as_it_will_read(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "rekeyed.py").write_text(
        EVENTS.replace('"15m"', '"5s"')
        + 'class Traffic(hr.Features, on=Departed, by="origin", version=1, rekey=True):\n'
        + '    flights = hr.count().over("1h")\n'
    )

    with pytest.raises(SystemExit) as ended:
        main(["--app", "rekeyed", "check", "--json", "--partitions", "64"])

    answer = json.loads(capsys.readouterr().out)
    [view], [note] = answer["views"], answer["notes"]
    assert (ended.value.code, view["cells"], view["sources"][0]["rekeyed"]) == (0, 1, True)
    assert "disorder= of 5 s" in note


def test_a_narrow_disorder_of_a_rekeyed_view_is_told() -> None:
    narrow = rekeyed_view(on=event_definition(disorder_ms=5_000))
    views = [cost_of_view(each, 4, namespace="n") for each in (narrow, rekeyed_view(), view_definition())]

    [line] = narrow_disorder(views)

    assert line.startswith("note: view origin_traffic: it reads departed as copies")
    assert "a disorder= of 5 s" in line


def test_a_view_on_several_events_costs_the_sum_of_its_sources() -> None:
    cost = cost_of_view(airport_day(), 4, namespace="n")

    assert cost.cells == 8
    assert cost.hot.cell_bytes == sum(4 * each.hot_cell_bytes for each in cost.sources)


def test_a_model_may_be_over_budget_while_none_of_its_views_is() -> None:
    twice = [WIDE, view_definition(aggregates=[aggregate("flights", windows=["1h"])], name="again")]
    costs = {view.key: cost_of_view(view, 4, namespace="n") for view in twice}
    model = cost_of_model(model_definition(views=twice), costs)
    one_and_a_half = Budget(read_ms=0.75 * model.hot_ms)

    [over] = over_budget(list(costs.values()), [model], one_and_a_half)

    assert over.what == "model late.v1"


@pytest.mark.parametrize("table", [{"read": 3}, {"read_ms": 0}, {"read_ms": True}, {"read_ms": "10"}])
def test_a_budget_that_means_nothing_is_refused(table: dict[str, object]) -> None:
    with pytest.raises(SettingsError, match="cannot read settings: here"):
        read_budget(table, "here")
