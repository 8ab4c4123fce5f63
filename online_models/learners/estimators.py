"""Estimators of River as learners see them: built by the author's factory, seeded, asked and taught by their kind."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any

import numpy as np
from river import base
from river.base import AnomalyDetector
from river.proba.base import Distribution

from definitions.declared import Input
from definitions.values import ValueType
from online_models import restricted
from online_models.canonical import canonical_digest, objects_of
from online_models.errors import LearnerUnusable
from online_models.gathering import gathering

Estimator = Any
"""An estimator of River: its classes share no type that has what is called here."""
UNDECIDED = 0.5
"""The probability that a classifier gives which has seen no label yet."""


class Task(StrEnum):
    """What an estimator gives, and what it learns from."""

    CLASSIFIER = "classifier"
    """The probability of True; learns True and False."""
    REGRESSOR = "regressor"
    """A number; learns finite numbers."""
    ANOMALY = "anomaly detector"
    """How unusual a vector is; learns the vector, whatever its label."""


@dataclass(frozen=True, slots=True)
class Make:
    """What all estimators of one factory have in common. Found once per process."""

    task: Task
    kind: type
    allowed: frozenset[restricted.Global]
    """What a snapshot of one may name."""
    digest: str
    """Canonical digest of a fresh one: the identity of what the factory builds."""


def fresh(factory: Callable[[], object] | None, *, where: str) -> Estimator:
    """Return a new estimator, its random generators seeded by us where the author gave no seed.

    Raises:
        LearnerUnusable: the factory builds something else.
    """
    estimator = factory() if factory is not None else None
    if not isinstance(estimator, base.Classifier | base.Regressor | AnomalyDetector):
        raise LearnerUnusable(
            f"cannot build learner: {where}: expected a factory of a River classifier, regressor or anomaly detector "
            f"that needs no label to score, got {type(estimator).__name__}"
        )
    seed(estimator)
    return estimator


def seed(estimator: Estimator) -> None:
    """Give each part that has no seed one of its own, the same in every process, and begin its generators with it.

    What a part builds later, from its own seed or its own generator, follows from that.
    """
    number = 0
    for part in objects_of(estimator):
        own = getattr(part, "__dict__", {})
        if own.get("seed", 0) is not None or isinstance(part, Distribution):
            continue
        number += 1
        part.seed = number  # type: ignore[attr-defined]  # it has one: None
        for each in own.values():
            if isinstance(each, random.Random | np.random.RandomState):
                each.seed(number)


@lru_cache(maxsize=256)
def make_of(factory: Callable[[], object] | None, where: str) -> Make:
    """Return what the factory's estimators have in common. Cost: two of them are built, once per process.

    Raises:
        LearnerUnusable: they cannot be learners, or two fresh ones differ.
    """
    estimator = fresh(factory, where=where)
    digest = canonical_digest(estimator)
    if canonical_digest(fresh(factory, where=where)) != digest:
        raise LearnerUnusable(
            f"cannot build learner: {where}: expected a factory whose estimators are equal when fresh, got two that "
            "differ; give what it draws at random a seed"
        )
    return Make(_task(estimator), type(estimator), restricted.globals_of(estimator, where=where), digest)


@lru_cache(maxsize=256)
def require_weighing(factory: Callable[[], object], inputs: tuple[Input, ...], where: str) -> None:
    """Refuse an estimator that learns the same of an example, whatever its weight. Tried out: signatures lie.

    Raises:
        LearnerUnusable: it does.
    """
    task = make_of(factory, where).task
    digests = set()
    for weight in (1.0, 3.0):
        estimator = fresh(factory, where=where)
        # Boundary: the estimator is the author's; one that fails here takes no weights either.
        try:
            for number in (1.0, 2.0, 3.0):
                learn(
                    estimator, task, _probe(inputs, number), number > 1 if task is Task.CLASSIFIER else number, weight
                )
        except Exception:  # noqa: BLE001
            digests = {""}
            break
        digests.add(canonical_digest(estimator))
    if len(digests) == 1:
        raise LearnerUnusable(
            f"cannot build learner: {where}: expected an estimator that takes weights, got a "
            f"{make_of(factory, where).kind.__name__} that does not; use one of river.linear_model or river.tree, "
            "or wrap it in one of river.imblearn and declare no weight"
        )


@lru_cache(maxsize=256)
def require_many(factory: Callable[[], object], inputs: tuple[Input, ...], where: str) -> None:
    """Refuse an estimator that cannot learn many examples at once. Tried out: a pipeline never says it of its steps.

    Raises:
        LearnerUnusable: it cannot, or what makes tables is not installed.
    """
    estimator = fresh(gathering(factory, 2, where), where=where)
    task = _task(estimator)
    # Boundary: the estimator is the author's.
    try:
        for number in (1.0, 2.0):
            learn(estimator, task, _probe(inputs, number), number > 1 if task is Task.CLASSIFIER else number)
    except Exception as error:
        cause = error.__cause__ or error
        raise LearnerUnusable(
            f"cannot build learner: {where}: expected an estimator every step of which has learn_many, and pandas "
            f"installed (headrace[many]), as many= asks, got {type(cause).__name__}: {cause}; or leave many= out"
        ) from error


def score(estimator: Estimator, task: Task, features: dict[str, Any]) -> float:
    """Return what the estimator gives for one example's features."""
    if task is Task.CLASSIFIER:
        probabilities = estimator.predict_proba_one(features)
        return float(probabilities.get(True, 0.0) if probabilities else UNDECIDED)
    if task is Task.REGRESSOR:
        return float(estimator.predict_one(features) or 0.0)
    return float(estimator.score_one(features))


def learn(
    estimator: Estimator, task: Task, features: dict[str, Any], target: float, weight: float | None = None
) -> None:
    """Teach the estimator one example: ``target`` True or False for a classifier; ``weight`` None for none declared."""
    if task is Task.ANOMALY:
        estimator.learn_one(features)
    elif weight is None:
        estimator.learn_one(features, target)
    else:
        estimator.learn_one(features, target, w=weight)


def _task(estimator: Estimator) -> Task:
    if isinstance(estimator, AnomalyDetector):
        return Task.ANOMALY
    return Task.CLASSIFIER if isinstance(estimator, base.Classifier) else Task.REGRESSOR


def _probe(inputs: tuple[Input, ...], number: float) -> dict[str, Any]:
    """Return features as an encoder makes them; which values they have does not matter."""
    return {f"{each.name}=a" if each.type is ValueType.CATEGORY else each.name: number for each in inputs}
