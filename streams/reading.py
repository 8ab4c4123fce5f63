"""Features as they are served: what to ask the online store, and what its answer means.

"Could not read" is not "no data" (law 6): an absent entity, a question nobody can answer any more, a stale value and a
zero are told apart in `Served`; an unreachable store raises before anything is served.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from definitions.declared import ViewDefinition
from definitions.values import Value
from streams.cells import CellCodec, CellLayout
from streams.entities import asked_key
from streams.finalise import Finaliser, Held
from streams.opened import Opened
from streams.retention import Retention
from streams.store import Answer, Question

Asked = Mapping[str, str | int | None]
"""The entities of one request by name; None where one is not known."""


@dataclass(frozen=True, slots=True)
class Served:
    """The features of one request at one time, and how far they can be relied on."""

    values: Mapping[str, Value]
    """``view.feature`` to its value."""
    positions: Mapping[str, Mapping[str, int]]
    """Source key to (partition field to the next offset): the prefix of each partition that the values contain.

    A source of a view that is looked up has its `Lookup.suffix` behind its key: it was read for another entity, later.
    """
    as_of_ms: int | None
    """What the broker had at that time is contained; None where a source has not started or not come that far."""
    absent: tuple[str, ...] = ()
    """Views whose entity is not given, or has no event in any window that ends at the time asked about."""
    unanswerable: tuple[str, ...] = ()
    """``view.feature`` names asked about a time whose tiles are no longer retained, or of an entity that one source of
    the view knows while the one they are made from has not started."""
    held: Sequence[tuple[ViewReader, Sequence[Held]]] = field(default=(), compare=False, repr=False)
    """What the values were made of, view by view; nothing of views whose entity is not given."""
    at_ms: int = field(default=0, compare=False)
    """The time asked about."""

    def ages_ms(self) -> dict[str, int | None]:
        """Return ``view.feature`` to the age of its newest tile, None where it has none.

        Worked out when it is asked for: whoever waits for the values does not wait for their ages.

        Cost: a tenth of what serving the values took.
        """
        ages: dict[str, int | None] = {}
        for reader, held in self.held:
            ages.update(reader.ages_ms(held, self.at_ms))
        return ages


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
    held: list[tuple[ViewReader, Sequence[Held]]] = field(default_factory=list)

    @classmethod
    def behind(cls, served: Served, at_ms: int) -> Serving:
        """Return what has been served, to be added to."""
        return cls(
            at_ms,
            dict(served.values),
            dict(served.positions),
            list(served.absent),
            list(served.unanswerable),
            list(served.held),
        )

    def done(self, as_of_ms: int | None) -> Served:
        """Return all of it."""
        absent, unanswerable = tuple(self.absent), tuple(self.unanswerable)
        return Served(self.values, self.positions, as_of_ms, absent, unanswerable, self.held, self.at_ms)


_NOTHING: tuple[dict[str, Value], set[str], bool] = ({}, set(), False)
"""What is known of an entity that was not given."""


class ViewReader:
    """Cells of one view to the values of its features. Shared by live reads and by replay."""

    def __init__(self, view: ViewDefinition, suffix: str = "") -> None:
        layouts = [CellLayout(source) for source in view.sources]
        self.view = view
        self.by = view.entity_names
        self.sources = tuple(zip(view.sources, map(CellCodec, layouts), strict=True))
        self.finaliser = Finaliser(view, layouts)
        self.retentions = tuple(map(Retention, view.sources, layouts))
        self.kept = tuple((codec, each) for (_, codec), each in zip(self.sources, self.retentions, strict=True))
        self._keys = tuple(f"{source.key}{suffix}" for source in view.sources)
        self._name = f"{view.name}{suffix}"
        self._names = {each.name: f"{view.name}.{each.name}{suffix}" for each in view.features}
        self._whole_names = tuple(self._names.values())

    def places(self, cells: dict[tuple[str, str], int], entity: str | None) -> list[int | None]:
        """Return the place among ``cells``, made if absent, of an entity's cell in each source; None without entity."""
        if entity is None:
            return [None] * len(self.sources)
        return [cells.setdefault((source.key, entity), len(cells)) for source, _ in self.sources]

    def add(self, served: Serving, held: Sequence[Held] | None, positions: Iterable[Mapping[str, int]]) -> None:
        """Add the view's values to what is being served.

        Args:
            served: takes them.
            held: what is held of the entity, per source; None where the entity is not given.
            positions: how far each source's partitions are contained.
        """
        served.positions.update(zip(self._keys, positions, strict=True))
        values, unanswerable, is_known = _NOTHING if held is None else self.finaliser.values(held, served.at_ms)
        if is_known is None:
            values, unanswerable = self.finaliser.unanswerable()
        elif not is_known:
            values, unanswerable = self.finaliser.absent(served.at_ms), set()
            served.absent.append(self._name)
        self._put(served, values, unanswerable)
        if held is not None:
            served.held.append((self, held))

    def ages_ms(self, held: Sequence[Held], at_ms: int) -> dict[str, int | None]:
        """Return ``view.feature`` to the age of each value, given what is held of the entity, per source."""
        return dict(zip(self._whole_names, self.finaliser.ages_ms(held, at_ms).values(), strict=True))

    def add_unanswerable(self, served: Serving, positions: Iterable[Mapping[str, int]]) -> None:
        """Add that nothing is known of the view: what names its entity could not be read."""
        served.positions.update(zip(self._keys, positions, strict=True))
        self._put(served, *self.finaliser.unanswerable())

    def _put(self, served: Serving, values: Mapping[str, Value], unanswerable: Collection[str]) -> None:
        served.values.update(zip(self._whole_names, values.values(), strict=True))
        if unanswerable:
            served.unanswerable.extend(sorted(self._names[name] for name in unanswerable))


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
        self._kept = tuple(reader.kept for reader in self._readers)
        self._opened: Opened | None = None

    def question(
        self, asked: Sequence[Asked], *, pointers: Sequence[str] = (), beside: Sequence[tuple[str, str]] = ()
    ) -> FeatureQuestion:
        """Return what to ask the store, in one round trip, for one request per entry of ``asked``.

        Args:
            asked: the entities of each.
            pointers: names of what else is wanted.
            beside: (fold, entity key) pairs whose cells are wanted too, behind those of the features.
        """
        cells: dict[tuple[str, str], int] = {}
        places = [
            [place for reader in self._readers for place in reader.places(cells, asked_key(reader.by, each))]
            for each in asked
        ]
        wanted = [*cells, *beside]
        return FeatureQuestion(folds=folds_of(self._readers), cells=wanted, pointers=pointers, places=places)

    def serve(self, question: FeatureQuestion, answer: Answer, index: int, as_of_ms: int) -> Served:
        """Return the features of request ``index`` as of ``as_of_ms``. Cost: 5-10 us per view, and up with tiles."""
        if self._opened is None or self._opened.answer is not answer:
            self._opened = Opened(answer, self._kept, self._opened)
        opened, serving = self._opened, Serving(as_of_ms)
        for reader, part in zip(self._readers, opened.parts(question.places[index]), strict=True):
            reader.add(serving, part.held, part.positions)
        return serving.done(opened.reached.as_of_ms)


def folds_of(readers: Sequence[ViewReader]) -> list[str]:
    """Return the folds whose rows a question of these readers needs, in the order in which `Opened` takes them."""
    return [source.key for reader in readers for source, _ in reader.sources]
