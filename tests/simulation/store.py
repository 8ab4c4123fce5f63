"""The store of a simulated world: the reference store, which can go back in time without a word."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from streams.store import Cell, Link, RowKey
from streams.store.memory import MemoryStore

REMEMBERED = 16
"""How many writes a store can lose at once."""


class TimeTravellingStore(MemoryStore):
    """The memory store, with a memory of its own past. Links come one a call, cut by the connection."""

    def __init__(self) -> None:
        super().__init__()
        self._remembers = False
        self.lives = 0
        """How often it went back. Who has sent half a read by then has lost the connection."""
        self._past: deque[dict[str, Any]] = deque(maxlen=REMEMBERED)

    def take(self, link: Link) -> None:
        """Remember what is there, then write one link."""
        if self._remembers:
            self._past.append(self._state())
        self.write([link])

    def compare(self, key: RowKey, expected: bytes) -> None:
        """Refuse where the row holds another mark.

        Raises:
            ChainBroken: it does.
        """
        self.read_cells(key, [], expected=expected)

    def own_cells(self, key: RowKey, entities: Sequence[str]) -> list[Cell | None]:
        """Read cells without a look at the mark."""
        return self.read_cells(key, entities)

    def go_back(self, writes: int) -> int:
        """Be as it was so many writes ago, or as far back as is remembered; return how many were lost."""
        lost = min(writes, len(self._past))
        for _ in range(lost):
            before = self._past.pop()
        if lost:
            vars(self).update(before)
            self.lives += 1
        return lost

    def begin(self, *, remembers: bool) -> None:
        """Remember from now on, or not: what is there now is never lost."""
        self._remembers = remembers

    def _state(self) -> dict[str, Any]:
        return {
            name: _copied(value) for name, value in vars(self).items() if name not in {"_past", "_remembers", "lives"}
        }


def _copied(value: Any) -> Any:
    """Copy mappings as deep as they go; what lies in them is frozen."""
    return {key: _copied(each) for key, each in value.items()} if isinstance(value, dict) else value
