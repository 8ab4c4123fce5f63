"""Cells as the engine leaves them, of entities that are as quiet or as hot as costs are worked out for."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from types import SimpleNamespace
from typing import Any

from definitions.declared import Source
from definitions.values import ValueType
from streams.costs.sizes import AGE_MS, FEW_EVENTS
from streams.engine import Engine
from streams.intake import DecodedBatch
from streams.records import Partition
from streams.replay import Remembered

START_MS = 1_700_000_000_000 // 86_400_000 * 86_400_000


def filled_cell(source: Source, *, few: bool, events_a_tile: int, chance: Random) -> tuple[bytes, int]:
    """Return an entity's cell, and the time of its newest event.

    A quiet one has its few events evenly in the shortest window; a hot one begins long before, and has so many events
    in each tile of its finest grid until every window is full.
    """
    times = list(_quiet(source) if few else _hot(source, events_a_tile))
    engine = Engine(source)
    kept = Remembered(engine, 0)
    events: Any = [_event(source, at_ms, chance) for at_ms in times]
    partition = Partition(source.event.topic, 0, "tid")
    kept.apply(DecodedBatch(partition, 0, len(times), range(len(times)), events, times, (), times[-1]))
    [state] = [slot.state for slot in kept.slots.values()]
    encoded = engine.codec.encode(state)
    assert encoded is not None
    return encoded, times[-1]


def _quiet(source: Source) -> Iterator[int]:
    shortest_ms = min(each.length_ms for one in source.aggregates for each in one.windows)
    return (START_MS + number * shortest_ms // FEW_EVENTS for number in range(FEW_EVENTS))


def _hot(source: Source, events_a_tile: int) -> Iterator[int]:
    windows = [each for one in source.aggregates for each in one.windows]
    grid_ms = min(each.grid_ms for each in windows)
    span_ms = max(each.length_ms + -(-source.event.disorder_ms // each.grid_ms) * each.grid_ms for each in windows)
    yield START_MS
    for tile_ms in range(START_MS + AGE_MS - span_ms, START_MS + AGE_MS, grid_ms):
        for number in range(events_a_tile):
            yield tile_ms + number * grid_ms // events_a_tile


def _event(source: Source, at_ms: int, chance: Random) -> SimpleNamespace:
    values = {each.name: _value(each.type, at_ms, chance) for each in source.event.fields}
    return SimpleNamespace(**(values | dict.fromkeys(source.by, "entity")))


def _value(kind: ValueType, at_ms: int, chance: Random) -> Any:
    if kind is ValueType.TIME:
        return at_ms
    if kind is ValueType.BOOL:
        return chance.random() < 0.5
    if kind is ValueType.INT:
        return chance.randint(256, 65_535)
    return 10 ** chance.uniform(0, 3) if kind is ValueType.FLOAT else f"value{chance.randint(0, 999):03d}"
