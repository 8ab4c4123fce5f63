"""Features as they are served: what to ask the online store, and what its answer means.

"Could not read" is not "no data" (law 6): an absent entity, a question nobody can answer any more, a stale value and a
zero are told apart in `Served`; an unreachable store raises before anything is served.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from definitions.declared import ViewDefinition
from definitions.values import Value
from streams.cells import CellCodec, CellLayout, CellState
from streams.entities import asked_key
from streams.finalise import Finaliser, States
from streams.store import Answer, Cell, Question, StoredRow

Asked = Mapping[str, str | int | None]
"""The entities of one request by name; None where one is not known."""


@dataclass(frozen=True, slots=True)
class Served:
    """The features of one request at one time, and how far they can be relied on."""

    values: Mapping[str, Value]
    """``view.feature`` to its value."""
    positions: Mapping[str, Mapping[str, int]]
    """Source key to (partition field to the next offset): the prefix of each partition that the values contain."""
    as_of_ms: int | None
    """What the broker had at that time is contained; None where a source has not started or not come that far."""
    absent: tuple[str, ...] = ()
    """Views whose entity was never seen by any of their sources, or not given."""
    unanswerable: tuple[str, ...] = ()
    """``view.feature`` names asked about a time whose tiles are no longer retained, or of an entity that one source of
    the view knows while the one they are made from has not started."""
    ages_ms: Mapping[str, int | None] = field(default_factory=dict)
    """``view.feature`` to the age of its newest tile; filled where asked for."""


@dataclass(frozen=True, slots=True)
class FeatureQuestion(Question):
    """A question for several requests at once; a cell that several of them need is asked for once."""

    places: Sequence[Sequence[int | None]] = ()
    """Per request, per source of every view: which of ``cells`` is its own, None where the entity is not given."""


@dataclass(slots=True)
class Serving:
    """What one request has been given so far."""

    at_ms: int
    values: dict[str, Value] = field(default_factory=dict)
    positions: dict[str, Mapping[str, int]] = field(default_factory=dict)
    absent: list[str] = field(default_factory=list)
    unanswerable: list[str] = field(default_factory=list)
    ages_ms: dict[str, int | None] = field(default_factory=dict)

    def done(self, as_of_ms: int | None) -> Served:
        """Return all of it."""
        return Served(self.values, self.positions, as_of_ms, tuple(self.absent), tuple(self.unanswerable), self.ages_ms)


class ViewReader:
    """Cells of one view to the values of its features. Shared by live reads and by replay."""

    def __init__(self, view: ViewDefinition) -> None:
        layouts = [CellLayout(source) for source in view.sources]
        self.view = view
        self.sources = tuple(zip(view.sources, map(CellCodec, layouts), strict=True))
        self.finaliser = Finaliser(view, layouts)
        self._entity_names = view.entity_names
        self._names = {each.name: f"{view.name}.{each.name}" for each in view.features}

    def entity_key(self, entities: Asked) -> str | None:
        """Return the key of the request's entity, None where it is not given: the same in every source."""
        return asked_key(self._entity_names, entities)

    def add(self, served: Serving, states: States, positions: Iterable[Mapping[str, int]], *, ages: bool) -> None:
        """Add the view's values to what is being served. No states in any source: the entity was never seen.

        Args:
            served: what is being served.
            states: the entity's cells, per source.
            positions: how far each source's partitions are contained.
            ages: whether to add the values' ages.
        """
        for (source, _), reached in zip(self.sources, positions, strict=True):
            served.positions[source.key] = reached
        if not any(states):
            served.absent.append(self.view.name)
            values, unanswerable = self.finaliser.absent(), set[str]()
        else:
            values, unanswerable = self.finaliser.values(states, served.at_ms)
        names = self._names
        for name, value in values.items():
            served.values[names[name]] = value
        served.unanswerable.extend(sorted(names[name] for name in unanswerable))
        if ages:
            found = self.finaliser.ages_ms(states, served.at_ms)
            served.ages_ms.update({names[name]: age for name, age in found.items()})


class FeatureReader:
    """Asks for the features of whole micro-batches, and serves them request by request.

    Example:
        >>> from streams.store.memory import MemoryStore
        >>> from tests.builders import view_definition  # doctest: +SKIP
        >>> reader = FeatureReader([view_definition()])  # doctest: +SKIP
        >>> question = reader.question([{"origin": "JFK"}])  # doctest: +SKIP
        >>> reader.serve(question, MemoryStore().read(question), 0, 1_356_998_400_000).absent  # doctest: +SKIP
        ('origin_traffic',)
    """

    def __init__(self, views: Sequence[ViewDefinition]) -> None:
        self._readers = tuple(ViewReader(view) for view in views)
        self._sources = tuple(source for reader in self._readers for source, _ in reader.sources)
        self._opened: _Opened | None = None

    def question(self, asked: Sequence[Asked], *, pointers: Sequence[str] = ()) -> FeatureQuestion:
        """Return what to ask the store, in one round trip, for one request per entry of ``asked``."""
        cells: dict[tuple[str, str], int] = {}
        places = [[place for reader in self._readers for place in _places(cells, reader, each)] for each in asked]
        folds = [source.key for source in self._sources]
        return FeatureQuestion(folds=folds, cells=list(cells), pointers=pointers, places=places)

    def serve(
        self, question: FeatureQuestion, answer: Answer, index: int, as_of_ms: int, *, ages: bool = False
    ) -> Served:
        """Return the features of request ``index`` as of ``as_of_ms``. Cost: 10-20 us per view, and up with tiles."""
        if self._opened is None or self._opened.answer is not answer:
            self._opened = _Opened(answer, len(self._sources))
        opened, serving = self._opened, Serving(as_of_ms)
        places = enumerate(question.places[index])
        for reader in self._readers:
            own = list(islice(places, len(reader.sources)))
            states = [opened.states(codec, *each) for (_, codec), each in zip(reader.sources, own, strict=True)]
            reader.add(serving, states, [opened.positions(*each) for each in own], ages=ages)
        return serving.done(opened.as_of_ms)


def _places(cells: dict[tuple[str, str], int], reader: ViewReader, entities: Asked) -> list[int | None]:
    """Return the place among ``cells`` of the entity's cell in each source of one view."""
    key = reader.entity_key(entities)
    if key is None:
        return [None] * len(reader.sources)
    return [cells.setdefault((source.key, key), len(cells)) for source, _ in reader.sources]


class _Opened:
    """An answer being served from: what several of its requests share is worked out once."""

    def __init__(self, answer: Answer, sources: int) -> None:
        self.answer = answer
        rows = answer.rows[:sources]
        self.as_of_ms = _as_of(rows)
        self._next = [{name: stored.row.next for name, stored in found.items()} for found in rows]
        self._states: dict[int, Sequence[CellState]] = {}

    def states(self, codec: CellCodec, number: int, place: int | None) -> Sequence[CellState] | None:
        """Return the states of one entity in one source, in order of partition; None if the source has not started."""
        if not self._next[number]:
            return None
        if place is None:
            return ()
        found = self._states.get(place)
        if found is None:
            cells = self.answer.cells[place]
            found = self._states[place] = [codec.decode(cells[name].state) for name in in_order(cells)]
        return found

    def positions(self, number: int, place: int | None) -> Mapping[str, int]:
        """Return how far each partition is contained: as far as its row, or as its cell where that is further."""
        reached = self._next[number]
        cells: Mapping[str, Cell] = {} if place is None else self.answer.cells[place]
        further = {name: cell.position for name, cell in cells.items() if cell.position > reached.get(name, 0)}
        return {**reached, **further} if further else reached


def in_order(fields: Iterable[str]) -> list[str]:
    """Return partitions' fields by partition number: the fixed order in which cells are merged."""
    return sorted(fields, key=_partition_order)


def _partition_order(name: str) -> tuple[int, str]:
    topic_id, _, index = name.rpartition("/")
    return int(index), topic_id


def _as_of(rows: Sequence[Mapping[str, StoredRow]]) -> int | None:
    times = [stored.row.applied_through_ms for found in rows for stored in found.values()]
    if None in times or not all(rows):
        return None
    return min((time for time in times if time is not None), default=None)
