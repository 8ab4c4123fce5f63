"""Two versions of one view, entity by entity, where both contain exactly the same part of the log.

Rows move while they are compared. Both versions' rows and cells are therefore read in one round trip, and an entity is
compared only where the rows agree in every partition and none of its cells has gone further; else it is read again.
A rekeyed version and one that is not read different topics: their rows cannot agree, and what is being published while
they are compared shows as a difference.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from batch.context import Tell, tell_nobody
from batch.errors import ComparisonRefused
from definitions.declared import ViewDefinition
from definitions.values import Value
from streams.entities import RESERVED
from streams.finalise import Held
from streams.opened import in_order
from streams.reading import Served, Serving, ViewReader
from streams.store import Answer, Cell, OnlineStore, Question

_ENTITIES_A_READ = 50
_EXAMPLES = 3
_ATTEMPTS = 40
_PAUSE_S = 0.05
_SEED = 0
_STAGE = "entities"


@dataclass(slots=True)
class FeatureComparison:
    """What was found of one feature that both versions have."""

    name: str
    compared: int = 0
    different: int = 0
    largest: float | None = None
    """The largest difference of two numbers, None where there was none."""
    examples: list[tuple[str, Value, Value]] = field(default_factory=list)
    """The first entities that differ, each with both values."""

    def add(self, entity: str, old: Value, new: Value) -> None:
        """Compare one entity's values, by their bits."""
        self.compared += 1
        if repr(old) == repr(new):
            return
        self.different += 1
        if isinstance(old, int | float) and isinstance(new, int | float):
            self.largest = max(self.largest or 0.0, abs(new - old))
        if len(self.examples) < _EXAMPLES:
            self.examples.append((entity, old, new))


@dataclass(slots=True)
class Comparison:
    """All that was found of a view."""

    view: str
    features: Mapping[str, FeatureComparison]
    only_old: Sequence[str]
    """Features that the newer declaration does not have, or has in another type."""
    only_new: Sequence[str]
    entities: int
    """How many were to be compared."""
    compared: int = 0
    unsettled: Sequence[str] = ()
    """Entities that were never found at equal positions."""

    def add(self, entity: str, old: Served, new: Served) -> None:
        """Compare what both versions served of one entity."""
        self.compared += 1
        for name, feature in self.features.items():
            feature.add(entity, old.values[f"{self.view}.{name}"], new.values[f"{self.view}.{name}"])

    @property
    def is_equal(self) -> bool:
        """Whether everything that both versions have was compared and is equal."""
        return not self.unsettled and not any(each.different for each in self.features.values())


class _Version:
    """One version: what to ask of it, and what the answer means."""

    def __init__(self, view: ViewDefinition) -> None:
        self.reader = ViewReader(view)
        self.keys = [source.key for source, _ in self.reader.sources]
        self.topics = [source.event.topic for source, _ in self.reader.sources]

    def cells(self, entities: Sequence[str]) -> list[tuple[str, str]]:
        return [(key, entity) for entity in entities for key in self.keys]

    def served(self, cells: Sequence[Mapping[str, Cell]], at_ms: int) -> Served:
        pairs = zip(self.reader.sources, cells, strict=True)
        held = [Held([codec.decode(found[name].state) for name in in_order(found)]) for (_, codec), found in pairs]
        serving = Serving(at_ms)
        self.reader.add(serving, held, [{} for _ in held])
        return serving.done(None)


def compare_views(  # noqa: PLR0913  # what is compared, where, and how much of it
    old: ViewDefinition,
    new: ViewDefinition,
    store: OnlineStore,
    *,
    as_of_ms: int | None = None,
    sample: int | None = None,
    tell: Tell = tell_nobody,
    pause: Callable[[float], None] = time.sleep,
) -> Comparison:
    """Compare two versions of a view. Cost: a scan of the store, then about 50 us an entity and version.

    Args:
        old: one version.
        new: the other.
        store: the online store.
        as_of_ms: when both are asked about; by default the newest event time of what is read.
        sample: how many entities, drawn at random but the same ones each time; all of them by default.
        tell: is told of progress, in entities.
        pause: waits before entities that were moving are read again.

    Raises:
        ComparisonRefused: a version has no rows.
        StoreUnavailable: the store does not answer.
    """
    sides = _Version(old), _Version(new)
    _refuse_absent(store, old, new)
    entities = _entities(store, sides, sample)
    found = Comparison(old.name, *_features(old, new), entities=len(entities))
    pending: Sequence[str] = entities
    for attempt in range(_ATTEMPTS):
        if attempt and pending:
            pause(_PAUSE_S)
        moving: list[str] = []
        for low in range(0, len(pending), _ENTITIES_A_READ):
            moving += _compare(store, sides, pending[low : low + _ENTITIES_A_READ], found, as_of_ms)
            tell(_STAGE, found.compared, len(entities))
        pending = moving
        if not pending:
            break
    found.unsettled = pending
    return found


def _refuse_absent(store: OnlineStore, old: ViewDefinition, new: ViewDefinition) -> None:
    for view in (old, new):
        if not all(store.read(Question(folds=[source.key for source in view.sources])).rows):
            raise ComparisonRefused(
                f"cannot compare {view.name}: version {view.version}: expected rows, got none; run `headrace features "
                f"backfill {view.name} --version {view.version}`"
            )


def _entities(store: OnlineStore, sides: tuple[_Version, _Version], sample: int | None) -> list[str]:
    found = {entity for side in sides for key in side.keys for entity in store.entities(key)}
    entities = sorted(entity for entity in found if not entity.startswith(RESERVED))
    if sample is None or sample >= len(entities):
        return entities
    return random.Random(_SEED).sample(entities, sample)  # noqa: S311  # keeps no secret


def _features(
    old: ViewDefinition, new: ViewDefinition
) -> tuple[Mapping[str, FeatureComparison], Sequence[str], Sequence[str]]:
    before = {each.name: each.type for each in old.features}
    after = {each.name: each.type for each in new.features}
    both = {name: FeatureComparison(name) for name, kind in before.items() if after.get(name) is kind}
    return both, [each for each in before if each not in both], [each for each in after if each not in both]


def _compare(
    store: OnlineStore,
    sides: tuple[_Version, _Version],
    entities: Sequence[str],
    found: Comparison,
    as_of_ms: int | None,
) -> list[str]:
    """Compare some entities in one read; return those that were moving."""
    folds = [key for side in sides for key in side.keys]
    answer = store.read(Question(folds=folds, cells=[cell for side in sides for cell in side.cells(entities)]))
    if not _agree(sides, answer):
        return list(entities)
    newest = [stored.row.newest_ms or 0 for rows in answer.rows for stored in rows.values()]
    at_ms = max(newest, default=0) if as_of_ms is None else as_of_ms
    old, new = sides
    begin = len(entities) * len(old.keys)
    moving = []
    for place, entity in enumerate(entities):
        own = answer.cells[place * len(old.keys) : (place + 1) * len(old.keys)]
        other = answer.cells[begin + place * len(new.keys) : begin + (place + 1) * len(new.keys)]
        if _is_moving(answer, [*own, *other]):
            moving.append(entity)
            continue
        found.add(entity, old.served(own, at_ms), new.served(other, at_ms))
    return moving


def _agree(sides: tuple[_Version, _Version], answer: Answer) -> bool:
    """Return whether the rows of both versions are at equal positions, in every topic that both read."""
    old, new = sides
    reached = [{name: stored.row.next for name, stored in rows.items()} for rows in answer.rows]
    before = dict(zip(old.topics, reached[: len(old.keys)], strict=True))
    after = dict(zip(new.topics, reached[len(old.keys) :], strict=True))
    return all(rows == after[topic] for topic, rows in before.items() if topic in after)


def _is_moving(answer: Answer, cells: Sequence[Mapping[str, Cell]]) -> bool:
    """Return whether a cell has gone further than its row had when that was read, just before."""
    reached = {name: stored.row.next for rows in answer.rows for name, stored in rows.items()}
    return any(cell.position > reached.get(name, -1) for found in cells for name, cell in found.items())
