"""The online store's contract: resume rows, cells, and the chain of marks that every write is a link of.

The position law (DESIGN 2.1): state is a function of (definition, prefix of one partition). A view's *resume row* of a
partition holds how far that prefix reaches. Every write names the *mark* it expects in the row and leaves a fresh one;
it is refused, with nothing written, where the mark differs. So writes may be pipelined: if one fails or is lost, every
later one is refused, the row's advance included.

Implementations: `streams.store.memory` (the reference) and `streams.store.redis`. Both pass
``tests/contracts/store_contract.py``. All calls are synchronous and thread-confined: one store object per thread.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from streams.errors import ChainBroken, StoreError
from streams.records import Partition

MARK_BYTES = 8
PART_KEYS = 500
"""How many keys one call of `OnlineStore.some_entities` looks at."""
GONE = b""
"""The mark that no row has: left by a link, it takes the row away."""


class Row(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """A resume row: how far a view's state of one partition reaches, and what became of every record before that.

    Law 5: the records below ``next`` = applied + duplicate + too_late + no_entity + dead, exactly. What was ``lost``
    is not among them: nobody read it.
    """

    next: int
    """Offset of the first record that the state does not contain."""
    first: int
    """Offset at which the state began."""
    newest_ms: int | None = None
    """Newest event time seen, the judge of lateness."""
    applied_through_ms: int | None = None
    """LogAppendTime of the last applied record, raised to the broker's time while the end is reached. Health only."""
    applied: int = 0
    late: int = 0
    """Of the applied, how many were later than the declared disorder."""
    duplicate: int = 0
    too_late: int = 0
    no_entity: int = 0
    dead: int = 0
    lost: int = 0
    """Records that were gone from the log before they were read, or with state that was given up: accepted by hand."""
    copied: dict[str, list[int]] = {}
    """Of a copy topic, what it contains of the source: topic id to, per partition, the offset behind the last record of
    which a copy was taken (`streams.copies`)."""

    @property
    def read(self) -> int:
        """How many records the row accounts for."""
        return self.applied + self.duplicate + self.too_late + self.no_entity + self.dead


@dataclass(frozen=True, slots=True)
class RowKey:
    """Names a resume row: the fold's key (a view version, an intake, a join) and the partition it follows."""

    fold: str
    partition: Partition


@dataclass(frozen=True, slots=True)
class StoredRow:
    """A resume row as found, with the mark that the next write has to name."""

    row: Row
    mark: bytes


class Cell(msgspec.Struct, frozen=True, gc=False):
    """Stored state of one (fold, entity, source partition): ``state`` contains every record below ``position``."""

    position: int
    state: bytes


@dataclass(frozen=True, slots=True)
class Link:
    """One write call: cells of one (fold, partition), and the row's advance in the last call of a batch.

    ``cells`` maps entity keys to their new cell, None to remove one. Keep it at about 100 cells a call.
    A ``fresh`` mark that is `GONE` removes the row: nobody follows.
    """

    key: RowKey
    expected: bytes
    fresh: bytes
    cells: Mapping[str, Cell | None] = field(default_factory=dict)
    row: Row | None = None


@dataclass(frozen=True, slots=True, order=True)
class Pointer:
    """Which artefact is current. Only a greater (generation, position) replaces it."""

    generation: int
    position: int
    digest: str


_MARKS_AT_ONCE = 512
_unused_marks: list[bytes] = []
os.register_at_fork(after_in_child=_unused_marks.clear)


def fresh_mark() -> bytes:
    """Return a mark that no other write has left. Cost: 0.1 us, for the system is asked for many at once."""
    while True:
        try:
            return _unused_marks.pop()
        except IndexError:
            drawn = os.urandom(MARK_BYTES * _MARKS_AT_ONCE)
            _unused_marks.extend(drawn[at : at + MARK_BYTES] for at in range(0, len(drawn), MARK_BYTES))


def check_mark(link: Link) -> None:
    """Refuse a mark that would not be told from the row behind it: a fault of the program.

    Raises:
        ValueError: the fresh mark is not `MARK_BYTES` long.
    """
    if len(link.fresh) != MARK_BYTES and link.fresh != GONE:
        raise ValueError(f"cannot write: {link.key.fold}: expected a mark of {MARK_BYTES} bytes, got {link.fresh!r}")


def check_fold(fold: str) -> None:
    """Refuse a fold whose store keys could be another's.

    Raises:
        StoreError: the name is empty or has a colon in it.
    """
    if not fold or ":" in fold:
        raise StoreError(f"cannot create row: {fold!r}: expected a fold's name without colons; rename it")


def broken(what: str, key: RowKey) -> ChainBroken:
    """Return the refusal of a call that expected another mark."""
    where = f"{key.fold} of {key.partition.topic}[{key.partition.index}]"
    return ChainBroken(f"cannot {what}: {where}: another mark is in the row; read the row again")


def replaces(pointer: Pointer, held: Pointer | None) -> bool:
    """Return whether ``pointer`` may take the place of ``held``: only forward, whatever the digest."""
    return held is None or (pointer.generation, pointer.position) > (held.generation, held.position)


@dataclass(frozen=True, slots=True)
class Question:
    """What one read asks, all in one round trip. Rows are read before cells."""

    folds: Sequence[str] = ()
    """Folds whose rows of all partitions are wanted."""
    cells: Sequence[tuple[str, str]] = ()
    """(fold, entity key) pairs whose cells of all partitions are wanted."""
    pointers: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What was found, in the order it was asked. The inner keys are `Partition.field`."""

    rows: Sequence[Mapping[str, StoredRow]]
    cells: Sequence[Mapping[str, Cell]]
    pointers: Sequence[Pointer | None]
    rows_behind: Sequence[Mapping[str, StoredRow]] = ()
    """The rows once more, read behind the cells: what was removed while the answer was read is below their floors."""


@dataclass(frozen=True, slots=True)
class Part:
    """A bounded part of a fold's entities, and where the next part begins: None behind the last one."""

    entities: Sequence[str]
    after: str | None


class OnlineStore(Protocol):
    """Where current state is read and written.

    Every method raises `StoreUnavailable` when the store does not answer in time. Client retries are off.
    """

    def create_row(self, key: RowKey, row: Row) -> StoredRow:
        """Create the row only if it is absent; return the row that is there now."""
        ...

    def read_rows(self, keys: Sequence[RowKey]) -> list[StoredRow | None]:
        """Return the rows in order, None where a fold has not started."""
        ...

    def read_cells(self, key: RowKey, entities: Sequence[str], *, expected: bytes | None = None) -> list[Cell | None]:
        """Return the partition's own cells of ``entities``, in order, None where there is none: the writer's read.

        Raises:
            ChainBroken: ``expected`` is given, and the row holds another mark after the cells were read.
        """
        ...

    def write(self, links: Sequence[Link]) -> None:
        """Write the links in order, in one round trip.

        Raises:
            ChainBroken: a link was refused; it and every later link of its row wrote nothing.
        """
        ...

    def read(self, question: Question, *, timeout_ms: float | None = None) -> Answer:
        """Answer a question in one round trip, rows before cells: the reader's read, within ``timeout_ms``."""
        ...

    def advance_pointer(self, name: str, pointer: Pointer) -> bool:
        """Replace the pointer only if ``pointer`` is greater; return whether it was replaced."""
        ...

    def entities(self, fold: str) -> Sequence[str]:
        """Return the keys of every entity that has a cell, in no order. Cost: a scan, never on a hot path."""
        ...

    def some_entities(self, fold: str, after: str | None) -> Part:
        """Return some of the entities that have a cell: about `PART_KEYS` keys of the database are looked at.

        Begin with None, go on with `Part.after` until that is None: every entity that had a cell all the while was
        returned, perhaps twice.
        """
        ...

    def remove(self, fold: str, entities: Sequence[str]) -> None:
        """Remove every row of the fold, and then all cells of ``entities``: a few hundred a call, another may wait.

        Without its row no write of the fold is accepted any more, so what is removed does not come back.
        """
        ...

    def close(self) -> None:
        """Give connections back. The store cannot be used afterwards."""
        ...
