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
from streams.cells import CellCodec, CellLayout
from streams.entities import asked_key
from streams.finalise import Finaliser, Held
from streams.retention import Retention
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
    """Views whose entity is not given, or has no event in any window that ends at the time asked about."""
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
        self.retentions = tuple(map(Retention, view.sources, layouts))
        self._entity_names = view.entity_names
        self._names = {each.name: f"{view.name}.{each.name}" for each in view.features}

    def entity_key(self, entities: Asked) -> str | None:
        """Return the key of the request's entity, None where it is not given: the same in every source."""
        return asked_key(self._entity_names, entities)

    def add(
        self, served: Serving, held: Sequence[Held] | None, positions: Iterable[Mapping[str, int]], *, ages: bool
    ) -> None:
        """Add the view's values to what is being served.

        Args:
            served: takes them.
            held: what is held of the entity, per source; None where the entity is not given.
            positions: how far each source's partitions are contained.
            ages: whether the values' ages are wanted.
        """
        for source, reached in zip(self.view.sources, positions, strict=True):
            served.positions[source.key] = reached
        finaliser = self.finaliser
        is_known = False if held is None else finaliser.is_known(held, served.at_ms)
        if held is not None and is_known:
            values, unanswerable = finaliser.values(held, served.at_ms)
        elif is_known is None:
            values, unanswerable = finaliser.unanswerable()
        else:
            values, unanswerable = finaliser.absent(), set()
            served.absent.append(self.view.name)
        names = self._names
        for name, value in values.items():
            served.values[names[name]] = value
        served.unanswerable.extend(sorted(names[name] for name in unanswerable))
        if ages and held is not None:
            old = finaliser.ages_ms(held, served.at_ms)
            served.ages_ms.update({names[name]: age for name, age in old.items()})


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
            self._opened = _Opened(answer, [each for reader in self._readers for each in reader.retentions])
        opened, serving = self._opened, Serving(as_of_ms)
        places = enumerate(question.places[index])
        for reader in self._readers:
            own = list(islice(places, len(reader.sources)))
            held = [opened.held(codec, *each) for (_, codec), each in zip(reader.sources, own, strict=True)]
            is_given = own[0][1] is not None
            reader.add(serving, held if is_given else None, [opened.positions(*each) for each in own], ages=ages)
        return serving.done(opened.as_of_ms)


def _places(cells: dict[tuple[str, str], int], reader: ViewReader, entities: Asked) -> list[int | None]:
    """Return the place among ``cells`` of the entity's cell in each source of one view."""
    key = reader.entity_key(entities)
    if key is None:
        return [None] * len(reader.sources)
    return [cells.setdefault((source.key, key), len(cells)) for source, _ in reader.sources]


class _Opened:
    """An answer being served from: what several of its requests share is worked out once."""

    def __init__(self, answer: Answer, retentions: Sequence[Retention]) -> None:
        self.answer = answer
        rows = answer.rows[: len(retentions)]
        self.as_of_ms = _as_of(rows)
        self._next = [{name: stored.row.next for name, stored in found.items()} for found in rows]
        # A cell that was removed while the answer was read is missed only by the rows behind it.
        behind = answer.rows_behind[: len(retentions)] or rows
        self._oldest_ms = [
            retention.oldest_ms(stored.row for stored in found.values())
            for retention, found in zip(retentions, behind, strict=True)
        ]
        self._held: dict[int, Held] = {}

    def held(self, codec: CellCodec, number: int, place: int | None) -> Held:
        """Return what is held of one entity in source ``number``."""
        if not self._next[number]:
            return Held(None)
        if place is None:
            return Held((), self._oldest_ms[number])
        found = self._held.get(place)
        if found is None:
            cells = self.answer.cells[place]
            states = [codec.decode(cells[name].state) for name in in_order(cells)]
            found = self._held[place] = Held(states, self._oldest_ms[number])
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
