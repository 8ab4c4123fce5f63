"""How large stored state becomes, worked out from a view's definition: the bytes of its cells, and Redis's memory.

Nothing is estimated by kind of aggregate: sample values are folded by the very columns that the engine folds, and what
they hold is encoded by the encoder of cells. Only the number of rows is multiplied out. The samples, where a size
depends on the values: whole numbers of 3 bytes, texts of 8 characters, floats that spread over three decades.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import msgspec

from definitions.declared import Aggregate, EventDefinition, Field, Source
from definitions.values import ValueType
from streams.aggregates import Column, kind_of
from streams.aggregates.columns import Inputs
from streams.cells import CellLayout, SeriesLayout

FEW_EVENTS = 5
"""How many events a typical entity has, evenly over its view's shortest window: most entities are quiet."""
BUSY_TILE_EVENTS = 1_000
"""How many events, all of them different, a tile of a hot entity has taken in: every sketch is as large as it gets."""
AGE_MS = 30 * 86_400_000
"""How long ago a hot entity's first event was: tile numbers and times count from it."""

FIELD_BYTES = 22 + len("/0")
"""A partition's name in rows and cells: Kafka's topic id as text, and the partition's number."""
POSITION_BYTES = 8
"""What a cell holds beside its state."""

_REGISTERS_A_VALUE = 64
"""How many registers of a sketch are merged in the time of one value: they are merged by numpy."""
_NEWEST_MS = 1_700_000_000_000
_LISTPACK_VALUE, _LISTPACK_FIELDS = 1_024, 512
"""Up to these a hash of Redis is one packed list; the values' limit is ours, a stock Redis packs 64 bytes at most."""


@dataclass(frozen=True, slots=True)
class Size:
    """Something encoded: its bytes, and how many values they hold."""

    bytes: int
    values: int


class CellSizes:
    """The sizes of one source's cells.

    Args:
        source: whose cells.
        busy: how many events a tile of a hot entity has taken in.
    """

    def __init__(self, source: Source, *, busy: int = BUSY_TILE_EVENTS) -> None:
        self.layout = CellLayout(source)
        self._busy = busy
        self._inputs = _inputs_of(source)
        self._samples = _samples(source.event, busy)
        shortest_ms = min(each.length_ms for one in source.aggregates for each in one.windows)
        self._few_ms = [number * shortest_ms // FEW_EVENTS for number in range(FEW_EVENTS)]

    def typical(self) -> Size:
        """Return the size of the cell of an entity with `FEW_EVENTS` events."""
        parts = []
        for series in self.layout.series:
            tiles = [at_ms // series.grid_ms for at_ms in self._few_ms]
            rows = [
                self._row(series, tile, tiles.count(tile), since_ms=tile * series.grid_ms)
                for tile in dict.fromkeys(tiles)
            ]
            parts.append(_series(series, rows[:-1], rows[-1], dropped=None))
        return self._cell(parts)

    def full(self) -> Size:
        """Return the size of the cell of a hot entity: every tile that its series keep is there."""
        parts = []
        for series in self.layout.series:
            newest = AGE_MS // series.grid_ms
            row = self._row(series, newest, self._busy, since_ms=AGE_MS)
            kept = kept_tiles(self.layout, series)
            parts.append(_series(series, [row] * (kept - 1), row, dropped=newest))
        return self._cell(parts)

    def few_tiles(self, series: SeriesLayout) -> int:
        """Return how many tiles a typical entity has in a series."""
        return len({at_ms // series.grid_ms for at_ms in self._few_ms})

    def values_of(self, series: SeriesLayout, *, few: bool) -> Mapping[str, int]:
        """Return how many values each column of a tile holds, of a typical entity or of a hot one."""
        samples = self._samples[: 1 if few else self._busy]
        held = {each.name: self._held(each, samples, AGE_MS, series.grid_ms) for each in series.columns}
        return {name: each.values for name, each in held.items()}

    def _cell(self, parts: Sequence[Size]) -> Size:
        own = _array(len(self.layout.empty())) + _size(_NEWEST_MS)
        return Size(own + sum(each.bytes for each in parts), 1 + sum(each.values for each in parts))

    def _row(self, series: SeriesLayout, tile: int, events: int, *, since_ms: int) -> Size:
        samples = self._samples[:events]
        held = [self._held(each, samples, since_ms, series.grid_ms) for each in series.columns]
        own = _size(tile) + _size(events)
        return Size(own + sum(each.bytes for each in held), 2 + sum(each.values for each in held))

    def _held(self, column: Column, samples: Sequence[Any], since_ms: int, grid_ms: int) -> Size:
        """Return what the column holds of the samples, at its largest: a sketch may shrink while it takes more in."""
        largest = Size(0, 0)
        for held in _folded(column, self._inputs[column.name](samples), since_ms, grid_ms):
            now = _size(held)
            if now >= largest.bytes:
                largest = Size(now, _values(held))
        return largest


def kept_tiles(layout: CellLayout, series: SeriesLayout) -> int:
    """Return how many tiles a series keeps at most: those of its longest window, and those a late question may ask."""
    return series.span_tiles + -(-layout.disorder_ms // series.grid_ms)


def redis_bytes(key_bytes: int, fields: int, value_bytes: int) -> int:
    """Return the memory of one hash in Redis: its key, ``fields`` partitions, a cell of ``value_bytes`` in each.

    By the allocator's size classes (jemalloc), as MEMORY USAGE counts it with every field sampled.
    """
    if value_bytes <= _LISTPACK_VALUE and fields <= _LISTPACK_FIELDS:
        packed = 7 + fields * (FIELD_BYTES + 2 + value_bytes + 2)
        return 16 + _allocated(key_bytes + 5) + _allocated(packed)
    buckets = 1 << max(2, (fields - 1).bit_length())
    field = 24 + _allocated(FIELD_BYTES + 2) + _allocated(value_bytes + (6 if value_bytes >= 1 << 8 else 4))
    return 72 + _allocated(key_bytes + 5) + 8 * buckets + fields * field


def _allocated(size: int) -> int:
    """Return what jemalloc gives for ``size`` bytes: steps of 16 up to 128, then four classes per power of two."""
    if size <= 128:  # noqa: PLR2004  # the allocator's own number
        return max(16, -(-size // 16) * 16)
    step = 1 << ((size - 1).bit_length() - 3)
    return -(-size // step) * step


def _series(series: SeriesLayout, sealed: Sequence[Size], opened: Size, *, dropped: int | None) -> Size:
    inside = sum(each.bytes for each in sealed) + opened.bytes
    header = _size(dropped) + _array(len(sealed) * series.width)
    return Size(header + inside, 2 + sum(each.values for each in sealed) + opened.values)


def _array(length: int) -> int:
    return len(msgspec.msgpack.encode([None] * length)) - length


def _size(value: Any) -> int:
    return len(msgspec.msgpack.encode(value))


def _folded(column: Column, given: Sequence[Any], since_ms: int, grid_ms: int) -> Iterator[Any]:
    """Yield what the column holds of inputs that come evenly over a tile, at every step where it may shrink later."""
    held = column.empty
    for place, each in enumerate(given):
        brought = (since_ms + place * grid_ms // len(given), each) if column.timed else each
        held = column.begin(brought) if held is None else column.fold(held, brought)
        if isinstance(held, list | dict | tuple):
            yield held
    yield held


def _values(held: Any) -> int:
    if isinstance(held, dict):
        return 1 + 2 * len(held)
    if isinstance(held, list | tuple):
        return 1 + sum(map(_values, held))
    return max(1, len(held) // _REGISTERS_A_VALUE) if isinstance(held, bytes | bytearray) else 1


def _inputs_of(source: Source) -> Mapping[str, Inputs]:
    """Return what gives each column its inputs, conditions left out: the samples pass all of them."""
    found: dict[str, Inputs] = {}
    for aggregate in source.aggregates:
        columns = kind_of(aggregate, source.event).columns()
        alike = kind_of(_unconditional(aggregate), source.event).columns()
        found.update((column.name, twin.inputs) for column, twin in zip(columns, alike, strict=True))
    return found


def _unconditional(aggregate: Aggregate) -> Aggregate:
    return replace(aggregate, where=(), of=tuple(_unconditional(each) for each in aggregate.of))


def _samples(event: EventDefinition, number: int) -> Sequence[Any]:
    return [
        SimpleNamespace(**{each.name: _sample(each, place, number) for each in event.fields}) for place in range(number)
    ]


def _sample(field: Field, place: int, number: int) -> Any:
    made: Mapping[ValueType, Any] = {
        ValueType.INT: 300 + place,
        ValueType.FLOAT: 10 ** (3 * (place + 0.5) / number),
        ValueType.BOOL: True,
        ValueType.CATEGORY: f"value{place:03d}",
        ValueType.TIME: _NEWEST_MS + place,
        ValueType.EMBEDDING: [0.1] * (field.length or 0),
    }
    return made[field.type]
