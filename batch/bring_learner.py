"""Takes learners into a release that are not trained here: functions, ONNX files, ensembles, models on servers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from batch.build_training_set import TrainingSet
from batch.errors import TrainingRefused
from batch.measure_scores import measure_scores
from definitions.declared import LearnerDefinition
from definitions.encoder import Encoder
from definitions.learners import ONNX, PYTHON
from online_models.learners.describing import describe
from online_models.learners.restoring import restore_scorer
from online_models.snapshots import digest_of


@dataclass(frozen=True, slots=True)
class Trained:
    """What training made of one learner."""

    data: bytes
    measures: Mapping[str, float]


def bring(learner: LearnerDefinition, encoder: Encoder, training: TrainingSet) -> Trained:
    """Return a learner's artefact, and what its scores are worth on the training set, of which it has learned nothing.

    An ensemble is not measured: its members have learned these very rows. Nor is a model on a server, which is asked
    about a sample alone, for the baseline.

    Raises:
        TrainingRefused: its file cannot be read.
        ArtefactRefused: its file is no graph of the model's inputs.
        LearnerUnusable: it cannot be built or asked.
    """
    data = _file(learner) if learner.kind == ONNX else describe(learner)
    if learner.kind not in (ONNX, PYTHON):
        return Trained(data, {})
    scorer = restore_scorer(learner, encoder, data=data, digest=digest_of(data))
    return Trained(data, measure_scores(scorer.score_many(training.vectors), training.labels))


def _file(learner: LearnerDefinition) -> bytes:
    try:
        return Path(learner.place).read_bytes()
    except OSError as error:
        raise TrainingRefused(
            f"cannot train: {learner.name}: expected an ONNX file at {learner.place}, got {error.strerror}; "
            "the path is relative to the file that declares the learner"
        ) from error
