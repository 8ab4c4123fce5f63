"""The online store in Redis: one primary, Redis Functions for writes, plain commands for reads.

Keys and function code are in ``headrace.lua``; what a URL may say in `streams.store.address`. Two connections: the
writer waits seconds, the reader as long as its caller allows; both speak to a primary only. Not for a Redis Cluster:
one call writes a row and its cells, so they have to live in one shard.

Rights of a user of its own (Redis 7 and newer; ``<ns>`` is the namespace)::

    ACL SETUSER headrace on >SECRET resetkeys ~<ns>:* resetchannels -@all
        +info +ping +select +function|load +fcall +hget +hset +hsetnx +hgetall +hmget +hdel +unlink +scan

A process that only reads (scoring) does with ``%R~<ns>:*`` and without ``+hset +hsetnx +hdel``. ``SCAN`` shows the
names of all keys of the database to the user: give headrace a server of its own where those are secret.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import redis

from streams.errors import StoreError, StoreUnavailable
from streams.store import (
    MARK_BYTES,
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
)
from streams.store.address import read_address
from streams.store.layout import (
    Keys,
    Known,
    cell_bytes,
    encode_row,
    stored_cell,
    stored_cells,
    stored_pointer,
    stored_row,
    stored_rows,
)
from streams.store.wire import Command, Wire, packed

BREAKER_S = 0.1
"""How long the reader answers "unavailable" without asking, after it had to wait in vain."""

_TIMEOUT_S = 5.0
_TEXT = Path(__file__).with_name("headrace.lua").read_text(encoding="utf-8")
_VERSION = hashlib.sha256(_TEXT.encode()).hexdigest()[:12]
_LIBRARY = _TEXT.replace("$VERSION", _VERSION)
_WRITE, _ADVANCE = f"headrace_write_{_VERSION}", f"headrace_advance_{_VERSION}"

_GREETING: tuple[Command, ...] = (("INFO",), ("FUNCTION", "LOAD", _LIBRARY))


class RedisStore:
    """Rows, cells and pointers under ``<namespace>:`` in one Redis. Connects at once; use it in one thread.

    Raises:
        StoreUnavailable: there is no answer at ``url``.
        StoreError: what answers is a cluster, evicts keys, or knows no functions.
    """

    def __init__(
        self,
        url: str,
        namespace: str,
        *,
        timeout_s: float = _TIMEOUT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._keys = Keys(namespace)
        self._timeout_s = timeout_s
        self._clock = clock
        address = read_address(url)
        self._writer = Wire(address, _GREETING, _welcome)
        self._reader = Wire(address, _GREETING[:1], _welcome_reader)
        self._known_rows = Known(stored_rows)
        self._known_pointers = Known(stored_pointer)
        self._shut_until = 0.0
        self._writer.ask([("PING",)], timeout_s)
        self._reader.ask([("PING",)], timeout_s)

    def create_row(self, key: RowKey, row: Row) -> StoredRow:
        """Create the row only if it is absent; return the row that is there now."""
        check_fold(key.fold)
        name, field = self._keys.row(key.fold), key.partition.field
        _, held = self._ask([("HSETNX", name, field, fresh_mark() + encode_row(row)), ("HGET", name, field)])
        return stored_row(held)

    def read_rows(self, keys: Sequence[RowKey]) -> list[StoredRow | None]:
        """Return the rows in order, None where a fold has not started."""
        found = self._ask([("HGET", self._keys.row(key.fold), key.partition.field) for key in keys])
        return [None if held is None else stored_row(held) for held in found]

    def read_cells(self, key: RowKey, entities: Sequence[str], *, expected: bytes | None = None) -> list[Cell | None]:
        """Return the partition's own cells of ``entities``, in order, None where there is none. One round trip.

        Raises:
            ChainBroken: ``expected`` is given, and the row holds another mark after the cells were read.
        """
        if not entities:
            return []
        prefix, field = self._keys.cell(key.fold), key.partition.field
        commands: list[Command] = [("HGET", prefix + entity, field) for entity in entities]
        *found, row = self._ask([*commands, ("HGET", self._keys.row(key.fold), field)])
        if expected is not None and (row is None or row[:MARK_BYTES] != expected):
            raise broken("read", key)
        return [None if held is None else stored_cell(held) for held in found]

    def write(self, links: Sequence[Link]) -> None:
        """Write the links in order, in one round trip. Cost: 6-16 us per cell, most of it in Redis.

        Raises:
            ChainBroken: a link was refused; it and every later link of its row wrote nothing.
        """
        for link in links:
            check_mark(link)
        replies = self._writer.ask(links, self._timeout_s, self._call)
        if 0 in replies:
            raise broken("write", links[replies.index(0)].key)

    def _call(self, link: Link) -> bytes:
        prefix = self._keys.cell(link.key.fold)
        row = b"" if link.row is None else encode_row(link.row)
        return packed(
            (
                *("FCALL", _WRITE, len(link.cells) + 1, self._keys.row(link.key.fold)),
                *[prefix + entity for entity in link.cells],
                *(link.key.partition.field, link.expected, link.fresh, row),
                *[b"" if cell is None else cell_bytes(cell) for cell in link.cells.values()],
            )
        )

    def read(self, question: Question, *, timeout_ms: float | None = None) -> Answer:
        """Answer a question in one round trip, rows before cells, and the rows once more behind them.

        Raises:
            StoreUnavailable: no answer within ``timeout_ms``, or the last one failed less than `BREAKER_S` ago.
        """
        if self._clock() < self._shut_until:
            raise StoreUnavailable(f"cannot read: {self._reader.address}: it has just failed to answer in time")
        keys = self._keys
        asked_rows = [keys.ask_row(fold) for fold in question.folds]
        commands = [*asked_rows, *[keys.ask_cells(fold, entity) for fold, entity in question.cells]]
        commands += [keys.ask_pointer(name) for name in question.pointers]
        commands += asked_rows if question.cells else []
        timeout_s = self._timeout_s if timeout_ms is None else timeout_ms / 1_000
        try:
            replies = self._reader.ask_packed(commands, timeout_s)
        except StoreUnavailable:
            self._shut_until = self._clock() + BREAKER_S
            raise
        rows, cells = len(question.folds), len(question.folds) + len(question.cells)
        pointers = cells + len(question.pointers)
        before, behind, known = replies[:rows], replies[pointers:], self._known_rows
        return Answer(
            list(map(known.of, question.folds, before)),
            list(map(stored_cells, replies[rows:cells])),
            list(map(self._known_pointers.of, question.pointers, replies[cells:pointers])),
            () if behind == before else list(map(known.of, question.folds, behind)),
        )

    def advance_pointer(self, name: str, pointer: Pointer) -> bool:
        """Replace the pointer only if ``pointer`` is greater; return whether it was replaced."""
        place = (pointer.generation, pointer.position, pointer.digest)
        [replaced] = self._ask([("FCALL", _ADVANCE, 1, self._keys.pointer(name), *place)])
        return bool(replaced)

    def entities(self, fold: str) -> Sequence[str]:
        """Return the keys of every entity that has a cell, in no order. Cost: a scan of the whole database."""
        part = self.some_entities(fold, None)
        found = set(part.entities)
        while part.after is not None:
            part = self.some_entities(fold, part.after)
            found.update(part.entities)
        return list(found)

    def some_entities(self, fold: str, after: str | None) -> Part:
        """Return some of the entities that have a cell. Cost: `PART_KEYS` keys of the database, whosever they are."""
        prefix = self._keys.cell(fold)
        pattern = "".join(f"[{sign}]" if sign in "*?" else "\\" + sign if sign in "[]\\" else sign for sign in prefix)
        [(cursor, keys)] = self._ask([("SCAN", after or 0, "MATCH", pattern + "*", "COUNT", PART_KEYS)])
        return Part([key.decode()[len(prefix) :] for key in keys], cursor.decode() if int(cursor) else None)

    def remove(self, fold: str, entities: Sequence[str]) -> None:
        """Remove every row of the fold, and then all cells of ``entities``. Memory is freed by another thread."""
        prefix = self._keys.cell(fold)
        self._ask([("UNLINK", self._keys.row(fold)), *(("UNLINK", prefix + entity) for entity in entities)])

    def close(self) -> None:
        """Give the connections back."""
        self._writer.close()
        self._reader.close()

    def _ask(self, commands: Sequence[Command]) -> list[Any]:
        return self._writer.ask(commands, self._timeout_s) if commands else []


def _welcome(replies: Sequence[Any]) -> None:
    """Refuse a server that would lose state, and one that did not take the function library."""
    info, loaded = replies
    found = _welcome_reader([info])
    if found.get("redis_mode") == "cluster":
        raise StoreError("cannot use the online store: expected one primary, got a Redis Cluster; use a plain Redis")
    policy = found.get("maxmemory_policy")
    if policy != "noeviction":
        raise StoreError(
            f"cannot use the online store: maxmemory-policy: expected noeviction, got {policy}; "
            "run CONFIG SET maxmemory-policy noeviction"
        )
    if isinstance(loaded, redis.ResponseError) and "already exists" not in str(loaded):
        if "unknown command" in str(loaded).lower():
            raise StoreError("cannot use the online store: expected Redis 7 or newer, got one without functions")
        raise loaded


def _welcome_reader(replies: Sequence[Any]) -> dict[str, str]:
    """Refuse a replica; return what the server says of itself."""
    [info] = replies
    if isinstance(info, Exception):
        raise info
    found = dict(line.split(":", 1) for line in info.decode().splitlines() if ":" in line)
    if found.get("role") == "slave":
        raise redis.ReadOnlyError("expected a primary, got a replica")
    return found
