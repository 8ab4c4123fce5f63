"""What is ranked, as data: a graph of stages that narrow the candidates of one request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from definitions.declared.events import Field
from definitions.declared.models import Input, ModelDefinition
from definitions.declared.views import ViewDefinition
from definitions.expressions import Expression
from definitions.values import ValueType


class StageKind(StrEnum):
    """What a stage does with the candidates that reach it."""

    FILTER = "filter"
    SCORE = "score"
    TOP = "top"
    GROUP = "group"
    SORT = "sort"


@dataclass(frozen=True, slots=True)
class CandidatesDefinition:
    """What a request brings to be ranked: at most ``limit`` entities of one kind, each with inputs of its own."""

    entity: Field
    """What views call a candidate, and the type of its id."""
    limit: int
    inputs: tuple[Input, ...] = ()


@dataclass(frozen=True, slots=True)
class Predicted:
    """The score that a model gives a candidate: of its route's champion, or of the ``learner`` that is named."""

    model: str
    learner: str | None = None


@dataclass(frozen=True, slots=True)
class Dot:
    """The dot product of the embedding called ``vector`` and the candidate's row of a matrix resident in memory."""

    vector: str
    matrix: str


@dataclass(frozen=True, slots=True)
class GraphColumn:
    """A value of every candidate that is worked out: by an expression, a model or a matrix."""

    name: str
    type: ValueType
    made: Expression | Predicted | Dot


@dataclass(frozen=True, slots=True)
class StageDefinition:
    """One step. ``column`` names what it reads: a feature, an input or a column."""

    name: str
    """As replies and metrics call it: ``3 score click``."""
    kind: StageKind
    column: str | None = None
    """None where `TOP` and `SORT` go by the score."""
    count: int = 0
    """How many `TOP` lets pass, and how many of each group `GROUP` does."""
    descending: bool = True


@dataclass(frozen=True, slots=True)
class GraphDefinition:
    """What the author declares with `hr.Graph`."""

    name: str
    version: int
    candidates: CandidatesDefinition
    requests: tuple[Input, ...]
    """What a request has to carry under ``inputs``."""
    views: tuple[ViewDefinition, ...]
    """Every view that some stage reads, each once."""
    models: tuple[ModelDefinition, ...]
    columns: Mapping[str, GraphColumn]
    """In an order in which each comes behind those that it reads."""
    stages: tuple[StageDefinition, ...]
    matrices: Mapping[str, int]
    """The matrices' names, each with the length of its rows."""
    digest: str
    owner: str = ""
    description: str = ""
    timeout_ms: int = 1_000
    """The budget of a request that names none."""
    eager: bool = False
    """Whether all features of all candidates are read at once, instead of what the survivors need at each stage."""
    pinned: tuple[str, ...] = ()
    """Names of the views that are read in the version declared here, whichever version is in force."""
    reads: frozenset[str] = field(default_factory=frozenset)
    """Names of the features that some stage or model reads: ``view.feature``."""
    logged: int = 0
    """How many of the first places of an answer are logged with all that they were ranked by."""
    label: None = None
    """No label comes for a ranking as a whole."""

    @property
    def key(self) -> str:
        """The graph version's name: ``ranking.v1``."""
        return f"{self.name}.v{self.version}"

    @property
    def entity_types(self) -> Mapping[str, ValueType]:
        """The entities that a request has to give beside its candidates, each with the type of its name."""
        own = self.candidates.entity.name
        return {each.name: each.type for view in self.views for each in view.entity if each.name != own}

    def model(self, name: str) -> ModelDefinition:
        """Return the model called ``name``, one of those that the graph asks."""
        return next(each for each in self.models if each.name == name)

    @property
    def takes_label_keys(self) -> bool:
        """Whether candidates may say what their labels will come with: a model of it learns from what is logged."""
        return bool(self.logged) and any(each.label is not None for each in self.models)

    def is_of_candidates(self, view: ViewDefinition) -> bool:
        """Return whether a view is read for every candidate, not once for the request."""
        return any(each.name == self.candidates.entity.name for each in view.entity)
