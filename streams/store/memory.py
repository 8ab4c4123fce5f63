"""The online store in memory: the reference for every other store, and the one of the in-process substrate."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from streams.store import (
    GONE,
    PART_KEYS,
    Answer,
    Cell,
    Link,
    Part,
    Pointer,
    Question,
    Row,
    RowKey,
    StoredRow,
    broken,
    check_fold,
    check_mark,
    fresh_mark,
    replaces,
)


class MemoryStore:
    """Dictionaries of rows, cells and pointers. Lives and dies with its process.

    Example:
        >>> from streams.records import Partition
        >>> store, key = MemoryStore(), RowKey("visits.v1", Partition("visits", 0, "t"))
        >>> stored = store.create_row(key, Row(next=0, first=0))
        >>> store.write([Link(key, stored.mark, b"8 bytes.", {"ann": Cell(5, b"state")}, Row(next=5, first=0))])
        >>> store.read_rows([key])[0].row.next
        5
    """

    def __init__(self) -> None:
        self._rows: dict[str, dict[str, StoredRow]] = {}
        self._cells: dict[str, dict[str, dict[str, Cell]]] = {}
        self._pointers: dict[str, Pointer] = {}

    def create_row(self, key: RowKey, row: Row) -> StoredRow:
        """Create the row only if it is absent; return the row that is there now."""
        check_fold(key.fold)
        return self._rows.setdefault(key.fold, {}).setdefault(key.partition.field, StoredRow(row, fresh_mark()))

    def read_rows(self, keys: Sequence[RowKey]) -> list[StoredRow | None]:
        """Return the rows in order, None where a fold has not started."""
        return [self._rows.get(key.fold, {}).get(key.partition.field) for key in keys]

    def read_cells(self, key: RowKey, entities: Sequence[str], *, expected: bytes | None = None) -> list[Cell | None]:
        """Return the partition's own cells of ``entities``, in order, None where there is none.

        Raises:
            ChainBroken: ``expected`` is given, and the row holds another mark.
        """
        [held] = self.read_rows([key])
        if expected is not None and (held is None or held.mark != expected):
            raise broken("read", key)
        cells, field = self._cells.get(key.fold, {}), key.partition.field
        return [cells[entity].get(field) if entity in cells else None for entity in entities]

    def write(self, links: Sequence[Link]) -> None:
        """Write the links in order; go on after a refused one, as a pipeline does.

        Raises:
            ChainBroken: a link was refused; it and every later link of its row wrote nothing.
        """
        for link in links:
            check_mark(link)
        refused = [link for link in links if not self._write(link)]
        if refused:
            raise broken("write", refused[0].key)

    def _write(self, link: Link) -> bool:
        field = link.key.partition.field
        held = self._rows.get(link.key.fold, {}).get(field)
        if held is None or held.mark != link.expected:
            return False
        cells = self._cells.setdefault(link.key.fold, {})
        for entity, cell in link.cells.items():
            if cell is not None:
                cells.setdefault(entity, {})[field] = cell
            elif entity in cells:
                cells[entity].pop(field, None)
                if not cells[entity]:
                    del cells[entity]
        if link.fresh == GONE:
            del self._rows[link.key.fold][field]
            return True
        self._rows[link.key.fold][field] = StoredRow(link.row or held.row, link.fresh)
        return True

    def read(self, question: Question, *, timeout_ms: float | None = None) -> Answer:  # noqa: ARG002  # never waits
        """Answer a question, rows before cells. Values are copies of the mappings: later writes do not show."""
        rows = [dict(self._rows.get(fold, {})) for fold in question.folds]
        cells = [dict(self._cells.get(fold, {}).get(entity, {})) for fold, entity in question.cells]
        return Answer(rows, cells, [self._pointers.get(name) for name in question.pointers])

    def advance_pointer(self, name: str, pointer: Pointer) -> bool:
        """Replace the pointer only if ``pointer`` is greater; return whether it was replaced."""
        if not replaces(pointer, self._pointers.get(name)):
            return False
        self._pointers[name] = pointer
        return True

    def entities(self, fold: str) -> Sequence[str]:
        """Return the keys of every entity that has a cell, in no order."""
        return list(self._cells.get(fold, {}))

    def some_entities(self, fold: str, after: str | None) -> Part:
        """Return the next `PART_KEYS` entities that have a cell, in order of their keys."""
        rest = (entity for entity in self._cells.get(fold, {}) if after is None or entity > after)
        found = heapq.nsmallest(PART_KEYS, rest)
        return Part(found, found[-1] if len(found) == PART_KEYS else None)

    def remove(self, fold: str, entities: Sequence[str]) -> None:
        """Remove every row of the fold, and then all cells of ``entities``."""
        self._rows.pop(fold, None)
        for entity in entities:
            self._cells.get(fold, {}).pop(entity, None)

    def close(self) -> None:
        """Do nothing: there is nothing to give back."""
