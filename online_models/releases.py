"""A release: everything that was trained together, named by digest, and refused as a whole if a part is not right.

No model moves alone (DESIGN 2.7): the manifest names the learners' artefacts, the encoder with its vocabularies and the
baseline, says what they were trained on and by which code, and is itself an artefact. A signature belongs beside the
manifest's digest, which covers everything else: `load` is where it will be checked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

from definitions.declared import ModelDefinition
from definitions.encoder import Encoder
from online_models.baseline import Baseline
from online_models.errors import ArtefactRefused
from online_models.learners import Scorer
from online_models.learners.restoring import LineUp, restore_all

FORMAT = 1

Fetch = Callable[[str], bytes]
"""From a digest to the bytes it names: `streams.artefacts.ArtefactStore.get`."""
Keep = Callable[[bytes], str]
"""From bytes to the digest that names them: `streams.artefacts.ArtefactStore.put`."""


class Artefact(msgspec.Struct, frozen=True, kw_only=True):
    """One learner's trained version in a release."""

    kind: str
    digest: str


class DataSpan(msgspec.Struct, frozen=True, kw_only=True):
    """What a release was trained on, exactly enough to build the same training set again."""

    rows: int
    positives: int | None
    """How many labels were True; None where labels are numbers."""
    first_at_ms: int
    last_at_ms: int
    positions: dict[str, dict[str, tuple[int, int]]]
    """Topic to (partition field to the half-open range of offsets that was read)."""
    visibility: str
    """When a record of history counted as known: ``event_time+<n>ms``."""
    questions: str
    """SHA-256 of the questions that the rows answer."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a release consists of. Its bytes are canonical; their SHA-256 is the release's name."""

    format: int = FORMAT
    model: str
    version: int
    definition: str
    """Digest of the model's definition."""
    views: list[str]
    """Keys of the view versions that its features come from."""
    inputs: list[tuple[str, str]]
    """(name, type) of each place of the vector."""
    champion: str
    shadow: list[str]
    encoder: str
    artefacts: dict[str, Artefact]
    """Learner to its trained version: for an online learner the warm start."""
    baseline: str
    metrics: dict[str, dict[str, float]]
    """Learner to its measures."""
    data: DataSpan
    code: dict[str, str]
    """Distribution to version, of headrace and the libraries that trained."""
    created_at_ms: int

    def to_json(self) -> bytes:
        """Return the manifest's bytes."""
        return msgspec.json.encode(self, order="sorted")


@dataclass(frozen=True, slots=True)
class Release:
    """A release that was verified as a whole, ready to be served."""

    digest: str
    manifest: Manifest
    encoder: Encoder
    baseline: Baseline
    line_up: LineUp
    """Every learner's trained version in the release. Live snapshots of online learners replace theirs."""

    @property
    def scorers(self) -> Mapping[str, Scorer]:
        """Learner to its trained version, of those that score without asking a server."""
        return self.line_up.local()


def write(manifest: Manifest, keep: Keep) -> str:
    """Keep a manifest whose artefacts are kept already; return the release's digest."""
    return keep(manifest.to_json())


def load(digest: str, fetch: Fetch, model: ModelDefinition) -> Release:
    """Return the release that ``digest`` names, every part of it verified against its digest and the definition.

    Raises:
        ArtefactRefused: a part is not what it should be; nothing of the release may be served.
        streams.errors.ArtefactError: ``fetch`` could not find a part (another room's error, passed on).
    """
    manifest = read_manifest(digest, fetch)
    _require_same_model(manifest, digest, model)
    encoder = Encoder.from_json(_verified(manifest.encoder, fetch, "encoder"))
    if list(encoder.inputs) != list(model.inputs):
        raise ArtefactRefused(
            f"cannot load release: {digest[:12]}: expected an encoder of the model's {len(model.inputs)} inputs, "
            "got one of others; train again with `headrace batch train`"
        )
    baseline = Baseline.from_json(_verified(manifest.baseline, fetch, "baseline"))
    digests = {learner: artefact.digest for learner, artefact in manifest.artefacts.items()}
    line_up = restore_all(
        model.learners, encoder, digests=digests, fetch=lambda learner: _verified(digests[learner], fetch, learner)
    )
    return Release(digest, manifest, encoder, baseline, line_up)


def read_manifest(digest: str, fetch: Fetch) -> Manifest:
    """Return the manifest of a release, its bytes verified, its artefacts not yet.

    Raises:
        ArtefactRefused: other bytes, no manifest, or one of a format that this version does not read.
    """
    data = _verified(digest, fetch, "manifest")
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except msgspec.DecodeError as error:
        raise ArtefactRefused(f"cannot load release: {digest[:12]}: expected a manifest, got {error}") from error
    if manifest.format != FORMAT:
        raise ArtefactRefused(
            f"cannot load release: {digest[:12]}: expected format {FORMAT}, got {manifest.format}; upgrade headrace"
        )
    return manifest


def _verified(digest: str, fetch: Fetch, part: str) -> bytes:
    data = fetch(digest)
    found = hashlib.sha256(data).hexdigest()
    if found != digest:
        raise ArtefactRefused(f"cannot load release: {part} {digest[:12]}: expected its own digest, got {found[:12]}")
    return data


def _require_same_model(manifest: Manifest, digest: str, model: ModelDefinition) -> None:
    """Refuse a release of another model, of another definition of it, or of learners that are not declared."""
    expected = {
        "model": f"{model.name} version {model.version}",
        "definition": model.digest,
        "views": [view.key for view in model.all_views],
        "inputs": [(each.name, str(each.type)) for each in model.inputs],
        "learners": sorted((name, learner.kind) for name, learner in model.learners.items()),
    }
    found = {
        "model": f"{manifest.model} version {manifest.version}",
        "definition": manifest.definition,
        "views": manifest.views,
        "inputs": manifest.inputs,
        "learners": sorted((name, artefact.kind) for name, artefact in manifest.artefacts.items()),
    }
    for what, value in expected.items():
        if found[what] != value:
            raise ArtefactRefused(
                f"cannot load release: {digest[:12]}: {what}: expected {value}, got {found[what]}; "
                "train again with `headrace batch train`, or run the code that the release was made for"
            )
