"""What a live fold could not know: which records are their id's second, and which came late for a question."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from msgspec.structs import replace as replace_row

from definitions.declared import Source
from streams.cells import ORIGIN, CellState
from streams.chain import Slot
from streams.copies import first_copies
from streams.duplicates import Deduplicator
from streams.engine import Engine
from streams.entities import keys_of
from streams.intake import DecodedBatch
from streams.records import Partition
from streams.replay import Remembered
from streams.store import Row

DUPLICATES_MS = 3_600_000
"""For how long, in event time, a second record of the same id is taken for a duplicate, where no event says longer."""

_FOR_EVER_MS = 2**62
_MOST_EMPTY_CELLS = 4_096
_NOWHERE = Partition("", 0, "")


@dataclass(frozen=True, slots=True)
class Reach:
    """One thing a probe asks: an entity's cell in one source and partition, when it contained all below a position."""

    source: str
    """Its key; behind it stands the suffix of the lookup, where it was looked up."""
    partition: str
    """`Partition.field`."""
    position: int
    entity: str


class Hindsight:
    """A second fold of one source's partition that counts every id once, and keeps what came late for open questions.

    Memory: a state per entity, the ids of the horizon, and what is late for questions that are still open.
    """

    def __init__(self, source: Source, first: int) -> None:
        event = replace(source.event, dedupe_ms=None)
        self.once = Remembered(Engine(replace(source, event=event)), first)
        """The state with every id counted once."""
        self._patient = Engine(replace(source, event=replace(event, disorder_ms=_FOR_EVER_MS)))
        self._deduplicator = Deduplicator(event, max(DUPLICATES_MS, source.event.dedupe_ms or 0))
        self._ids: dict[str, Slot[CellState]] = {}
        self._sifted = Row(next=first, first=first)
        self._keys_of = keys_of(source.by)
        self._open: dict[str, int] = {}
        self._watched: dict[str, int] = {}
        self._late: dict[str, list[tuple[int, int, Any]]] = {}

    def open(self, entity: str) -> None:
        """Begin a question about an entity."""
        self._open[entity] = self._open.get(entity, 0) + 1

    def close(self, entity: str) -> None:
        """End one; with the last, what is late for the entity is wanted no longer."""
        self._open[entity] -= 1
        if not self._open[entity]:
            del self._open[entity]
            self._watched.pop(entity, None)
            self._late.pop(entity, None)

    def watch(self, entity: str, at_ms: int) -> None:
        """From here on, what comes of times up to ``at_ms`` is late."""
        self._watched[entity] = max(at_ms, self._watched.get(entity, at_ms))

    def apply(self, part: DecodedBatch) -> Iterable[str]:
        """Add a part behind all before, and return whose state changed."""
        sifted = first_copies(self._sifted, part)
        self._sifted, part = replace_row(self._sifted, copied=sifted.contained), sifted.batch
        unique = self._deduplicator.first_only(self._load_ids, part, self.once.row.newest_ms).batch
        if len(self._ids) > _MOST_EMPTY_CELLS:
            self._ids = {name: slot for name, slot in self._ids.items() if slot.state[ORIGIN] is not None}
        watched = self._watched
        if watched:
            records = zip(unique.offsets, unique.times_ms, unique.events, self._keys_of(unique.events), strict=True)
            for offset, at_ms, event, entity in records:
                if entity in watched and at_ms <= watched[entity]:
                    self._late.setdefault(entity, []).append((offset, at_ms, event))
        return self.once.apply(unique).changed

    def with_late(self, state: CellState | None, reach: Reach, at_ms: int) -> CellState | None:
        """Return ``state`` with what came at or behind the reach's position, of times up to ``at_ms``; changes it."""
        known = self._late.get(reach.entity, [])
        late = [each for each in known[bisect_left(known, (reach.position,)) :] if each[1] <= at_ms]
        if not late:
            return state
        offsets, times_ms, events = zip(*late, strict=True)
        batch = DecodedBatch(_NOWHERE, 0, offsets[-1] + 1, offsets, events, times_ms, (), None)
        slots = {reach.entity: Slot(0, self._patient.codec.empty() if state is None else state)}
        self._patient.apply(Row(next=0, first=0), lambda _: slots, batch)
        return slots[reach.entity].state

    def _load_ids(self, names: Iterable[str]) -> Mapping[str, Slot[CellState]]:
        for name in names:
            if name not in self._ids:
                self._ids[name] = Slot(0, [None])
        return self._ids
