"""From a learner's declaration and an artefact's bytes to something that scores: one place that knows the kinds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from definitions.declared import LearnerDefinition
from definitions.encoder import Encoder
from definitions.learners import ENSEMBLE, ONNX, OPEN_INFERENCE, PERSONAL, PYTHON, RIVER, TENSORFLOW_SERVING, XGBOOST
from online_models.errors import LearnerUnusable
from online_models.learners import Combiner, Cut, OnlineLearner, Remote, Scorer
from online_models.learners.combining import Combined, Ensemble
from online_models.learners.onnx import OnnxScorer
from online_models.learners.personal import PersonalCombiner
from online_models.learners.python import PythonScorer
from online_models.learners.remote.open_inference import OpenInference
from online_models.learners.remote.open_inference_grpc import OpenInferenceGrpc
from online_models.learners.remote.tensorflow_serving import TensorFlowServing
from online_models.learners.river import RiverLearner
from online_models.learners.xgboost import XGBoostScorer

ONLINE = RIVER
OFFLINE = XGBOOST

Fetch = Callable[[str], bytes]
"""From a learner's name to the bytes of its artefact, verified or not: they are verified again."""


@dataclass(frozen=True, slots=True)
class LineUp:
    """The learners of a model, each in one trained version, by how their scores are had."""

    scorers: Mapping[str, Scorer] = field(default_factory=dict)
    """Those that score in this process."""
    combiners: Mapping[str, Combiner] = field(default_factory=dict)
    """Those that rest on the scores of others."""
    remotes: Mapping[str, Remote] = field(default_factory=dict)
    """Those that have to be asked."""

    def __contains__(self, learner: object) -> bool:
        return learner in self.scorers or learner in self.combiners or learner in self.remotes

    def digest(self, learner: str) -> str | None:
        """Return the digest of a learner's trained version, None where there is none."""
        found: Scorer | Combiner | Remote | None = self.scorers.get(learner)
        found = found or self.combiners.get(learner) or self.remotes.get(learner)
        return None if found is None else found.digest

    def local(self) -> dict[str, Scorer]:
        """Return everything that scores without asking a server, ensembles of such learners included."""
        combined = {
            name: Combined(each, self.scorers)
            for name, each in self.combiners.items()
            if all(member in self.scorers for member in each.members)
        }
        return {**self.scorers, **combined}


def restore_scorer(definition: LearnerDefinition, encoder: Encoder, *, data: bytes, digest: str) -> Scorer:
    """Return the trained version that the bytes hold, ready to score in this process.

    Raises:
        ArtefactRefused: the bytes are not what the digest or the learner expects.
        LearnerUnusable: a learner of a kind that does not score by itself.
    """
    if definition.kind == RIVER:
        return RiverLearner.restore(definition, encoder, data=data, digest=digest)[0]
    if definition.kind == XGBOOST:
        return XGBoostScorer(definition.name, encoder, data=data, digest=digest)
    if definition.kind == ONNX:
        return OnnxScorer(definition, encoder, data=data, digest=digest)
    if definition.kind == PYTHON:
        return PythonScorer(definition, encoder, data=data, digest=digest)
    raise LearnerUnusable(
        f"cannot build learner: {definition.name}: expected kind {RIVER}, {XGBOOST}, {ONNX} or {PYTHON}, "
        f"got {definition.kind!r}"
    )


def restore_online(
    definition: LearnerDefinition, encoder: Encoder, *, data: bytes, digest: str
) -> tuple[OnlineLearner, Cut]:
    """Return the online learner that a snapshot holds, and where that stands in the logs.

    Raises:
        ArtefactRefused: the bytes are not what the digest or the learner expects.
    """
    return RiverLearner.restore(definition, encoder, data=data, digest=digest)


def restore_all(
    learners: Mapping[str, LearnerDefinition], encoder: Encoder, *, digests: Mapping[str, str], fetch: Fetch
) -> LineUp:
    """Return every learner that has an artefact.

    Args:
        learners: of the model, by name.
        encoder: of the release.
        digests: learner to the digest of its artefact.
        fetch: called once for each.

    Raises:
        ArtefactRefused: an artefact is not what its digest or its learner expects.
        LearnerUnusable: a learner of an unknown kind.
    """
    scorers: dict[str, Scorer] = {}
    combiners: dict[str, Combiner] = {}
    remotes: dict[str, Remote] = {}
    for name, digest in digests.items():
        definition, data = learners[name], fetch(name)
        if definition.kind == ENSEMBLE:
            combiners[name] = Ensemble(definition, data=data, digest=digest)
        elif definition.kind == PERSONAL:
            combiners[name] = PersonalCombiner(definition, encoder, data=data, digest=digest)
        elif definition.kind == OPEN_INFERENCE:
            kind = OpenInferenceGrpc if definition.place.startswith("grpc") else OpenInference
            remotes[name] = kind(definition, encoder, data=data, digest=digest)
        elif definition.kind == TENSORFLOW_SERVING:
            remotes[name] = TensorFlowServing(definition, encoder, data=data, digest=digest)
        else:
            scorers[name] = restore_scorer(definition, encoder, data=data, digest=digest)
    return LineUp(scorers, combiners, remotes)
