"""Features as they are served: what to ask the online store, and what its answer means.

"Could not read" is not "no data" (law 6): an absent entity, a question nobody can answer any more, a stale value and a
zero are told apart in `Served`; an unreachable store raises before anything is served.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from definitions.declared import ViewDefinition
from definitions.values import Value
from streams.cells import CellCodec, CellLayout, CellState
from streams.entities import asked_key
from streams.finalise import Finaliser
from streams.store import Answer, Cell, Question, StoredRow

Asked = Mapping[str, str | int | None]
"""The entities of one request by name; None where one is not known."""


@dataclass(frozen=True, slots=True)
class Served:
    """The features of one request at one time, and how far they can be relied on."""

    values: Mapping[str, Value]
    """``view.feature`` to its value."""
    positions: Mapping[str, Mapping[str, int]]
    """View key to (partition field to the next offset): the prefix of each partition that the values contain.

    A view that is looked up has its `Lookup.suffix` behind its key: it was read for another entity, and later.
    """
    as_of_ms: int | None
    """What the broker had at that time is contained; None where a view has not started or not come that far."""
    absent: tuple[str, ...] = ()
    """Views whose entity was never seen, or not given."""
    unanswerable: tuple[str, ...] = ()
    """``view.feature`` names asked about a time whose tiles are no longer retained."""
    ages_ms: Mapping[str, int | None] = field(default_factory=dict)
    """``view.feature`` to the age of its newest tile; filled where asked for."""


@dataclass(frozen=True, slots=True)
class FeatureQuestion(Question):
    """A question for several requests at once; a cell that several of them need is asked for once."""

    places: Sequence[Sequence[int | None]] = ()
    """Per request, per view: which of ``cells`` is its own, None where the entity is not given."""


@dataclass(slots=True)
class Serving:
    """What one request has been given so far."""

    at_ms: int
    values: dict[str, Value] = field(default_factory=dict)
    positions: dict[str, Mapping[str, int]] = field(default_factory=dict)
    absent: list[str] = field(default_factory=list)
    unanswerable: list[str] = field(default_factory=list)
    ages_ms: dict[str, int | None] = field(default_factory=dict)

    @classmethod
    def behind(cls, served: Served, at_ms: int) -> Serving:
        """Return what has been served, to be added to."""
        return cls(
            at_ms,
            dict(served.values),
            dict(served.positions),
            list(served.absent),
            list(served.unanswerable),
            dict(served.ages_ms),
        )

    def done(self, as_of_ms: int | None) -> Served:
        """Return all of it."""
        return Served(self.values, self.positions, as_of_ms, tuple(self.absent), tuple(self.unanswerable), self.ages_ms)


class ViewReader:
    """Cells of one view to the values of its features. Shared by live reads and by replay."""

    def __init__(self, view: ViewDefinition, suffix: str = "") -> None:
        layout = CellLayout(view)
        self.view = view
        self.codec = CellCodec(layout)
        self.finaliser = Finaliser(view, layout)
        self._key = f"{view.key}{suffix}"
        self._name = f"{view.name}{suffix}"
        self._names = {each.name: f"{view.name}.{each.name}{suffix}" for each in view.features}

    def add(self, served: Serving, states: Sequence[CellState], positions: Mapping[str, int], *, ages: bool) -> None:
        """Add the view's values to what is being served. No states: the entity was never seen."""
        served.positions[self._key] = positions
        if not states:
            served.absent.append(self._name)
            values, unanswerable = self.finaliser.absent(served.at_ms), set[str]()
        else:
            values, unanswerable = self.finaliser.values(states, served.at_ms)
        self._put(served, values, unanswerable)
        if ages:
            found = self.finaliser.ages_ms(states, served.at_ms)
            served.ages_ms.update({self._names[name]: age for name, age in found.items()})

    def add_unanswerable(self, served: Serving, positions: Mapping[str, int]) -> None:
        """Add that nothing is known of the view: what names its entity could not be read."""
        served.positions[self._key] = positions
        self._put(served, *self.finaliser.unanswerable())

    def _put(self, served: Serving, values: Mapping[str, Value], unanswerable: Iterable[str]) -> None:
        names = self._names
        for name, value in values.items():
            served.values[names[name]] = value
        served.unanswerable.extend(sorted(names[name] for name in unanswerable))


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
        self._opened: Opened | None = None

    def question(self, asked: Sequence[Asked], *, pointers: Sequence[str] = ()) -> FeatureQuestion:
        """Return what to ask the store, in one round trip, for one request per entry of ``asked``."""
        cells: dict[tuple[str, str], int] = {}
        places = [[self._place(cells, reader.view, entities) for reader in self._readers] for entities in asked]
        folds = [reader.view.key for reader in self._readers]
        return FeatureQuestion(folds=folds, cells=list(cells), pointers=pointers, places=places)

    def _place(self, cells: dict[tuple[str, str], int], view: ViewDefinition, entities: Asked) -> int | None:
        key = asked_key(view.by, entities)
        return None if key is None else cells.setdefault((view.key, key), len(cells))

    def serve(
        self, question: FeatureQuestion, answer: Answer, index: int, as_of_ms: int, *, ages: bool = False
    ) -> Served:
        """Return the features of request ``index`` as of ``as_of_ms``. Cost: 10-20 us per view, and up with tiles."""
        if self._opened is None or self._opened.answer is not answer:
            self._opened = Opened(answer, self._readers)
        opened, serving = self._opened, Serving(as_of_ms)
        for number, (reader, place) in enumerate(zip(self._readers, question.places[index], strict=True)):
            states = () if place is None else opened.states(reader.codec, place)
            reader.add(serving, states, opened.positions(number, place), ages=ages)
        return serving.done(opened.as_of_ms)


class Opened:
    """An answer being served from: what several of its requests share is worked out once."""

    def __init__(self, answer: Answer, readers: Sequence[ViewReader]) -> None:
        self.answer = answer
        rows = answer.rows[: len(readers)]
        self.as_of_ms = _as_of(rows)
        self._next = [{name: stored.row.next for name, stored in found.items()} for found in rows]
        self._states: dict[int, Sequence[CellState]] = {}

    def states(self, codec: CellCodec, place: int) -> Sequence[CellState]:
        """Return the states of one entity, in order of source partition."""
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
