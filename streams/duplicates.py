"""Which records their producer sent twice: an id counts once within the event's declared horizon.

Ids lie in cells of the same fold as the state they guard, so that both move in one chain. An *id cell* is
``[bucket, {id: offset of the record that brought it}]``: ids are bucketed by event time, `BUCKETS` a horizon, and
spread over `SHARDS` cells a bucket. A record is a duplicate if an earlier offset brought its id into a bucket that is
not older than the horizon before the partition's newest event time. A redelivery is the very offset that brought the
id, and therefore none. An event older than the horizon is not looked for: whether it is a duplicate cannot be known.

Decided per record in log order, so that a replay decides the same however its batches are cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from operator import attrgetter
from zlib import crc32

from definitions.declared import EventDefinition
from streams.cells import ORIGIN, CellState
from streams.chain import Load, Slot
from streams.entities import RESERVED
from streams.intake import DecodedBatch

BUCKETS = 16
SHARDS = 64

_IDS = 1
"""Where the ids lie in an id cell; its bucket lies where an entity's cell has its origin."""

Slots = Mapping[str, Slot[CellState]]


@dataclass(frozen=True, slots=True)
class Deduplicated:
    """A batch without its duplicates, how many there were, and the names of the id cells that changed."""

    batch: DecodedBatch
    duplicates: int
    changed: Iterable[str]


class Deduplicator:
    """Finds the duplicates of one event type among the records of one partition."""

    def __init__(self, event: EventDefinition, horizon_ms: int) -> None:
        self._id_of = attrgetter(event.id)
        self._horizon_ms = horizon_ms
        self._bucket_ms = max(1, horizon_ms // BUCKETS)

    def first_only(self, load: Load, batch: DecodedBatch, newest_ms: int | None) -> Deduplicated:
        """Return the batch without duplicates, its ids noted in their cells, in place. Cost: 2 us an event.

        Args:
            load: what holds the fold's cells.
            batch: the records behind the fold's row.
            newest_ms: the partition's newest event time before them, None if there was none.
        """
        if not batch.events:
            return Deduplicated(batch, 0, ())
        ids = list(map(self._id_of, batch.events))
        oldest_ms = batch.times_ms[0] if newest_ms is None else newest_ms
        buckets = {*self._counting(oldest_ms), *(at_ms // self._bucket_ms for at_ms in batch.times_ms)}
        shards = [shard_of(each) for each in ids]
        slots = load([id_cell(bucket, shard) for shard in set(shards) for bucket in buckets])
        sifting = _Sifting(slots, sorted(buckets), oldest_ms)
        first = [
            self._is_first(sifting, *record) for record in zip(batch.offsets, batch.times_ms, ids, shards, strict=True)
        ]
        counting = self._counting(sifting.newest_ms)
        expired = [bucket for bucket in sifting.buckets if bucket < counting.start]
        changed = sifting.changed | dict.fromkeys(_emptied(load, expired))
        return Deduplicated(_only(batch, first), first.count(False), changed)

    def _counting(self, newest_ms: int) -> range:
        """Return the buckets in which an id counts."""
        return range((newest_ms - self._horizon_ms) // self._bucket_ms, newest_ms // self._bucket_ms + 1)

    def _is_first(self, sifting: _Sifting, offset: int, at_ms: int, identifier: str | int, shard: int) -> bool:
        newest_ms, bucket = max(sifting.newest_ms, at_ms), at_ms // self._bucket_ms
        counting = self._counting(newest_ms)
        if bucket not in counting:
            return True
        for other in sifting.buckets:
            if other in counting and sifting.brought(other, shard, identifier) < offset:
                return False
        sifting.newest_ms = newest_ms
        sifting.note(bucket, shard, identifier, offset)
        return True


class _Sifting:
    """What is known of the ids while a batch is gone through."""

    def __init__(self, slots: Slots, buckets: Sequence[int], newest_ms: int) -> None:
        self.buckets = buckets
        """Every bucket that may hold an id, in order of time."""
        self.newest_ms = newest_ms
        self.changed: dict[str, None] = {}
        self._slots = slots
        self._ids: dict[tuple[int, int], dict[str | int, int]] = {}

    def brought(self, bucket: int, shard: int, identifier: str | int) -> float:
        """Return the offset that brought an id into a bucket, infinity if none did."""
        ids = self._ids.get((bucket, shard))
        if ids is None:
            state = self._slots[id_cell(bucket, shard)].state
            ids = self._ids[bucket, shard] = {} if state[ORIGIN] is None else state[_IDS]
        return ids.get(identifier, _NEVER) if ids else _NEVER

    def note(self, bucket: int, shard: int, identifier: str | int, offset: int) -> None:
        """Note the offset that brings an id, unless its cell contains the record already."""
        name = id_cell(bucket, shard)
        slot = self._slots[name]
        if offset < slot.position:
            return
        if slot.state[ORIGIN] is None:
            slot.state[:] = [bucket, self._ids.setdefault((bucket, shard), {})]
        slot.state[_IDS][identifier] = offset
        self.changed[name] = None


_NEVER = float("inf")


def id_cell(bucket: int, shard: int) -> str:
    """Return the name of an id cell, which no entity's key can be."""
    return f"{RESERVED}ids/{bucket}/{shard}"


def shard_of(identifier: str | int) -> int:
    """Return which of the cells of a bucket an id belongs to, on every machine the same."""
    return crc32(str(identifier).encode()) % SHARDS


def _emptied(load: Load, buckets: Sequence[int]) -> Iterator[str]:
    """Empty the cells of buckets that count no longer, and yield their names; an empty cell is removed when written."""
    names = [id_cell(bucket, shard) for bucket in buckets for shard in range(SHARDS)]
    slots = load(names)
    for name in names:
        state = slots[name].state
        if state[ORIGIN] is not None:
            state[:] = [None]
            yield name


def _only(batch: DecodedBatch, first: Sequence[bool]) -> DecodedBatch:
    if all(first):
        return batch
    return replace(
        batch,
        offsets=list(compress(batch.offsets, first)),
        events=list(compress(batch.events, first)),
        times_ms=list(compress(batch.times_ms, first)),
    )
