"""A small release, really trained, for tests of those who serve one."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import xgboost
from river.linear_model import LogisticRegression

from definitions.declared import Input, LearnerDefinition, ModelDefinition
from definitions.encoder import Encoder
from definitions.learners import ONNX
from definitions.values import Value, ValueType
from online_models import releases
from online_models.baseline import cut_baseline
from online_models.learners import Cut
from online_models.learners.describing import describe
from online_models.learners.restoring import OFFLINE, ONLINE
from online_models.learners.river import RiverLearner
from streams.artefacts import ArtefactStore
from streams.messages import Deployment

_ROWS = 60
UNLUCKY = 13.0


def warm(model: ModelDefinition, encoder: Encoder, learner: str = "online", *, examples: int = 20) -> RiverLearner:
    """Return an online learner of the model that has learned some examples."""
    chance = random.Random(examples)
    built = RiverLearner(model.learners[learner], encoder)
    for _ in range(examples):
        built.learn_one(_vector(model, chance), chance.random() < 0.5)
    return built


def release(model: ModelDefinition, artefacts: ArtefactStore, *, seed: int = 1, **changes: Any) -> str:
    """Train the model's learners on noise, keep all of it, return the release's digest; ``changes`` to the manifest."""
    chance = random.Random(seed)
    vectors = [_vector(model, chance) for _ in range(_ROWS)]
    labels = [chance.random() < 0.5 for _ in vectors]
    encoder = Encoder.fit(model.inputs, vectors)
    kept = {
        name: releases.Artefact(kind=each.kind, digest=artefacts.put(_trained(each, encoder, vectors, labels)))
        for name, each in model.learners.items()
    }
    scores = {name: [chance.random() for _ in vectors] for name in model.learners}
    baseline = cut_baseline(model=model.key, inputs=model.inputs, vectors=vectors, scores=scores)
    manifest = releases.Manifest(
        model=model.name,
        version=model.version,
        definition=model.digest,
        views=[view.key for view in model.all_views],
        inputs=[(each.name, str(each.type)) for each in model.inputs],
        champion=model.route.champion,
        shadow=list(model.route.shadow),
        encoder=artefacts.put(encoder.to_json()),
        artefacts=kept,
        baseline=artefacts.put(baseline.to_json()),
        metrics={},
        data=releases.DataSpan(
            rows=len(vectors),
            positives=sum(labels),
            first_at_ms=0,
            last_at_ms=1,
            positions={},
            visibility="event_time+0ms",
            questions="",
        ),
        code={},
        created_at_ms=seed,
    )
    return releases.write(msgspec.structs.replace(manifest, **changes), artefacts.put)


def deployment(model: ModelDefinition, digest: str) -> Deployment:
    """Return the record that puts a release in force by the model's own route."""
    return Deployment.of(model.name, digest, model.route, at_ms=1)


def linear() -> object:
    """Return a fresh estimator: a learner's factory."""
    return LogisticRegression()


class Touchy(LogisticRegression):
    """An estimator that fails on one distance: what an author's own code may do."""

    def predict_proba_one(self, x: dict[str, float]) -> dict[bool, float]:
        if x.get("distance") == UNLUCKY:
            raise ZeroDivisionError("this distance")
        return dict(super().predict_proba_one(x))


def _vector(model: ModelDefinition, chance: random.Random) -> list[Value]:
    return [_value(each, chance) for each in model.inputs]


def _value(each: Input, chance: random.Random) -> Value:
    kind = each.type
    if kind is ValueType.EMBEDDING:
        return [chance.gauss() for _ in range(each.length or 0)]
    if kind is ValueType.CATEGORY:
        return chance.choice(["UA", "AA", "B6"])
    if kind is ValueType.BOOL:
        return chance.random() < 0.5
    return chance.randrange(100) if kind is ValueType.INT else chance.random() * 100


def _trained(learner: LearnerDefinition, encoder: Encoder, vectors: Sequence[list[Value]], labels: list[bool]) -> bytes:
    if learner.kind == ONLINE:
        online = RiverLearner(learner, encoder)
        for vector, label in zip(vectors, labels, strict=True):
            online.learn_one(vector, label)
        return online.snapshot(Cut(0, 0))
    if learner.kind == ONNX:
        return Path(learner.place).read_bytes()
    if learner.kind != OFFLINE:
        return describe(learner)
    matrix = xgboost.DMatrix(encoder.matrix(vectors), label=np.array(labels, dtype=np.float32))
    booster = xgboost.train({"objective": "binary:logistic", "max_depth": 2, "nthread": 1}, matrix, num_boost_round=3)
    return bytes(booster.save_raw("ubj"))
