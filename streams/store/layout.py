"""How rows, cells and pointers lie in Redis: the names of keys, the bytes of values, and what a reader's replies mean.

The same is drawn as a map in ``headrace.lua``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Generic, TypeVar

import msgspec

from streams.store import MARK_BYTES, Cell, Pointer, Row, StoredRow
from streams.store.wire import packed

_POSITION_BYTES = 8
_POINTER_FIELDS = ("generation", "position", "digest")

_Stored = TypeVar("_Stored")

encode_row = msgspec.msgpack.Encoder().encode
_decode_row = msgspec.msgpack.Decoder(Row).decode


class Keys:
    """The names of a namespace's keys, and a reader's commands, packed: those of rows and pointers once each."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self.ask_row = cache(lambda fold: packed(("HGETALL", self.row(fold))))
        self.ask_pointer = cache(lambda name: packed(("HMGET", self.pointer(name), *_POINTER_FIELDS)))
        self._prefix = cache(lambda fold: self.cell(fold).encode())

    def row(self, fold: str) -> str:
        """Return the key of a fold's rows."""
        return f"{self._namespace}:row:{fold}"

    def cell(self, fold: str) -> str:
        """Return how the keys of a fold's cells begin; the entity is behind it."""
        return f"{self._namespace}:cell:{fold}:"

    def pointer(self, name: str) -> str:
        """Return the key of a pointer."""
        return f"{self._namespace}:pointer:{name}"

    def ask_cells(self, fold: str, entity: str) -> bytes:
        """Return the command that asks for an entity's cells of every partition."""
        key = self._prefix(fold) + entity.encode()
        return b"*2\r\n$7\r\nHGETALL\r\n$%d\r\n%b\r\n" % (len(key), key)


class Known(Generic[_Stored]):
    """What replies mean, by what was asked: a reply that is the same as the last time means the same object.

    Rows and pointers are few, read with every question, and most of the time they have not moved.
    """

    def __init__(self, read: Callable[[list[Any]], _Stored]) -> None:
        self._read = read
        self._last: dict[str, tuple[list[Any], _Stored]] = {}

    def of(self, asked: str, reply: list[Any]) -> _Stored:
        """Return what a reply means."""
        last = self._last.get(asked)
        if last is None or last[0] != reply:
            last = self._last[asked] = reply, self._read(reply)
        return last[1]


_name_of = cache(bytes.decode)
"""From a field to its name. There are as many as partitions."""


def stored_row(held: bytes) -> StoredRow:
    """Return the row that a field holds."""
    return StoredRow(_decode_row(held[MARK_BYTES:]), held[:MARK_BYTES])


def stored_rows(reply: list[bytes]) -> dict[str, StoredRow]:
    """Return the rows that a hash holds, by field."""
    return dict(zip(map(_name_of, reply[::2]), map(stored_row, reply[1::2]), strict=True))


def stored_cell(held: bytes) -> Cell:
    """Return the cell that a field holds."""
    return Cell(int.from_bytes(held[:_POSITION_BYTES], "big"), held[_POSITION_BYTES:])


def stored_cells(reply: list[bytes]) -> dict[str, Cell]:
    """Return the cells that a hash holds, by field."""
    return dict(zip(map(_name_of, reply[::2]), map(stored_cell, reply[1::2]), strict=True))


def cell_bytes(cell: Cell) -> bytes:
    """Return what a cell's field is to hold."""
    return cell.position.to_bytes(_POSITION_BYTES, "big") + cell.state


def stored_pointer(reply: list[bytes | None]) -> Pointer | None:
    """Return the pointer that was found, None where there is none."""
    generation, position, digest = reply
    if generation is None or position is None or digest is None:
        return None
    return Pointer(int(generation), int(position), digest.decode())
