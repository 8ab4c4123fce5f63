"""One fold's writer in a role: what became of each record, the row's advance, and both as metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, Generic, TypeVar

import msgspec

from agents.context import RoleContext
from agents.metrics import Metrics
from agents.transport import Assigned
from streams.chain import Chain, Prepared, StateCodec
from streams.records import LOG_APPEND_TIME, Record
from streams.store import Row, RowKey

TALLIES = ("applied", "late", "duplicate", "too_late", "no_entity", "dead")
_SHOWN_TALLIES = (*TALLIES, "lost")

_HEALTH_EVERY_MS = 1_000

State = TypeVar("State")


class FoldWriter(Generic[State]):
    """The chain of one fold in one partition, with the tallies of the records since its last commit.

    Opened with the partition and thrown away with it, uncommitted tallies included: what was not committed is read
    again. A fold that has no row yet starts at the partition's first record.
    """

    def __init__(self, context: RoleContext, fold: str, given: Assigned, codec: StateCodec[State]) -> None:
        key = RowKey(fold, given.partition)
        stored = context.store.create_row(key, Row(next=given.first, first=given.first))
        self.chain: Chain[State] = Chain(context.store, key, stored, codec)
        self._store = context.store
        self._metrics = context.metrics
        self._prepared: list[Prepared] = []
        """What is cut and not written yet."""
        self._fates: Counter[str] = Counter()
        self._newest_ms = stored.row.newest_ms
        self._appended_ms = stored.row.applied_through_ms

    @property
    def row(self) -> Row:
        """The row as committed."""
        return self.chain.row

    @property
    def newest_ms(self) -> int | None:
        """Newest event time noted, committed or not."""
        return self._newest_ms

    def note(self, fate: str, count: int = 1) -> None:
        """Count what became of records: one of the row's tallies."""
        self._fates[fate] += count

    def saw(self, at_ms: int) -> None:
        """Note an event time."""
        if self._newest_ms is None or at_ms > self._newest_ms:
            self._newest_ms = at_ms

    def took(self, record: Record) -> None:
        """Note a record's LogAppendTime."""
        kind, at_ms = record.timestamp()
        if kind == LOG_APPEND_TIME and (self._appended_ms is None or at_ms > self._appended_ms):
            self._appended_ms = at_ms

    def commit(self, after: int, changed: Iterable[str] = ()) -> None:
        """Write the changed cells and the row that ends before ``after``, in one round trip.

        Raises:
            ChainBroken, StoreUnavailable: throw this writer away and open another.
        """
        self.cut(after, changed)
        self.write()

    def cut(self, after: int, changed: Iterable[str] = ()) -> None:
        """Note the states of the changed cells as they are now, and the row that ends before ``after``.

        `write` writes what was cut, in order and in one round trip; each cut is whole in the store or not there.
        """
        behind = self._prepared[-1] if self._prepared else None
        row = self.chain.row if behind is None else behind.row
        tallies = {name: getattr(row, name) + count for name, count in self._fates.items()}
        follows = msgspec.structs.replace(
            row, next=after, newest_ms=self._newest_ms, applied_through_ms=self._appended_ms, **tallies
        )
        self._prepared.append(self.chain.prepare(follows, changed, behind=behind))
        self._fates.clear()

    def write(self) -> None:
        """Write what was cut since the last time.

        Raises:
            ChainBroken, StoreUnavailable: as `commit`.
        """
        if not self._prepared:
            return
        self._store.write([link for each in self._prepared for link in each.links])
        for each in self._prepared:
            self.chain.written(each)
        self._prepared.clear()
        export_row(self._metrics, self.chain)

    def reached_end(self, broker_ms: int) -> None:
        """Raise *applied through* to the broker's time, at most once a second: a link too, so a rollback is noticed."""
        if broker_ms - (self._appended_ms or 0) >= _HEALTH_EVERY_MS:
            self._appended_ms = broker_ms
            self.commit(self.chain.row.next)


def export_row(metrics: Metrics, chain: Chain[Any]) -> None:
    """Show a chain's row as metrics: how far it reaches, and its tallies.

    Only what moved since it was shown is set: a batch seldom moves more than one tally. Cost: 2 us, and 1 us for each.
    """
    partition, row = chain.key.partition, chain.row
    shown, metrics.rows[chain.key] = metrics.rows.get(chain.key), row
    labels = {"fold": chain.key.fold, "topic": partition.topic, "partition": str(partition.index)}
    if shown is None or row.next != shown.next:
        metrics.set("row_next_offset", row.next, **labels)
    for tally in _SHOWN_TALLIES:
        value = getattr(row, tally)
        if shown is None or value != getattr(shown, tally):
            metrics.set("row_records", value, **labels, tally=tally)


class NoCells:
    """The codec of a fold that is only its row. Implements `streams.chain.StateCodec`."""

    def empty(self) -> None:
        """Return nothing."""

    def encode(self, state: None) -> bytes | None:
        """Keep nothing."""
        return state

    def decode(self, data: bytes) -> None:
        """Refuse: nothing was kept."""
        raise ValueError(f"cannot decode cell: expected none, got {len(data)} bytes")
