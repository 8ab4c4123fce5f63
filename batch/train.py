"""The whole way from questions to a release: training set, offline model, warm start, baseline, manifest, pointers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from batch.bring_learner import Trained, bring
from batch.build_training_set import Question, TrainingSet, build_training_set
from batch.context import JobContext, Tell, tell_nobody
from batch.errors import TrainingRefused
from batch.train_offline_model import require_enough, train_offline
from batch.warm_start import WarmStart, cut_at_end, warm_start
from batch.write_release import write_release
from definitions.declared import LearnerDefinition, ModelDefinition
from definitions.encoder import Encoder
from online_models.learners.restoring import OFFLINE, ONLINE
from online_models.snapshots import digest_of
from streams import store, topics
from streams.messages import Deployment
from streams.pointers import learner_pointer


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What came of a training. Nobody serves it before the deployment is published."""

    release: str
    """Digest of the manifest."""
    deployment: Deployment
    """To be published on `streams.topics.deployments`, keyed by the model's name."""
    asked: int
    rows: int
    measures: Mapping[str, Mapping[str, float]]
    """Learner to its measures."""


def train(
    model: ModelDefinition,
    questions: Iterable[Question],
    context: JobContext,
    *,
    now_ms: int,
    delay_ms: int = 0,
    tell: Tell = tell_nobody,
) -> TrainResult:
    """Train every learner of the model on the same rows, write the release, and hand online learners their start.

    The pointer of an online learner moves to a new generation: a learner that runs goes on from the warm start, behind
    the examples that exist now. Run twice on the same history, it gives equal models in two generations.

    Raises:
        BatchError: no release can come of these questions and this history.
        StoreUnavailable: the online store does not answer; the artefacts are kept, no pointer moved.
        RegistryUnavailable: the schema registry does not answer.
    """
    training = build_training_set(
        model, questions, context.history, delay_ms=delay_ms, schemas=context.schemas, tell=tell
    )
    require_enough(model.key, training)
    encoder = Encoder.fit(model.inputs, training.vectors)
    trained: dict[str, Trained] = {}
    started: dict[str, WarmStart] = {}
    for name, learner in model.learners.items():
        if learner.kind == ONLINE:
            started[name] = _warm_started(name, model, training, encoder, context=context, tell=tell)
            trained[name] = Trained(started[name].data, started[name].measures)
        elif learner.kind == OFFLINE:
            tell(f"training of {name}", 0, 1)
            trained[name] = _offline(learner, encoder, training)
            tell(f"training of {name}", 1, 1)
        else:
            trained[name] = bring(learner, encoder, training)
    tell("release", 0, 1)
    release = write_release(model, training, encoder=encoder, trained=trained, context=context, now_ms=now_ms)
    for name, start in started.items():
        _point(model, name, start, context)
    tell("release", 1, 1)
    return TrainResult(
        release=release,
        deployment=_deployment(model, release, now_ms),
        asked=training.asked,
        rows=training.rows,
        measures={name: each.measures for name, each in trained.items()},
    )


def _offline(learner: LearnerDefinition, encoder: Encoder, training: TrainingSet) -> Trained:
    offline = train_offline(learner, encoder, training)
    return Trained(offline.data, offline.measures)


def _deployment(model: ModelDefinition, release: str, now_ms: int) -> Deployment:
    return Deployment.of(model.name, release, model.route, at_ms=now_ms)


def _warm_started(
    name: str, model: ModelDefinition, training: TrainingSet, encoder: Encoder, *, context: JobContext, tell: Tell
) -> WarmStart:
    [before] = context.store.read(store.Question(pointers=[learner_pointer(model.key, name)])).pointers
    generation = 1 if before is None else before.generation + 1
    cut = cut_at_end(context.history, topics.examples(context.namespace, model), generation=generation)
    return warm_start(model.learners[name], encoder, training, cut=cut, tell=tell)


def _point(model: ModelDefinition, name: str, start: WarmStart, context: JobContext) -> None:
    pointer = store.Pointer(start.cut.generation, start.cut.examples_next, digest_of(start.data))
    if not context.store.advance_pointer(learner_pointer(model.key, name), pointer):
        raise TrainingRefused(
            f"cannot hand over warm start: {model.key} {name}: expected to be generation {pointer.generation}, "
            "got one that is there already: another training ran at the same time; train again"
        )
