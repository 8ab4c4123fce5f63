"""What the commands know of graphs: candidates read and made up, costs by stage, the list, the catalogue."""

from __future__ import annotations

import io
import json
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from definitions.requests import CandidateValues, RequestValues, check_candidates, check_inputs
from headrace.budget import Budget
from headrace.command import main
from headrace.command.candidates import read_candidates
from headrace.command.check import _graph_cost
from headrace.command.load import made_up
from headrace.command.score import _lines, read_entities, read_inputs
from headrace.errors import UsageError
from headrace.overruns import long_requests, over_budget
from marketplace.catalogue import entries
from online_models.graphs.plan import Plan
from streams.messages import RankedCandidate, ScoreReply
from streams.topics import REQUEST_MAX_BYTES
from tests.builders import EVENTS, app_definition, model_definition
from tests.ranking import MODULE, RANKING, graph

GRAPH = graph()
WIDE = """\
class Ranking(hr.Graph, version=1):
    candidates = hr.candidates("origin", limit=100_000)
    answer = candidates.score(Traffic.flights["1h"])
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a project that declares a graph."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "ranked.py").write_text(EVENTS + MODULE + RANKING)
    return tmp_path


def answered(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int | str | None, dict[str, Any], str]:
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--json"])
    said = capsys.readouterr()
    return ended.value.code, json.loads(said.out) if said.out else {}, said.err


@pytest.mark.parametrize(
    "written",
    [
        '["JFK", {"id": "LGA", "inputs": {"price": 1.5}}]',
        '"JFK"\n\n{"id": "LGA", "inputs": {"price": 1.5}}\n',
    ],
)
def test_candidates_come_as_a_list_or_one_a_line_from_a_file_or_standard_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    (tmp_path / "given.json").write_text(written)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(written.encode())))

    read = [read_candidates(GRAPH, str(tmp_path / "given.json")), read_candidates(GRAPH, "-")]

    assert read == [["JFK", {"id": "LGA", "inputs": {"price": 1.5}, "label_key": None}]] * 2
    assert read_candidates(model_definition(), None) is None


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("", None),
        ("[", "expected a JSON list, or one a line"),
        ('[{"inputs": {}}]', "missing required field `id`"),
        ('"JFK"\n1.5', "got `float`"),
        ('{"candidates": []}', "missing required field `id`"),
    ],
)
def test_what_holds_no_candidates_is_wrong_usage(tmp_path: Path, written: str, problem: str | None) -> None:
    path = tmp_path / "given.json"
    path.write_text(written)
    if problem is None:
        assert read_candidates(GRAPH, str(path)) == []
        return
    with pytest.raises(UsageError, match=r"cannot read --candidates: .*given\.json") as raised:
        read_candidates(GRAPH, str(path))
    assert problem in str(raised.value)


def test_candidates_are_for_graphs_and_graphs_need_them() -> None:
    with pytest.raises(UsageError, match="expected none, for late is a model"):
        read_candidates(model_definition(), "given.json")
    with pytest.raises(UsageError, match=r"cannot ask ranking: expected --candidates FILE.*--candidates -"):
        read_candidates(GRAPH, None)
    with pytest.raises(UsageError, match=r"nowhere.json: No such file"):
        read_candidates(GRAPH, "nowhere.json")


def test_entities_and_inputs_are_those_of_the_request_itself() -> None:
    assert read_entities(GRAPH, ["tail=N1"]) == {"tail": "N1"}
    assert read_inputs(GRAPH, ["budget=3", "taste=1,2"]) == {"budget": 3.0, "taste": [1.0, 2.0]}
    with pytest.raises(UsageError, match="expected tail, got 'origin'"):
        read_entities(GRAPH, ["origin=JFK"])


def test_questions_to_a_graph_are_made_up_with_candidates_of_their_own() -> None:
    first, second = islice(made_up(GRAPH, {"tail": "N1"}, {"budget": 3.0}, candidates=30), 2)

    for question in (first, second):
        values = check_inputs(GRAPH, question["entities"] or {}, question["inputs"] or {})
        assert isinstance(values, RequestValues)
        assert (values.entities["tail"], values.inputs["budget"]) == ("N1", 3.0)
        given: Any = question["candidates"]
        inputs = {each.name: [one["inputs"][each.name] for one in given] for each in GRAPH.candidates.inputs}
        assert len(given) == 30
        assert isinstance(check_candidates(GRAPH, [one["id"] for one in given], inputs), CandidateValues)
    assert first["candidates"] != second["candidates"]
    assert len(next(made_up(GRAPH, {}, {}))["candidates"] or ()) == GRAPH.candidates.limit


def test_no_more_candidates_are_made_up_than_the_graph_takes() -> None:
    with pytest.raises(UsageError, match="expected at most 1000, as ranking takes, got 1001"):
        made_up(GRAPH, {}, {}, candidates=1_001)


def test_a_ranking_is_told_by_its_first_places() -> None:
    many = [RankedCandidate(f"i{place}", 1.0 / (1 + place)) for place in range(25)]

    lines = _lines(ScoreReply(request_id="t/0@1", status="ok", candidates=[*many, RankedCandidate("z", None)]))
    short = _lines(ScoreReply(request_id="t/0@1", status="ok", candidates=[RankedCandidate("z", None)]))

    assert lines[1] == "  1. i0  1"
    assert lines[-1] == "  … 6 more; --json has them all"
    assert short[-1] == "  1. z  no score"
    assert _lines(ScoreReply(request_id="t/0@1", status="ok", candidates=[]))[-1] == "  no candidate is left"


@pytest.mark.usefixtures("project")
def test_a_graph_is_costed_stage_by_stage_as_many_candidates_as_it_takes(capsys: pytest.CaptureFixture[str]) -> None:
    code, answer, said = answered(capsys, "--app", "ranked", "check")

    [cost] = answer["graphs"]
    stages = {each["stage"]: each for each in cost["stages"]}
    cells = {each["view"]: each["cells"] for each in answer["views"]}
    assert code == 0
    assert {name: (each["candidates"], each["views"]) for name, each in stages.items() if each["views"]} == {
        "4 filter": (12, ["traffic"]),
        "5 score late": (12, ["tails"]),
        "8 score value": (8, ["pairs"]),
    }
    assert stages["4 filter"]["cells"] == 12 * cells["traffic"]
    assert stages["5 score late"]["cells"] == cells["tails"], "a view of the request is read once, not per candidate"
    assert cost["cells"] == 12 * cells["traffic"] + cells["tails"] + 8 * cells["pairs"]
    assert (cost["round_trips"], cost["answered"]) == (3, 5)
    assert 0 < cost["typical_ms"] < cost["hot_ms"]
    assert "ranking.v1" in said
    assert "1 graphs: within budget" in said


def test_the_stages_that_are_costed_are_those_that_read() -> None:
    eager = graph(RANKING.replace("version=1", 'version=1, evaluation="eager"', 1))

    assert Plan.of(GRAPH).reads == [(), (), (), ("traffic",), ("tails",), (), (), ("pairs",), (), ()]
    assert [sorted(each) for each in Plan.of(eager).reads if each] == [["pairs", "tails", "traffic"]]
    assert _graph_cost(eager, 4, "n").cells > 50 * _graph_cost(GRAPH, 4, "n").cells


def test_a_graph_over_budget_is_refused_by_its_dearest_stage_and_one_too_long_an_answer_by_its_length() -> None:
    wide = _graph_cost(graph(WIDE), 4, "n")
    narrow = _graph_cost(GRAPH, 4, "n")

    cells, reply = over_budget([], [], Budget(), [wide])
    [tight] = over_budget([], [], Budget(graph_cells=narrow.cells - 1), [narrow])
    [note] = long_requests([wide, narrow])

    assert over_budget([], [], Budget(graph_cells=narrow.cells), [narrow]) == []
    assert (cells.measure, cells.cost, cells.allowed) == ("graph_cells", 100_000 * 4, 10_000)
    assert "1 score traffic.flights_1h, where 100000 candidates read traffic" in cells.text
    assert (reply.measure, reply.allowed) == ("reply_bytes", REQUEST_MAX_BYTES)
    assert "end with a .top" in reply.text
    assert "dearest stage is 4 filter" in tight.text
    assert note.startswith("note: graph ranking.v1: a request with as many candidates")


@pytest.mark.usefixtures("project")
def test_graphs_are_listed_with_what_they_ask(capsys: pytest.CaptureFixture[str]) -> None:
    code, answer, said = answered(capsys, "--app", "ranked", "models", "list")

    [listed] = answer["graphs"]
    assert code == 0
    assert (listed["name"], listed["candidates"], listed["limit"]) == ("ranking", "origin", 1_000)
    assert (listed["models"], listed["matrices"]) == (["late.v1"], {"routes": 2})
    assert listed["stages"][0] == "1 filter"
    assert "routes (matrix)" in said


def test_the_catalogue_names_the_graphs_that_read_a_feature() -> None:
    app = app_definition(views=GRAPH.views, models=GRAPH.models, graphs=(GRAPH,))

    readers = {each.name: each.models for each in entries(app, {})}

    assert readers["traffic.flights_1h"] == ("late.v1", "ranking.v1")
    assert readers["pairs.flights_24h"] == ("ranking.v1",)
    assert readers["traffic.flights_24h"] == ()


@pytest.mark.usefixtures("project")
def test_a_name_that_nothing_has_is_told_for_graphs_too(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, said = answered(capsys, "--app", "ranked", "score", "rankin")

    assert code == 1
    assert "model or graph" in said
    assert "did you mean 'ranking'?" in said
