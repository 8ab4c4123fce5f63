"""Graphs over the candidates of requests: what goes in, what comes out, and what the shell has to read in between.

`executor.GraphExecutor` runs a declared graph. It is pure: features come by a function that it is given, time by a
clock, models as executors, matrices as values, what personal models remember by another function.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from definitions.encoder import Vector
from definitions.values import Value
from online_models.executor import Executor, Failure, TrainedVersion
from online_models.graphs.columns import Mask, Rows
from online_models.graphs.matrix import Matrix


@dataclass(frozen=True, slots=True)
class Ask:
    """One request: its candidates in the order in which it named them, and what it says of them and of itself."""

    ids: Sequence[str | int]
    """Each once."""
    at_ms: int
    inputs: Mapping[str, Value] = field(default_factory=dict)
    candidates: Mapping[str, Sequence[Value]] = field(default_factory=dict)
    """The candidates' own inputs, each one value per candidate."""


@dataclass(frozen=True, slots=True)
class Read:
    """Values that were read. ``unread`` says of which that was not possible; None where it was of all."""

    values: Sequence[Value]
    unread: Mask | None = None


@dataclass(frozen=True, slots=True)
class Features:
    """What a stage's round trip to the store brought, by feature: ``view.feature``."""

    of_candidates: Mapping[str, Read]
    """One value per candidate asked for, request by request."""
    of_requests: Mapping[str, Read]
    """One value per request."""


FetchFeatures = Callable[[Sequence[str], Sequence[Rows]], Features | None]
"""Reads views, by name, of candidates: per request the places of those that are wanted. None if it was not possible.

Asked at most once a stage, and for no view twice.
"""


Recall = Callable[[str, str, Sequence[Rows], Sequence[Vector]], Sequence[float] | None]
"""What a personal learner adds for some candidates: model, learner, per request the places of the candidates, and their
vectors, request by request. None where the store does not tell: nobody is remembered then.
"""


def nobody(model: str, learner: str, wanted: Sequence[Rows], vectors: Sequence[Vector]) -> None:
    """Remember nobody: a `Recall` where no model has a personal learner."""
    del model, learner, wanted, vectors


@dataclass(frozen=True, slots=True)
class World:
    """What a graph meets outside of itself."""

    fetch: FetchFeatures
    models: Mapping[str, Executor | None]
    """Model name to the executor in force, None where no release is."""
    matrices: Mapping[str, Matrix | None] = field(default_factory=dict)
    until_ms: float = np.inf
    """When the answers have to be there, by the executor's clock."""
    recall: Recall = nobody


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """A trained version that took part, and whose."""

    model: str
    version: TrainedVersion


@dataclass(frozen=True, slots=True)
class Ranked:
    """The answer to one request: what is left of its candidates, in order."""

    places: Sequence[int]
    """In the request's order of candidates."""
    scores: Sequence[float | None]
    degraded: tuple[str, ...] = ()
    """What was done without, or only in part: stages, models, matrices, views, features."""
    reason: str | None = None
    """None, ``features_unavailable``, ``model_unavailable`` or ``deadline``: the first that came up."""
    is_answer: bool = True
    """False where a score was to be given and nothing could give one."""


@dataclass(frozen=True, slots=True)
class Known:
    """What the first places of an answer were ranked by."""

    names: Sequence[str]
    """Features, inputs of candidates, columns; ``model:learner`` for the score that a learner gave."""
    rows: Sequence[Sequence[Value]]
    """A place's values, in the order of ``names``."""


def learner_column(model: str, learner: str) -> str:
    """Return the name under which the score that a learner gave is known."""
    return f"{model}:{learner}"


def _nothing_known(number: int) -> Known:
    del number
    return Known((), ())


@dataclass(frozen=True, slots=True)
class GraphRun:
    """A micro-batch that went through a graph."""

    answers: tuple[Ranked, ...]
    versions: tuple[ModelVersion, ...] = ()
    failures: tuple[tuple[str, Failure], ...] = ()
    """Model name to what a learner of it failed at. For metrics and logs, never for callers."""
    reached: Mapping[str, int] = field(default_factory=dict)
    """Stage to how many candidates came to it, of all requests."""
    took_ms: float = 0.0
    known: Callable[[int], Known] = field(default=_nothing_known, compare=False)
    """What the first places of a request were ranked by, worked out when it is asked for: nobody waits for it."""
