"""Writes a release: artefacts, the baseline cut from the same rows, and the manifest that names them all.

The baseline holds each learner's own scores of the whole training set; of a learner on a server, and of what rests on
one, those of `SAMPLED` rows spread over it, if the server gives them. Scores on held-out rows would be more modest, but
a hold-out is a stretch of time: with the last week of a month held out, that week's weather becomes the baseline, and
ordinary days then drift. Scores cross-fitted over blocks of time give the same verdicts at several times the cost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version

from batch.bring_learner import Trained
from batch.build_training_set import TrainingSet
from batch.context import AskServers, JobContext
from definitions.declared import ModelDefinition
from definitions.encoder import Encoder, Vector
from online_models import releases
from online_models.baseline import cut_baseline
from online_models.learners.restoring import LineUp, restore_all

SAMPLED = 1_000
"""Rows that a server is asked about at most: a hundred in each of a baseline's bins."""
_DISTRIBUTIONS = ("headrace", "river", "xgboost-cpu", "numpy", "msgspec")


def write_release(
    model: ModelDefinition,
    training: TrainingSet,
    *,
    encoder: Encoder,
    trained: Mapping[str, Trained],
    context: JobContext,
    now_ms: int,
) -> str:
    """Keep every part of a release, the manifest last; return the release's digest.

    Cost: scoring the training set with every learner: about 1 s for 27,000 rows.
    """
    artefacts = context.artefacts
    digests = {learner: artefacts.put(each.data) for learner, each in trained.items()}
    line_up = restore_all(model.learners, encoder, digests=digests, fetch=lambda learner: trained[learner].data)
    scores = {learner: scorer.score_many(training.vectors) for learner, scorer in line_up.local().items()}
    scores |= _far(line_up, training.vectors, context.ask_servers)
    baseline = cut_baseline(model=model.key, inputs=model.inputs, vectors=training.vectors, scores=scores)
    manifest = releases.Manifest(
        model=model.name,
        version=model.version,
        definition=model.digest,
        views=[view.key for view in model.all_views],
        inputs=[(each.name, str(each.type)) for each in model.inputs],
        champion=model.route.champion,
        shadow=list(model.route.shadow),
        encoder=artefacts.put(encoder.to_json()),
        artefacts={
            learner: releases.Artefact(kind=model.learners[learner].kind, digest=digest)
            for learner, digest in digests.items()
        },
        baseline=artefacts.put(baseline.to_json()),
        metrics={learner: dict(each.measures) for learner, each in trained.items()},
        data=_data_span(training),
        code={name: version(name) for name in _DISTRIBUTIONS},
        created_at_ms=now_ms,
    )
    return releases.write(manifest, artefacts.put)


def _far(line_up: LineUp, vectors: Sequence[Vector], ask_servers: AskServers) -> dict[str, list[float]]:
    """Return the scores of a sample of rows by learners on servers, and by those that combine them."""
    if not line_up.remotes:
        return {}
    sample = vectors[:: max(1, -(-len(vectors) // SAMPLED))]
    given = {name: list(scores) for name, scores in ask_servers(line_up.remotes, sample).items()}
    near = {name: scorer.score_many(sample) for name, scorer in line_up.local().items()}
    for name, combiner in line_up.combiners.items():
        members = [(near | given).get(member) for member in combiner.members]
        if name not in near and all(each is not None for each in members):
            given[name] = combiner.combine(sample, [each for each in members if each is not None])
    return given


def _data_span(training: TrainingSet) -> releases.DataSpan:
    return releases.DataSpan(
        rows=training.rows,
        positives=sum(label is True for label in training.labels) if training.is_binary else None,
        first_at_ms=training.times_ms[0],
        last_at_ms=training.times_ms[-1],
        positions=training.positions,
        visibility=training.visibility,
        questions=training.questions,
    )
