"""Versions of one view side by side: which of them readers read, and when a new one is near enough to be kept.

Which version is *in force* is a pointer in the store. It is read in the round trip that reads the features: a reader
asks for the versions that it believes in and for their pointers, and where a pointer has moved it asks once more. So
every answer is of exactly one version of each view, and no reader has to be told of a switch.

A model that is read in another version than it was trained on is still its release: what is verified when a release
is loaded is the definition that it was trained on. That the features are of another version is said where it happens:
a reply lists the view keys that were read, a prediction has its positions under them. A model keeps to the version
that its features are of where it pins the view.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from definitions.declared import AppDefinition, ModelDefinition, ViewDefinition
from streams.reading import Asked, FeatureReader, Served
from streams.store import Answer, Cell, OnlineStore, Pointer, Question, Row

NEAR_RECORDS = 50_000
"""How far a view's row may be behind the intake's for a worker to take it up, re-reading so much. More than one batch
has, so that a write of which the store lost a part does not let a live view wait."""


def is_near(row: Row, intake: Row, records: int = NEAR_RECORDS) -> bool:
    """Return whether a view's row lacks at most ``records`` of what the intake has taken in."""
    return intake.next - row.next <= records


def pointer_name(view: str) -> str:
    """Return the name of the pointer to a view's version in force."""
    return f"view.{view}"


@dataclass(frozen=True, slots=True)
class InForce:
    """The version of a view that readers read, and the one that they read before: both are view keys."""

    key: str
    before: str
    generation: int = 0

    @classmethod
    def read(cls, pointer: Pointer) -> InForce:
        """Return what a pointer says."""
        key, _, before = pointer.digest.partition(" ")
        return cls(key, before, pointer.generation)

    def pointer(self) -> Pointer:
        """Return the pointer that says so; only one of a greater generation replaces it."""
        return Pointer(self.generation, 0, f"{self.key} {self.before}")


def read_in_force(store: OnlineStore, versions: Sequence[ViewDefinition]) -> InForce:
    """Return what is in force of a view: the oldest version declared, until there was a first switch.

    Args:
        store: where the pointer is.
        versions: all declared versions of one view, the oldest first.
    """
    oldest = versions[0]
    [pointer] = store.read(Question(pointers=[pointer_name(oldest.name)])).pointers
    return InForce(oldest.key, oldest.key) if pointer is None else InForce.read(pointer)


class ReadsViews(Protocol):
    """Who reads views: a model, or a graph."""

    @property
    def views(self) -> tuple[ViewDefinition, ...]:
        """The views as it declares them."""
        ...

    @property
    def pinned(self) -> tuple[str, ...]:
        """Names of the views of which it keeps to the version declared."""
        ...

    @property
    def reads(self) -> frozenset[str]:
        """What it reads: ``view.feature`` names among others."""
        ...


def unreadable(model: ReadsViews, version: ViewDefinition) -> tuple[str, ...]:
    """Return what keeps a model from reading a view in another version: ``view.feature`` or ``view(entity)`` names."""
    own = next(view for view in model.views if view.name == version.name)
    types = {each.name: (each.type, each.length) for each in version.features}
    own_types = {f"{version.name}.{each.name}": (each.type, each.length) for each in own.features}
    read = sorted(name for name in model.reads if name in own_types)
    missing = [name for name in read if types.get(name.partition(".")[2]) != own_types[name]]
    declared = {each.name: each.type for each in own.entity}
    if {each.name: each.type for each in version.entity} != declared:
        missing.append(f"{version.name}({', '.join(declared)})")
    return tuple(missing)


def read_versions(app: AppDefinition, view: str, in_force: InForce) -> Mapping[str, ViewDefinition]:
    """Return the version of a view that each model and graph reads, by its key: before any switch, its own."""
    key = in_force.key if in_force.generation else None
    by_key = {each.key: each for each in app.versions(view)}
    found: dict[str, ViewDefinition] = {}
    for model in app.answering:
        for own in model.views:
            if own.name == view:
                found[model.key] = _followed(model, own, by_key, key)
    return found


def _followed(
    model: ReadsViews, own: ViewDefinition, by_key: Mapping[str, ViewDefinition], key: str | None
) -> ViewDefinition:
    """Return what the model reads in place of its own version: that of ``key`` where it knows and can read it."""
    other = None if key is None or own.name in model.pinned else by_key.get(key)
    return own if other is None or unreadable(model, other) else other


@dataclass(frozen=True, slots=True)
class Found:
    """The features of a micro-batch, all read at one time from one version of each view."""

    served: Sequence[Served]
    pointers: Sequence[Pointer | None]
    """What else was asked for in the same round trip."""
    views: Sequence[ViewDefinition]
    """The versions that were read."""
    versions: tuple[str, ...]
    """Their keys."""
    beside: Sequence[Mapping[str, Cell]] = ()
    """The cells that were asked for beside the features."""


class ViewsInForce:
    """The versions of its views that a model or graph reads, as the pointers told last.

    A version that this process does not know, or that the model could not read, is not followed.
    """

    def __init__(self, model: ReadsViews, declared: Iterable[ViewDefinition] = ()) -> None:
        self._model = model
        self._by_key = {view.key: view for view in (*declared, *model.views)}
        self._pointers: Sequence[Pointer | None] = ()
        self._told: tuple[str | None, ...] = (None,) * len(model.views)
        self.pointers = tuple(pointer_name(view.name) for view in model.views)
        """Names of the pointers to be read with the features."""
        self.views = model.views
        self.keys = tuple(view.key for view in self.views)
        """The keys of the versions in force."""

    def follow(self, pointers: Sequence[Pointer | None]) -> bool:
        """Believe what the pointers say; return whether that is something else than before."""
        if pointers == self._pointers:
            return False
        self._pointers = pointers
        told = tuple(None if pointer is None else InForce.read(pointer).key for pointer in pointers)
        if told == self._told:
            return False
        pairs = zip(self._model.views, told, strict=True)
        believed, self._told = self.keys, told
        self.views = tuple(_followed(self._model, own, self._by_key, key) for own, key in pairs)
        self.keys = tuple(view.key for view in self.views)
        return self.keys != believed


class ModelReader:
    """Reads the features of one model, each view in the version in force.

    Believes in the versions that it read last, so that only the first read after a switch costs a second round trip.
    """

    def __init__(self, model: ModelDefinition, declared: Iterable[ViewDefinition] = ()) -> None:
        self._in_force = ViewsInForce(model, declared)
        self._readers: dict[tuple[str, ...], FeatureReader] = {}

    def read(
        self,
        asked: Sequence[Asked],
        at_ms: Sequence[int],
        read: Callable[[Question], Answer | None],
        *,
        pointers: Sequence[str] = (),
        beside: Sequence[tuple[str, str]] = (),
    ) -> Found | None:
        """Return the features of each request at its own time; None where the store did not answer.

        Args:
            asked: the entities of each request.
            at_ms: the time of each.
            read: asks the store, called once, and once more where a version was put in force since the last read.
            pointers: names of what else is wanted.
            beside: (fold, entity key) pairs whose cells are wanted too.
        """
        in_force = self._in_force
        own = len(in_force.pointers)
        names = (*in_force.pointers, *pointers)
        question = self._reader.question(asked, pointers=names, beside=beside)
        answer = read(question)
        if answer is not None and in_force.follow(answer.pointers[:own]):
            question = self._reader.question(asked, pointers=names, beside=beside)
            answer = read(question)
        if answer is None:
            return None
        reader = self._reader
        served = [reader.serve(question, answer, index, at) for index, at in enumerate(at_ms)]
        cells = answer.cells[len(answer.cells) - len(beside) :]
        return Found(served, answer.pointers[own:], in_force.views, in_force.keys, cells)

    @property
    def _reader(self) -> FeatureReader:
        keys = self._in_force.keys
        if keys not in self._readers:
            self._readers[keys] = FeatureReader(self._in_force.views)
        return self._readers[keys]
