"""What authors write of candidates: their inputs, what models and matrices say of them, and the stages they go through.

A stage is refused on its own line where what it is given cannot mean anything; what only the graph as a whole shows is
refused when the graph is declared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from definitions.annotations import VALUE_TYPES
from definitions.combining import article, is_number
from definitions.declared import Input, ModelDefinition, StageKind
from definitions.declaring import Declaring, author_line, listed, near
from definitions.inputs import LookupTerm, RequestTerm, request
from definitions.models import Model
from definitions.terms import FeatureTerm, Leaf, Term
from definitions.units import UNKNOWN
from definitions.values import ValueType, shown

LARGEST_LIMIT = 100_000
"""As many candidates as a request of 1 MiB can name."""

_ID_TYPES = {str: ValueType.CATEGORY, int: ValueType.INT}
_GROUPS = frozenset({ValueType.CATEGORY, ValueType.INT, ValueType.BOOL})


class CandidateTerm(Leaf):
    """A value that each candidate brings, as `Candidates.input` declares it."""

    __slots__ = ("entity", "input")

    def __init__(self, entity: str, given: Input) -> None:
        super().__init__(given.type, given.unit, given.length)
        self.entity = entity
        self.input = given

    def __repr__(self) -> str:
        return f"{self.entity}.{self.input.name}"


class PredictedTerm(Leaf):
    """The score that a model gives a candidate, as `predicted` declares it."""

    __slots__ = ("learner", "model")

    def __init__(self, model: ModelDefinition, learner: str | None) -> None:
        super().__init__(ValueType.FLOAT)
        self.model = model
        self.learner = learner

    def __repr__(self) -> str:
        return f"hr.predicted({self.model.name}{'' if self.learner is None else f', {self.learner!r}'})"


class DotTerm(Leaf):
    """A dot product with a row of a matrix, as `dot` declares it."""

    __slots__ = ("matrix", "vector")

    def __init__(self, vector: FeatureTerm | RequestTerm, matrix: str) -> None:
        super().__init__(ValueType.FLOAT)
        self.vector = vector
        self.matrix = matrix

    def __repr__(self) -> str:
        return f"hr.dot({self.vector!r}, {self.matrix!r})"


def predicted(model: type[Model], learner: str | None = None) -> Term:
    """Return the score that a model gives each candidate: of its route's champion, or of the learner named.

    What the model reads is had for each candidate: features of the candidate's own entity and of the request's, and
    request inputs from the candidate where it declares them, else from the request.
    """
    declaring = Declaring("prediction", author_line())
    definition = _model(declaring, model)
    if learner is not None and learner not in definition.learners:
        got = shown(learner)
        raise declaring.refusal(f"{listed(definition.learners)}", got, near(str(learner), definition.learners))
    if definition.lookups:
        mend = "read the view for the candidate or the request itself"
        raise declaring.refusal("a model that looks nothing up", f"{definition.name}, which does", mend)
    return PredictedTerm(definition, learner)


def dot(vector: Term, matrix: str) -> Term:
    """Return the dot product of an embedding of the request and each candidate's row of a matrix resident in memory.

    Args:
        vector: an embedding that the request carries, or a feature of one of its own entities.
        matrix: the name under which the matrix is published. A candidate without a row in it has no value.
    """
    declaring = Declaring("dot product", author_line())
    if not isinstance(vector, FeatureTerm | RequestTerm) or vector.type is not ValueType.EMBEDDING:
        got = article(vector.type) if isinstance(vector, Term) else shown(vector)
        mend = 'write hr.request("taste", list[float], length=32)'
        raise declaring.refusal("an embedding that the request carries, or a feature", got, mend)
    return DotTerm(vector, declaring.name(matrix))


@dataclass(frozen=True, slots=True)
class StageTerm:
    """One stage as it was written."""

    kind: StageKind
    where: str
    term: Term | None = None
    count: int = 0
    descending: bool = True


class Chain:
    """Candidates behind some stages, in the order in which these were written. Every stage makes a new chain."""

    __slots__ = ("of", "stages")

    def __init__(self, of: Candidates | None, stages: tuple[StageTerm, ...] = ()) -> None:
        self.of = of
        self.stages = stages

    def filter(self, condition: Term) -> Chain:
        """Keep the candidates for which the condition is true; where it has no value, it is not true.

        A candidate of which something could not be read is kept, and the reply says so.
        """
        return self._with(StageKind.FILTER, condition, frozenset({ValueType.BOOL}), "a condition, such as a > b")

    def score(self, by: Term | type[Model]) -> Chain:
        """Give each candidate a score, in place of the one before. Without a value it has none, and is behind all."""
        if isinstance(by, type):
            by = predicted(by)
        numbers = frozenset(each for each in ValueType if is_number(each))
        return self._with(StageKind.SCORE, by, numbers, "a number or a model")

    def top(self, count: int) -> Chain:
        """Keep the ``count`` best by score, best first. Of equal scores, what the request named first is better."""
        declaring = self._declaring(StageKind.TOP)
        before = [each for each in self.stages if each.kind is StageKind.TOP]
        if before and declaring.count(count, "count") >= before[-1].count:
            raise declaring.refusal(f"fewer than the {before[-1].count} that are left", shown(count))
        self._scored(declaring)
        return self._then(StageTerm(StageKind.TOP, declaring.where, count=declaring.count(count, "count")))

    def group(self, by: Term, *, at_most: int) -> Chain:
        """Keep the best of each group, by score: ``at_most`` that have the same value. Those without one all stay."""
        declaring = self._declaring(StageKind.GROUP)
        count = declaring.count(at_most, "at_most")
        return self._with(StageKind.GROUP, by, _GROUPS, "a str, an int or a bool", count=count)

    def sort(self, by: Term | None = None, *, descending: bool = True) -> Chain:
        """Put the candidates in order: by score, or by a number; those without one last."""
        if by is None:
            declaring = self._declaring(StageKind.SORT)
            self._scored(declaring)
            return self._then(StageTerm(StageKind.SORT, declaring.where, descending=descending))
        numbers = frozenset({ValueType.INT, ValueType.FLOAT, ValueType.TIME})
        return self._with(StageKind.SORT, by, numbers, "a number or a time", descending=descending)

    def _with(
        self,
        kind: StageKind,
        term: object,
        types: frozenset[ValueType],
        expected: str,
        *,
        count: int = 0,
        descending: bool = True,
    ) -> Chain:
        declaring = self._declaring(kind)
        if not isinstance(term, Term):
            raise declaring.refusal(expected, shown(term))
        if isinstance(term, LookupTerm):
            raise declaring.refusal(expected, repr(term), "what is looked up cannot be read by a graph")
        if term.type not in types:
            raise declaring.refusal(expected, f"{article(term.type)}: {term!r}")
        return self._then(StageTerm(kind, declaring.where, term, count, descending))

    def _then(self, stage: StageTerm) -> Chain:
        of = self if isinstance(self, Candidates) else self.of
        return Chain(of, (*self.stages, stage))

    def _declaring(self, kind: StageKind) -> Declaring:
        return Declaring(f"stage {len(self.stages) + 1} .{kind}(…)", author_line())

    def _scored(self, declaring: Declaring) -> None:
        if not any(each.kind is StageKind.SCORE for each in self.stages):
            raise declaring.refusal("a score to go by", "none", "write .score(…) before it")


class Candidates(Chain):
    """What a request brings to be ranked, as `candidates` declares it: a chain without a stage yet."""

    __slots__ = ("entity", "id_type", "inputs", "limit", "where")

    def __init__(self, entity: str, id_type: ValueType, limit: int) -> None:
        super().__init__(None)
        self.where = author_line()
        self.entity = entity
        self.id_type = id_type
        self.limit = limit
        self.inputs: dict[str, Input] = {}

    def __repr__(self) -> str:
        return f"hr.candidates({self.entity!r})"

    def input(self, name: str, kind: type[_Kind], *, unit: str = UNKNOWN, length: int | None = None) -> Term:
        """Declare a value that each candidate carries under its own ``inputs``; arguments as of `hr.request`."""
        declared = request(name, kind, unit=unit, length=length)
        assert isinstance(declared, RequestTerm)  # noqa: S101  # what `request` makes
        known = self.inputs.setdefault(name, declared.input)
        if known != declared.input:
            declaring = Declaring(f"input {name} of {self!r}", author_line())
            raise declaring.refusal(f"one of type {known.type.written}, as before", declared.input.type.written)
        return CandidateTerm(self.entity, known)


_Kind = TypeVar("_Kind", int, float, bool, str, list[float])


def candidates(entity: str, *, limit: int, kind: type[int | str] = str) -> Candidates:
    """Declare what a request brings to be ranked.

    Args:
        entity: what views call a candidate, as in their ``by=`` or ``entity=``.
        limit: the most that one request may bring; one with more is rejected as ``too_large``.
        kind: ``str`` or ``int``, the type of its id.
    """
    declaring = Declaring(f"candidates {shown(entity)}", author_line())
    name = declaring.name(entity)
    if declaring.count(limit, "limit") > LARGEST_LIMIT:
        raise declaring.refusal(f"limit= to be at most {LARGEST_LIMIT}", shown(limit))
    if kind not in _ID_TYPES or kind not in VALUE_TYPES:
        raise declaring.refusal("kind= to be str or int", getattr(kind, "__name__", shown(kind)))
    return Candidates(name, _ID_TYPES[kind], limit)


def _model(declaring: Declaring, model: object) -> ModelDefinition:
    if not (isinstance(model, type) and issubclass(model, Model) and model is not Model):
        raise declaring.refusal("a class of hr.Model", getattr(model, "__name__", shown(model)))
    return model.definition
