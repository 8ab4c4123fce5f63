"""A release is loaded whole, or not at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from definitions.encoder import Encoder
from online_models import releases
from online_models.errors import ArtefactRefused
from online_models.releases import Artefact
from streams.artefacts import ArtefactStore
from tests.builders import model_definition, request_input, river_learner, xgboost_learner
from tests.releases import linear, release

MODEL = model_definition(learners=[xgboost_learner(), river_learner(factory=linear)])


@pytest.fixture
def artefacts(tmp_path: Path) -> ArtefactStore:
    return ArtefactStore(tmp_path)


def changed_release(kept: ArtefactStore, **changes: Any) -> str:
    """Keep a release whose manifest differs, and return its digest."""
    manifest = releases.read_manifest(release(MODEL, kept), kept.get)
    return releases.write(msgspec.structs.replace(manifest, **changes), kept.put)


def test_a_release_comes_back_with_every_part(artefacts: ArtefactStore) -> None:
    digest = release(MODEL, artefacts)

    loaded = releases.load(digest, artefacts.get, MODEL)

    assert loaded.digest == digest
    assert set(loaded.scorers) == {"offline", "online"}
    assert {name: each.digest for name, each in loaded.scorers.items()} == {
        name: each.digest for name, each in loaded.manifest.artefacts.items()
    }
    assert loaded.encoder.inputs == MODEL.inputs
    assert set(loaded.baseline.signals) >= {"score:offline", "feature:distance"}


def test_equal_manifests_have_equal_names(artefacts: ArtefactStore) -> None:
    manifest = releases.read_manifest(release(MODEL, artefacts), artefacts.get)

    assert releases.write(manifest, artefacts.put) == releases.write(manifest, artefacts.put)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"model": "early"}, "model: expected late version 1, got early version 1"),
        ({"version": 2}, "model: expected late version 1, got late version 2"),
        ({"definition": "0" * 12}, "definition: expected"),
        ({"views": []}, "views: expected"),
        ({"inputs": [("distance", "float")]}, "inputs: expected"),
        ({"artefacts": {}}, r"learners: expected \[\('offline', 'xgboost'\), \('online', 'river'\)\], got \[\]"),
        ({"format": 9}, "expected format 1, got 9"),
    ],
    ids=["model", "version", "definition", "views", "inputs", "learners", "format"],
)
def test_a_release_of_something_else_is_refused(
    artefacts: ArtefactStore, changes: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ArtefactRefused, match=problem):
        releases.load(changed_release(artefacts, **changes), artefacts.get, MODEL)


@pytest.mark.parametrize("part", ["manifest", "encoder", "baseline", "offline", "online"])
def test_a_part_whose_bytes_were_changed_is_refused(artefacts: ArtefactStore, part: str) -> None:
    digest = release(MODEL, artefacts)
    manifest = releases.read_manifest(digest, artefacts.get)
    named = {"manifest": digest, "encoder": manifest.encoder, "baseline": manifest.baseline}
    changed = named.get(part) or manifest.artefacts[part].digest

    def fetch(asked: str) -> bytes:
        data = artefacts.get(asked)
        return data + b" " if asked == changed else data

    with pytest.raises(ArtefactRefused, match=f"{part} .*: expected its own digest"):
        releases.load(digest, fetch, MODEL)


def test_a_manifest_that_is_none_is_refused(artefacts: ArtefactStore) -> None:
    with pytest.raises(ArtefactRefused, match="expected a manifest"):
        releases.load(artefacts.put(b"{}"), artefacts.get, MODEL)


def test_an_encoder_of_other_inputs_is_refused(artefacts: ArtefactStore) -> None:
    other = artefacts.put(Encoder((request_input("distance"),)).to_json())

    with pytest.raises(ArtefactRefused, match="expected an encoder of the model's 7 inputs"):
        releases.load(changed_release(artefacts, encoder=other), artefacts.get, MODEL)


def test_learners_whose_artefacts_are_swapped_are_refused(artefacts: ArtefactStore) -> None:
    manifest = releases.read_manifest(release(MODEL, artefacts), artefacts.get)
    swapped = {
        "offline": Artefact(kind="xgboost", digest=manifest.artefacts["online"].digest),
        "online": Artefact(kind="river", digest=manifest.artefacts["offline"].digest),
    }

    with pytest.raises(ArtefactRefused):
        releases.load(changed_release(artefacts, artefacts=swapped), artefacts.get, MODEL)


def test_a_release_survives_a_change_of_text_that_decides_nothing(artefacts: ArtefactStore) -> None:
    digest = release(MODEL, artefacts)

    assert releases.load(digest, artefacts.get, replace(MODEL, owner="somebody else")).digest == digest
