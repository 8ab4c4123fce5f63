"""A release takes learners of every kind: those that are trained here, and those that are brought along."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from batch import write_release
from batch.context import JobContext
from batch.errors import TrainingRefused
from batch.train import train
from definitions.declared import LearnerDefinition, ModelDefinition, RouteDefinition
from definitions.learners import ensemble, open_inference, python
from headrace.ask_servers import ask_servers
from online_models import releases
from online_models.baseline import NumericBins
from online_models.errors import ArtefactRefused
from streams.artefacts import ArtefactStore
from streams.store.memory import MemoryStore
from tests.builders import model_definition, river_learner, xgboost_learner
from tests.inference_servers import Row, inference_server
from tests.onnx_graphs import matrix_graph
from tests.unit.batch.flights import questions_of, scaled_regression, world

NEAR, FAR = 150.0, 950.0


def by_distance(row: Mapping[str, Any]) -> float:
    return min(1.0, max(0.0, row["distance"] / 1_000))


def model(graph: Path, **changes: LearnerDefinition) -> ModelDefinition:
    learners = {
        "offline": xgboost_learner(parameters={"max_depth": 3}),
        "online": river_learner(factory=scaled_regression),
        "rule": python(by_distance).definition("rule"),
        "net": LearnerDefinition("net", "onnx", parameters={"output": ""}, place=str(graph)),
        "both": ensemble("offline", "rule", by="logit").definition("both"),
        "far": open_inference("http://nowhere", model="late", missing=0).definition("far"),
        "mixed": ensemble("offline", "far").definition("mixed"),
        **changes,
    }
    return model_definition(learners=list(learners.values()), route=RouteDefinition("both", fallback=0.5))


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    path = tmp_path / "late.onnx"
    path.write_bytes(matrix_graph(7))
    return path


@pytest.fixture
def context(tmp_path: Path) -> JobContext:
    return JobContext("test", world(200)[0], MemoryStore(), ArtefactStore(tmp_path / "artefacts"))


def test_every_kind_is_in_the_release_and_comes_out_of_it_again(context: JobContext, graph: Path) -> None:
    declared = model(graph)
    result = train(declared, questions_of(world(200)[1], declared), context, now_ms=1)
    graph.unlink()

    release = releases.load(result.release, context.artefacts.get, declared)
    far, near = ([None, None, None, None, None, distance, "UA"] for distance in (FAR, NEAR))

    assert set(release.scorers) == {"offline", "online", "rule", "net", "both"}
    assert set(release.line_up.remotes) == {"far"}
    assert set(release.line_up.combiners) == {"both", "mixed"}
    for learner in ("offline", "online", "rule", "both"):
        late, early = release.scorers[learner].score_many([far, near])
        assert late > early, learner
    assert {name for name in release.baseline.signals if name.startswith("score:")} == {
        f"score:{name}" for name in release.scorers
    }
    assert release.manifest.metrics["rule"]["auc"] > 0.7
    assert (release.manifest.metrics["both"], release.manifest.metrics["far"]) == ({}, {})
    assert result.deployment.route == declared.route


def test_a_learner_on_a_server_has_a_baseline_of_what_the_server_says_of_a_sample(
    context: JobContext, graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write_release, "SAMPLED", 50)

    def thousands(row: Row) -> float:
        assert isinstance(row, list)
        return float(row[-2]) / 1_000

    with inference_server(thousands) as server:
        far = open_inference(server.url, model="late", missing=0, timeout="20s").definition("far")
        declared = model(graph, far=far)
        asked = replace(context, ask_servers=ask_servers)
        result = train(declared, questions_of(world(200)[1], declared), asked, now_ms=1)
        calls = len(server.requests)

    release = releases.load(result.release, context.artefacts.get, declared)
    signals, rows = release.baseline.signals, release.baseline.rows
    step = -(-rows // 50)
    sampled = -(-rows // step)
    assert step > 1, "or nothing is sampled"
    assert (calls, sum(signals["score:offline"].counts)) == (-(-sampled // 256), rows)
    assert sum(signals["score:far"].counts) == sum(signals["score:mixed"].counts) == sampled
    bins = signals["score:far"]
    assert isinstance(bins, NumericBins)
    assert min(bins.edges) >= 0.1, "distances of flights, by the thousand"


def test_a_server_that_does_not_answer_leaves_its_learner_without_a_baseline(
    context: JobContext, graph: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with inference_server(lambda _: 0.5) as server:
        far = open_inference(server.url, model="late", missing=0, timeout="20s").definition("far")
    declared = model(graph, far=far)

    result = train(declared, questions_of(world(200)[1], declared), replace(context, ask_servers=ask_servers), now_ms=1)

    signals = releases.load(result.release, context.artefacts.get, declared).baseline.signals
    assert {"score:far", "score:mixed"}.isdisjoint(signals)
    assert "no baseline of far's scores, so their drift is not watched" in caplog.text


def test_a_process_with_another_function_does_not_load_the_release(context: JobContext, graph: Path) -> None:
    declared = model(graph)
    result = train(declared, questions_of(world(200)[1], declared), context, now_ms=1)
    other = model(graph, rule=python(lambda row: row["distance"]).definition("rule"))

    with pytest.raises(ArtefactRefused, match="definition: expected"):
        releases.load(result.release, context.artefacts.get, other)
    with pytest.raises(ArtefactRefused, match="expected the rule that is declared here, got another one"):
        releases.load(result.release, context.artefacts.get, replace(other, digest=declared.digest))


def test_a_graph_that_is_not_there_or_does_not_fit_stops_the_training(context: JobContext, graph: Path) -> None:
    declared = model(graph)
    graph.write_bytes(matrix_graph(3))
    with pytest.raises(ArtefactRefused, match="expected a graph that takes 7 inputs"):
        train(declared, questions_of(world(200)[1], declared), context, now_ms=1)

    graph.unlink()
    with pytest.raises(TrainingRefused, match=r"expected an ONNX file at .*late\.onnx, got No such file"):
        train(declared, questions_of(world(200)[1], declared), context, now_ms=1)
