"""Features of many candidates at once: what those that are left at a stage need, for requests and candidates alike.

A view of the request's own entities is served once for the request, one that is of candidates once for each; both are
asked for in one round trip. Features that the graph does not read are hardly finalised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from definitions.declared import GraphDefinition, ViewDefinition
from definitions.expressions import names_of
from definitions.values import Value
from streams.reading import Asked, FeatureQuestion, FeatureReader, Served
from streams.request_reply import Request
from streams.store import Answer, Question
from streams.versions import ViewsInForce


@dataclass(frozen=True, slots=True)
class CandidateAsked:
    """One candidate of a request, as if it were asked about alone."""

    request_id: str
    """The request's, with ``#`` and the candidate's place in it behind."""
    entities: Mapping[str, str | int | None]
    inputs: Mapping[str, Value]
    label_key: str | None = None


def candidate_of(graph: GraphDefinition, request: Request, place: int) -> CandidateAsked:
    """Return the candidate at a place of a request, with what the request says of all of them.

    Raises:
        IndexError: the request has no such place.
    """
    given = request.candidates
    assert given is not None  # noqa: S101  # a graph's requests bring candidates
    name, own = given.ids[place], {each: values[place] for each, values in given.inputs.items()}
    key = given.label_keys[place] if given.label_keys else None
    return CandidateAsked(
        request_id=f"{request.request_id}#{place}",
        entities={**request.entities, graph.candidates.entity.name: name},
        inputs={**request.inputs, **own},
        label_key=None if key is None else str(key),
    )


@dataclass(frozen=True, slots=True)
class FoundCandidates:
    """What one round trip brought: the features of each request and of each candidate, from one version of each view.

    Empty where no view of that kind was asked for.
    """

    requests: Sequence[Served]
    candidates: Sequence[Served]
    views: Sequence[ViewDefinition]
    """The versions that were read."""


@dataclass(frozen=True, slots=True)
class _Part:
    """Some views of a graph, as one who reads views."""

    views: tuple[ViewDefinition, ...]
    pinned: tuple[str, ...]
    reads: frozenset[str]


class CandidateReader:
    """Reads some views of a graph, each in the version in force, for whole micro-batches.

    Believes in the versions that it read last, as `streams.versions.ModelReader` does.

    Args:
        graph: whose views.
        views: names of those that are read together.
        declared: all that are declared, in all their versions.
    """

    def __init__(self, graph: GraphDefinition, views: Sequence[str], declared: Iterable[ViewDefinition] = ()) -> None:
        own = tuple(narrowed(view, graph.reads) for view in graph.views if view.name in views)
        self._graph = graph
        self._in_force = ViewsInForce(
            _Part(own, graph.pinned, graph.reads), [narrowed(each, graph.reads) for each in declared]
        )
        self._readers: dict[tuple[str, ...], tuple[FeatureReader, FeatureReader]] = {}

    def read(
        self,
        requests: Sequence[tuple[Asked, int]],
        candidates: Sequence[tuple[Asked, int]],
        read: Callable[[Question], Answer | None],
    ) -> FoundCandidates | None:
        """Return the features of requests and candidates; None where the store did not answer.

        Args:
            requests: the entities of each request, and the time it asks about.
            candidates: the same of each candidate, its request's entities included.
            read: asks the store, called once, and once more where a version was put in force since the last read.

        Cost: one round trip; then 10-20 us per view of a candidate.
        """
        asking = self._ask(requests, candidates)
        answer = read(asking.question)
        if answer is not None and self._in_force.follow(answer.pointers):
            asking = self._ask(requests, candidates)
            answer = read(asking.question)
        return None if answer is None else asking.found(answer, self._in_force.views)

    def _ask(self, requests: Sequence[tuple[Asked, int]], candidates: Sequence[tuple[Asked, int]]) -> _Asking:
        keys = self._in_force.keys
        if keys not in self._readers:
            of_candidates = [each for each in self._in_force.views if self._graph.is_of_candidates(each)]
            of_requests = [each for each in self._in_force.views if not self._graph.is_of_candidates(each)]
            self._readers[keys] = FeatureReader(of_requests), FeatureReader(of_candidates)
        parts = [_AskedPart.of(*each) for each in zip(self._readers[keys], (requests, candidates), strict=True)]
        return _Asking(parts[0], parts[1], self._in_force.pointers)


@dataclass(frozen=True, slots=True)
class _AskedPart:
    """The requests, or the candidates, of one round trip."""

    reader: FeatureReader
    question: FeatureQuestion
    at_ms: Sequence[int]

    @classmethod
    def of(cls, reader: FeatureReader, asked: Sequence[tuple[Asked, int]]) -> _AskedPart:
        return cls(reader, reader.question([each for each, _ in asked]), [at_ms for _, at_ms in asked])

    def served(self, answer: Answer) -> list[Served]:
        if not self.question.folds:
            return []
        return [self.reader.serve(self.question, answer, index, at_ms) for index, at_ms in enumerate(self.at_ms)]


@dataclass(frozen=True, slots=True)
class _Asking:
    """One round trip for requests and candidates."""

    requests: _AskedPart
    candidates: _AskedPart
    pointers: Sequence[str]

    @property
    def question(self) -> Question:
        one, other = self.requests.question, self.candidates.question
        return Question([*one.folds, *other.folds], [*one.cells, *other.cells], self.pointers)

    def found(self, answer: Answer, views: Sequence[ViewDefinition]) -> FoundCandidates:
        folds, cells = len(self.requests.question.folds), len(self.requests.question.cells)
        first = Answer(answer.rows[:folds], answer.cells[:cells], (), answer.rows_behind[:folds])
        second = Answer(answer.rows[folds:], answer.cells[cells:], (), answer.rows_behind[folds:])
        return FoundCandidates(self.requests.served(first), self.candidates.served(second), views)


def narrowed(view: ViewDefinition, reads: Iterable[str]) -> ViewDefinition:
    """Return a view with those of its features that are read, and what they are made of: its state is the same.

    Of every window that holds features one stays: whether an entity is known depends on all windows of its view.
    """
    features = {each.name: each for each in view.features}
    wanted: set[str] = set()

    def want(name: str) -> None:
        if name in features and name not in wanted:
            wanted.add(name)
            expression = features[name].expression
            for part in names_of(expression) if expression is not None else ():
                want(part)

    for name in reads:
        owner, _, feature = name.partition(".")
        if owner == view.name:
            want(feature)
    grids = {(each.name, span.text): span.grid_ms for source in view.sources for each in source.aggregates
             for span in each.windows}  # fmt: skip
    owners = {each.name: source.key for source in view.sources for each in source.aggregates}
    windows: dict[object, str] = {}
    for each in sorted(view.features, key=lambda each: each.name not in wanted):
        if each.aggregate is not None and each.window is not None:
            span = owners[each.aggregate], each.window, grids[each.aggregate, each.window]
            windows.setdefault(span, each.name)
    kept = wanted.union(windows.values())
    return replace(view, features=tuple(each for each in view.features if each.name in kept))
