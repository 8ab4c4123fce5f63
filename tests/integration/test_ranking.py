"""A graph on a real Kafka and a real Redis: events become features, candidates become a ranking."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest

from agents.client.blocking import SyncScoringClient
from streams.artefacts import ArtefactStore
from streams.messages import ScoreReply, encode
from tests.apps.project import AT_MS, Project
from tests.builders import declare
from tests.releases import deployment, release
from tests.unit.agents.test_answer_candidates import APP, ITEMS

pytestmark = [pytest.mark.kafka, pytest.mark.redis]

TIMEOUT_MS = 20_000
BUDGET = {"budget": 10.0, "taste": [1.0, 0.0]}


@pytest.fixture
def made(tmp_path: Path, kafka: str, redis_url: str, unique: str) -> Project:
    source = APP.replace('"shown"', f'"{unique}.shown"').replace('"clicked"', f'"{unique}.clicked"')
    (tmp_path / "app.py").write_text(source)
    (tmp_path / "pyproject.toml").write_text(
        f'[tool.headrace]\napp = "app"\nnamespace = "{unique}"\nkafka = "{kafka}"\nredis = "{redis_url}"\n'
        "admin_port = 0\npartitions = 2\n"
    )
    return Project(tmp_path, unique, kafka)


def ids(reply: ScoreReply) -> list[str | int]:
    assert reply.candidates is not msgspec.UNSET
    return [each.id for each in reply.candidates]


def test_candidates_are_ranked_by_features_a_matrix_and_a_model(made: Project) -> None:
    module = declare((made.folder / "app.py").read_text())
    model = module["Click"].definition
    np.savez(made.folder / "tastes.npz", ids=np.array(ITEMS), rows=np.array([[n, 1.0] for n in range(10)], np.float32))
    digest = release(model, ArtefactStore(made.folder / ".headrace" / "artefacts"))
    with made.running("features", "scoring"):
        published = made.command("matrix", "ranking", "tastes", "tastes.npz", "--json")
        assert published.returncode == 0, published.stderr
        assert json.loads(published.stdout)["rows"] == len(ITEMS)
        made.send(f"{made.name}.deployments", encode(deployment(model, digest)))
        made.until(lambda: made.metric("scoring", "model_loads_total", learner="release", result="loaded") == 1)
        for number, item in enumerate(["i9", "i7", "i7", "i1"]):
            shown = {"id": str(number), "item": item, "member": "m1", "price": 1.0, "at": AT_MS - 60_000}
            made.send(f"{made.name}.shown", json.dumps(shown).encode(), key=item.encode())
        for view in model.views:
            made.until(lambda view=view: made.metric("features", "row_records", fold=view.key, tally="applied") == 4)  # type: ignore[misc]
        with SyncScoringClient(made.name, kafka=made.kafka) as client:

            def ask(*candidates: str) -> ScoreReply:
                return client.score(
                    "ranking",
                    entities={"member": "m1"},
                    inputs=BUDGET,
                    candidates=[{"id": each, "inputs": {"price": 5.0}, "label_key": each} for each in candidates],
                    at=AT_MS,
                    timeout_ms=TIMEOUT_MS,
                )

            made.until(lambda: ask(*ITEMS).status == "ok")
            ranked, empty, twice = ask(*ITEMS), ask(), ask("i1", "i1")
            nothing = [{"id": "i1", "inputs": {"price": float("nan")}}]
            refused = client.score("ranking", candidates=nothing, timeout_ms=TIMEOUT_MS)
        listed = json.dumps([{"id": each, "inputs": {"price": 5.0}} for each in ITEMS])
        said = ("--entity", "member=m1", "--input", "budget=10", "--input", "taste=1,0", "--at", str(AT_MS))
        timeout = ("--timeout-ms", str(TIMEOUT_MS), "--json")
        scored = made.command("score", "ranking", *said, "--candidates", "-", *timeout, given=listed)
        loaded = made.command("load", "ranking", "--rate", "20", "--seconds", "1", "--candidates", "7", *timeout)
        proven = made.command("parity", "click", "--json")

    assert (ranked.status, ranked.degraded) == ("ok", [])
    assert sorted(map(str, ids(ranked))) == ["i7", "i9"], "the best four by taste that were shown within the hour"
    assert [each.role for each in ranked.versions] == ["champion", "matrix"]
    found = json.loads(proven.stdout)
    assert (proven.returncode, found["unequal"]) == (0, 0), proven.stdout + proven.stderr
    assert found["equal"] >= 2, "the places with label keys are predictions, and their vectors are in the log"
    assert scored.returncode == 0, scored.stderr
    assert [each["id"] for each in json.loads(scored.stdout)["candidates"]] == ids(ranked), "the shell asks the same"
    assert "1. i" in scored.stderr
    assert json.loads(loaded.stdout)["replies"]["ok"] == 20, loaded.stdout + loaded.stderr
    assert (empty.status, ids(empty)) == ("ok", [])
    assert (twice.status, twice.reason) == ("rejected", "invalid")
    assert "$.candidates[1]" in (twice.message or "")
    assert (refused.status, refused.reason) == ("rejected", "invalid")
    assert "$.candidates[0].inputs.price" in (refused.message or "")
