"""``hr.Graph``: candidates, and the stages that narrow and rank them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, TypedDict, Unpack

from definitions.candidates import Candidates, CandidateTerm, Chain, DotTerm, PredictedTerm, StageTerm
from definitions.declared import (
    CandidatesDefinition,
    Dot,
    Field,
    GraphColumn,
    GraphDefinition,
    Input,
    ModelDefinition,
    Predicted,
    StageDefinition,
)
from definitions.declaring import Declaring, author_line, near, snake_case
from definitions.expressions import ASKED_AT, Expression
from definitions.graph_identity import graph_digest
from definitions.inputs import RequestTerm, Vector, key_type, refuse_ambiguous_entities
from definitions.models import DEFAULT_TIMEOUT
from definitions.terms import FeatureTerm, Leaf, Term
from definitions.times import AskedAtTerm
from definitions.values import parse_span, shown

EVALUATIONS = ("lazy", "eager")
LOGGED = 10
"""How many places are logged where the author says nothing: a screen of them."""
MOST_LOGGED = 100
"""A record of so many places, of thirty values each, has some 100 KiB."""

_PARTS = ("candidates", "answer")
_OWN_NAMES = frozenset({"definition"})


class GraphOptions(TypedDict, total=False):
    """What the class keywords of a graph may say."""

    owner: str
    timeout: str
    evaluation: str
    logged: int


class GraphKeywords(GraphOptions):
    """What the class keywords of a graph have to say."""

    version: int


class Graph:
    """Which of many candidates are answered, and in which order.

    Class keywords: ``version``; ``owner``; ``timeout``, the budget of a request that names none (default 1s);
    ``evaluation``: ``lazy`` (the default) reads at each stage what those that are left need, in one round trip to the
    store a stage; ``eager`` reads everything of all candidates in a single one, which is quicker for a few dozen. Both
    give the same answer to the bit. ``logged``: how many of the first places of an answer are logged with all that they
    were ranked by (default 10, at most 100). The docstring is the description. Attributes: ``candidates``; ``answer``,
    the candidates behind their stages; and under names of the author's choice what stages share: it is worked out once.

    Example:
        >>> class Ranking(Graph, version=1):  # doctest: +SKIP
        ...     candidates = hr.candidates("item", limit=10_000)
        ...     price = candidates.input("price", float)
        ...     click = hr.predicted(Click)
        ...     answer = (
        ...         candidates.filter(price <= hr.request("budget", float))
        ...         .score(hr.dot(hr.request("taste", list[float], length=32), "item_taste"))
        ...         .top(500)
        ...         .score(click - 0.01 * ItemStats.shown["1h"])
        ...         .group(candidates.input("seller", str), at_most=5)
        ...         .top(50)
        ...     )
    """

    definition: ClassVar[GraphDefinition]
    candidates: ClassVar[Candidates]
    answer: ClassVar[Chain]

    def __init_subclass__(cls, **keywords: Unpack[GraphKeywords]) -> None:
        """Read the declaration, or refuse it."""
        declaring = Declaring(f"graph {cls.__name__}", author_line())
        if cls.__bases__ != (Graph,):
            raise declaring.refusal("hr.Graph as the only base", shown([each.__name__ for each in cls.__bases__]))
        declaring.keywords(keywords, GraphKeywords.__required_keys__, GraphKeywords.__optional_keys__)
        attributes = {name: value for name, value in vars(cls).items() if not name.startswith("_")}
        given, chain = _parts(declaring, attributes)
        gathered = _Gathered(declaring, given, _shared(declaring, attributes))
        stages = tuple(gathered.stage(number, each) for number, each in enumerate(chain.stages, 1))
        gathered.refuse_what_is_not_read()
        views = tuple(gathered.vector.views.values())
        graph = GraphDefinition(
            name=declaring.name(snake_case(cls.__name__)),
            version=declaring.count(keywords["version"], "version"),
            candidates=CandidatesDefinition(
                Field(given.entity, given.id_type), given.limit, tuple(given.inputs.values())
            ),
            requests=tuple(gathered.vector.requests.values()),
            views=views,
            models=tuple(gathered.models.values()),
            columns=gathered.columns,
            stages=stages,
            matrices=gathered.matrices,
            digest="",
            owner=declaring.text(keywords.get("owner", ""), "owner"),
            description=inspect.cleandoc(vars(cls).get("__doc__") or ""),
            timeout_ms=parse_span(keywords.get("timeout", DEFAULT_TIMEOUT), where=declaring.where),
            logged=_logged(declaring, keywords.get("logged", LOGGED)),
            eager=_evaluation(declaring, keywords.get("evaluation", "lazy")) == "eager",
            pinned=tuple(dict.fromkeys(name for each in gathered.models.values() for name in each.pinned)),
            reads=frozenset(gathered.features),
        )
        _check_entities(declaring, graph, given)
        cls.definition = replace(graph, digest=graph_digest(graph))


def _parts(declaring: Declaring, attributes: Mapping[str, object]) -> tuple[Candidates, Chain]:
    given, chain = attributes.get("candidates"), attributes.get("answer")
    if not isinstance(given, Candidates):
        got = "none" if given is None else shown(given)
        raise declaring.refusal("candidates to say what is ranked", got, 'write hr.candidates("item", limit=…)')
    if not isinstance(chain, Chain) or not chain.stages:
        got = "none" if chain is None else shown(chain)
        raise declaring.refusal("answer to say the stages", got, "write answer = candidates.score(…).top(…)")
    if chain.of is not given:
        raise declaring.refusal("answer to begin with the graph's own candidates", repr(chain.of))
    return given, chain


def _shared(declaring: Declaring, attributes: Mapping[str, object]) -> dict[int, str]:
    """Return the names of the terms that are attributes, by identity: comparing terms makes new terms."""
    names: dict[int, str] = {}
    for name, value in attributes.items():
        if name in _OWN_NAMES:
            raise declaring.refusal(f"a name other than {name}", "an attribute of that name", "it is taken by hr.Graph")
        if name in _PARTS:
            continue
        if not isinstance(value, Term):
            mend = near(name, _PARTS) or f"or name it _{name}"
            raise declaring.refusal(f"{' and '.join(_PARTS)} and terms", f"{name} = {shown(value)}", mend)
        names[id(value)] = declaring.name(name)
    return names


def _evaluation(declaring: Declaring, given: object) -> str:
    if given not in EVALUATIONS:
        raise declaring.refusal(f"evaluation= to be {' or '.join(EVALUATIONS)}", shown(given))
    return str(given)


def _logged(declaring: Declaring, given: object) -> int:
    if type(given) is not int or not 0 <= given <= MOST_LOGGED:
        raise declaring.refusal(f"logged= to be a number from 0 to {MOST_LOGGED}", shown(given))
    return given


def _check_entities(declaring: Declaring, graph: GraphDefinition, given: Candidates) -> None:
    refuse_ambiguous_entities(declaring, graph.views)
    for view in graph.views:
        if graph.is_of_candidates(view) and key_type(view, given.entity) is not given.id_type:
            found = key_type(view, given.entity).written
            got = f"{given.id_type.written}, where {view.name} has {found}"
            raise declaring.refusal(f"{given.entity} of one type", got, f"write kind={found}", where=given.where)
    of_candidates = {view.name for view in graph.views if graph.is_of_candidates(view)}
    for column in graph.columns.values():
        if isinstance(column.made, Dot) and column.made.vector.partition(".")[0] in of_candidates:
            raise declaring.refusal("the embedding of a dot product to be the request's", column.made.vector)


@dataclass(slots=True)
class _Gathered:
    """What the stages of a graph come to, gathered one by one."""

    declaring: Declaring
    given: Candidates
    names: Mapping[int, str]
    vector: Vector = field(init=False)
    models: dict[str, ModelDefinition] = field(default_factory=dict)
    columns: dict[str, GraphColumn] = field(default_factory=dict)
    matrices: dict[str, int] = field(default_factory=dict)
    features: set[str] = field(default_factory=set)
    _read: set[str] = field(default_factory=set)
    """The attributes and the candidates' inputs that something reads."""
    _where: str = ""

    def __post_init__(self) -> None:
        self.vector = Vector(self.declaring)

    def stage(self, number: int, stage: StageTerm) -> StageDefinition:
        """Return a stage with the name of what it reads."""
        self._where = stage.where
        column = None
        if stage.term is not None:
            column = self._named(stage.term) or self._column(stage.term, f"{stage.kind} {number}")
        shown_column = "" if column is None or column == f"{stage.kind} {number}" else f" {column}"
        name = f"{number} {stage.kind}{shown_column}"
        return StageDefinition(name, stage.kind, column, stage.count, stage.descending)

    def refuse_what_is_not_read(self) -> None:
        """Refuse attributes and inputs that no stage reads: somebody forgot them, or they cost for nothing."""
        for name in (*self.names.values(), *self.given.inputs):
            if name not in self._read:
                raise self.declaring.refusal(f"{name} to be read by a stage", "no stage that does", "use or remove it")
        for name in self.columns.keys() & (self.vector.requests.keys() | self.given.inputs.keys()):
            raise self.declaring.refusal(f"{name} to name one thing", "an attribute and an input", "rename one")

    def _named(self, term: Term) -> str | None:
        own = self.names.get(id(term))
        if own is not None:
            self._read.add(own)
        if isinstance(term, CandidateTerm):
            return self._candidates_input(term)
        if isinstance(term, RequestTerm):
            return self._request(term.input)
        if isinstance(term, FeatureTerm):
            name = self.vector.leaf(term).name
            self.features.add(name)
            return name
        if isinstance(term, AskedAtTerm):
            return ASKED_AT
        if isinstance(term, PredictedTerm | DotTerm):
            return self._column(term, own or repr(term).removeprefix("hr."))
        if isinstance(term, Leaf):
            expected = "features, inputs, hr.predicted(…) and hr.dot(…)"
            raise self.declaring.refusal(expected, repr(term), where=self._where)
        return None if own is None else self._column(term, own)

    def _column(self, term: Term, name: str) -> str:
        if name not in self.columns:
            made = self._made(term)
            self.columns[name] = GraphColumn(name, term.type, made)
        return name

    def _made(self, term: Term) -> Expression | Predicted | Dot:
        if isinstance(term, PredictedTerm):
            self._ask(term.model)
            return Predicted(term.model.name, term.learner)
        if isinstance(term, DotTerm):
            length = term.vector.length or 0
            known = self.matrices.setdefault(term.matrix, length)
            if known != length:
                expected = f"matrix {term.matrix} of one length"
                raise self.declaring.refusal(expected, f"{known} and {length}", where=self._where)
            vector = self._named(term.vector)
            assert vector is not None  # noqa: S101  # a leaf has a name
            return Dot(vector, term.matrix)
        return term.expression(lambda part: None if part is term else self._named(part))

    def _candidates_input(self, term: CandidateTerm) -> str:
        name = term.input.name
        if self.given.inputs.get(name) is not term.input:
            expected = "inputs of the graph's own candidates"
            raise self.declaring.refusal(expected, repr(term), where=self._where)
        self._read.add(name)
        return name

    def _request(self, given: Input) -> str:
        if given.name in self.given.inputs:
            got = "an input of the request and of the candidates"
            raise self.declaring.refusal(f"{given.name} to name one thing", got, "rename one", where=self._where)
        return self.vector.request(given).name

    def _ask(self, model: ModelDefinition) -> None:
        """Gather what a model reads: inputs that the candidates declare come from them, the others from the request."""
        if self.models.setdefault(model.name, model) is not model:
            raise self.declaring.refusal(f"one version of model {model.name}", "two", where=self._where)
        for view in model.views:
            self.vector.views.setdefault(view.name, self.vector.one_version(view))
        self.features |= {name for name in model.reads if "." in name}
        for each in model.requests:
            own = self.given.inputs.get(each.name)
            if own is None:
                self.vector.request(each)
                continue
            self._read.add(each.name)
            if (own.type, own.length) != (each.type, each.length):
                expected = f"{each.name} of type {each.type.written}, as {model.name} has it"
                raise self.declaring.refusal(expected, own.type.written, where=self._where)
