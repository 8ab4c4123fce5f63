"""A process's connection to the store: every call, every link of a write, every reply is a point where all may fail."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from streams.errors import ChainBroken, StoreUnavailable
from streams.store import Answer, Cell, Link, OnlineStore, Part, Pointer, Question, Row, RowKey, StoredRow

if TYPE_CHECKING:
    from tests.simulation.process import Process

Broken = Callable[[], None]
"""What becomes of a call that is under way when its connection breaks or its process dies."""


class Connection(OnlineStore):
    """The `streams.store.OnlineStore` that a simulated process is given.

    Between two commands of one pipeline others may act, the process may die, the answer may be lost. What was sent
    before the connection broke may still arrive: at once, much later, or never.
    """

    def __init__(self, process: Process) -> None:
        self._process = process
        self._world = process.world
        self.store = process.world.store

    def create_row(self, key: RowKey, row: Row) -> StoredRow:
        """Create the row only if it is absent."""
        self._process.point("create row")
        created = self.store.create_row(key, row)
        self._process.point("row created")
        return created

    def read_rows(self, keys: Sequence[RowKey]) -> list[StoredRow | None]:
        """Read the rows one after the other."""
        found: list[StoredRow | None] = []
        for key in keys:
            self._process.point("read row")
            found += self.store.read_rows([key])
        self._process.point("rows read")
        return found

    def read_cells(self, key: RowKey, entities: Sequence[str], *, expected: bytes | None = None) -> list[Cell | None]:
        """Read the cells one after the other, then compare the mark.

        A store does not go back between two commands of a pipeline: that ends the connection.
        """
        found: list[Cell | None] = []
        life = self.store.lives
        for entity in entities:
            self._process.point("read cell")
            found += self.store.own_cells(key, [entity])
        if expected is not None:
            self._process.point("compare mark")
            if self.store.lives != life:
                raise StoreUnavailable("cannot use the online store: it was started anew; is it up?")
            self.store.compare(key, expected)
        self._process.point("cells read")
        return found

    def write(self, links: Sequence[Link]) -> None:
        """Send the links; others may act between them."""
        refused: list[ChainBroken] = []
        sent = list(self.sent(links))
        for place, link in enumerate(sent):
            self._process.point("write", partial(self._world.break_off, sent[place:]))
            try:
                self.store.take(link)
            except ChainBroken as refusal:
                refused.append(refusal)
        self._process.point("written")
        if refused:
            raise refused[0]

    def sent(self, links: Sequence[Link]) -> Sequence[Link]:
        """Return the links as they leave the process."""
        return links

    def read(self, question: Question, *, timeout_ms: float | None = None) -> Answer:
        """Answer a question at once."""
        return self.store.read(question, timeout_ms=timeout_ms)

    def advance_pointer(self, name: str, pointer: Pointer) -> bool:
        """Replace the pointer if ``pointer`` is greater."""
        self._process.point("advance pointer")
        return self.store.advance_pointer(name, pointer)

    def entities(self, fold: str) -> Sequence[str]:
        """Return the keys of every entity that has a cell."""
        return self.store.entities(fold)

    def some_entities(self, fold: str, after: str | None) -> Part:
        """Return the keys of some entities that have a cell."""
        self._process.point("look for entities")
        return self.store.some_entities(fold, after)

    def close(self) -> None:
        """Do nothing: there is nothing to give back."""
