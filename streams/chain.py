"""One writer's side of the position law: the chain of marks through one fold's row of one partition.

A *fold* is anything whose state is a function of a partition's prefix: a view, an intake, a label join, a count.
Its `Chain` keeps the states it has read or written, and writes a batch's changes as pipelined links, the row's advance
in the last of them. After `ChainBroken` or `StoreUnavailable` a chain is thrown away and a new one opened: the row then
says where to go on, and nothing cached is trusted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, Protocol, TypeVar

from streams.store import Cell, Link, OnlineStore, Row, RowKey, StoredRow, fresh_mark

State = TypeVar("State")

CELLS_A_LINK = 100
DEFAULT_CACHED_CELLS = 200_000


class StateCodec(Protocol[State]):
    """How one kind of state becomes bytes and comes back."""

    def empty(self) -> State:
        """Return the state of an entity that has none."""
        ...

    def encode(self, state: State) -> bytes | None:
        """Return the state's bytes: equal states, equal bytes. None says that nothing is left to keep."""
        ...

    def decode(self, data: bytes) -> State:
        """Return the state that the bytes were made from."""
        ...


@dataclass(slots=True)
class Slot(Generic[State]):
    """An entity's live state. A record whose offset is below ``position`` is already contained and must be skipped."""

    position: int
    state: State


Load = Callable[[Iterable[str]], Mapping[str, Slot[Any]]]
"""Returns a mapping that holds a slot for each of the entities: `Chain.load`."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """One chain's part of a write: the row behind it, the cells it changes, and the links that say so."""

    row: Row
    cells: Mapping[str, Cell | None]
    links: Sequence[Link]


class Chain(Generic[State]):
    """The states of one fold in one partition, and the right to change them as long as nobody else does.

    Called by one role, batch by batch: `load` the entities of the batch, change their slots' states in place, `commit`.
    Keeps up to ``cached_cells`` decoded states between batches.
    """

    def __init__(
        self,
        store: OnlineStore,
        key: RowKey,
        stored: StoredRow,
        codec: StateCodec[State],
        *,
        cached_cells: int = DEFAULT_CACHED_CELLS,
        fresh_mark: Callable[[], bytes] = fresh_mark,
    ) -> None:
        self.key = key
        self.row = stored.row
        self._mark = stored.mark
        self._store = store
        self._codec = codec
        self._cached_cells = cached_cells
        self._fresh_mark = fresh_mark
        self._slots: dict[str, Slot[State]] = {}

    def load(self, entities: Iterable[str]) -> Mapping[str, Slot[State]]:
        """Return a mapping that holds a slot for each of ``entities``, reading in one call those not kept.

        The mapping is the chain's own: change the states in place, never the mapping.

        Raises:
            ChainBroken: somebody else wrote in between, or the store went back in time.
            StoreUnavailable: there is no answer.
        """
        missing = [entity for entity in dict.fromkeys(entities) if entity not in self._slots]
        if missing:
            self._slots.update(self._read(missing))
        return self._slots

    def begin(self, entities: Iterable[str]) -> Mapping[str, Slot[State]]:
        """Return a mapping that holds a slot for each of ``entities``, empty where none is kept: nothing is read.

        Only for entities that have no cell, by what other cells of this chain say: those move in the same links.
        """
        for entity in entities:
            if entity not in self._slots:
                self._slots[entity] = Slot(0, self._codec.empty())
        return self._slots

    def look(self, entities: Iterable[str]) -> Mapping[str, Slot[State]]:
        """Return a slot for each of ``entities`` as `load` does, without keeping those that were not kept already.

        Raises:
            ChainBroken, StoreUnavailable: as `load`.
        """
        wanted = dict.fromkeys(entities)
        missing = [entity for entity in wanted if entity not in self._slots]
        found = self._read(missing) if missing else {}
        return {entity: found.get(entity) or self._slots[entity] for entity in wanted}

    def _read(self, entities: Sequence[str]) -> dict[str, Slot[State]]:
        # Compared with our mark, or we might trust what a store gone back to that mark no longer has.
        cells = self._store.read_cells(self.key, entities, expected=self._mark)
        codec = self._codec
        return {
            entity: Slot(0, codec.empty()) if cell is None else Slot(cell.position, codec.decode(cell.state))
            for entity, cell in zip(entities, cells, strict=True)
        }

    def commit(self, row: Row, changed: Iterable[str]) -> None:
        """Write the states of ``changed`` and advance the row, in one round trip.

        Raises:
            ChainBroken: somebody else wrote, or the store went back in time; nothing after that point was written.
            StoreUnavailable: it is not known how much was written. Either way this chain must not be used again.
        """
        commit_together(self._store, [Advance(self, row, changed)])

    def prepare(
        self, row: Row, changed: Iterable[str], removed: Iterable[str] = (), *, behind: Prepared | None = None
    ) -> Prepared:
        """Return the links that write the states of ``changed``, remove cells and advance the row.

        `commit_together` sends them. ``removed`` are entities whose cells go, whatever their states. ``behind`` is what
        was prepared before and is not written yet: both go in one round trip, in that order.
        """
        cells: dict[str, Cell | None] = {entity: self._cell(entity, row.next) for entity in changed}
        cells |= dict.fromkeys(removed)
        mark = self._mark if behind is None else behind.links[-1].fresh
        return Prepared(row, cells, list(self._links(cells, row, mark)))

    def written(self, prepared: Prepared) -> None:
        """Note that the links of ``prepared`` were accepted."""
        self._mark = prepared.links[-1].fresh
        self.row = prepared.row
        self._forget(prepared.cells)

    def _cell(self, entity: str, position: int) -> Cell | None:
        slot = self._slots[entity]
        slot.position = max(slot.position, position)
        state = self._codec.encode(slot.state)
        return None if state is None else Cell(slot.position, state)

    def _links(self, cells: Mapping[str, Cell | None], row: Row, mark: bytes) -> Iterator[Link]:
        if len(cells) <= CELLS_A_LINK:
            yield Link(self.key, mark, self._fresh_mark(), cells, row)
            return
        # A removed cell has no position to be skipped by, so it goes in the very call that advances the row.
        removed = dict.fromkeys(entity for entity, cell in cells.items() if cell is None)
        written = iter([(entity, cell) for entity, cell in cells.items() if cell is not None])
        calls = max(1, -(-(len(cells) - len(removed)) // CELLS_A_LINK))
        for call in range(1, calls + 1):
            part: dict[str, Cell | None] = dict(islice(written, CELLS_A_LINK))
            fresh, last = self._fresh_mark(), call == calls
            yield Link(self.key, mark, fresh, {**part, **removed} if last else part, row if last else None)
            mark = fresh

    def _forget(self, written: Mapping[str, Cell | None]) -> None:
        for entity, cell in written.items():
            if cell is None:
                self._slots.pop(entity, None)
        excess = len(self._slots) - self._cached_cells
        for entity in list(islice(self._slots, max(0, excess))):
            del self._slots[entity]


@dataclass(frozen=True, slots=True)
class Advance:
    """What one chain is to commit: the row that follows, and the entities whose states changed."""

    chain: Chain[Any]
    row: Row
    changed: Iterable[str] = ()
    removed: Sequence[str] = ()


def commit_together(store: OnlineStore, advances: Sequence[Advance]) -> None:
    """Commit several chains in one round trip. Each keeps its own law; none waits for another.

    Raises:
        ChainBroken: a link was refused. Chains before it may have been written, so throw all of them away.
        StoreUnavailable: it is not known how much was written; likewise.
    """
    prepared = [each.chain.prepare(each.row, each.changed, each.removed) for each in advances]
    store.write([link for part in prepared for link in part.links])
    for each, part in zip(advances, prepared, strict=True):
        each.chain.written(part)
