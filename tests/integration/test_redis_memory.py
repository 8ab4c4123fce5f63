"""The memory that ``headrace check`` works out is what a real Redis says of cells that the engine made."""

from __future__ import annotations

from random import Random

import pytest
import redis

from definitions.declared import ViewDefinition
from streams.costs import cost_of_view
from streams.records import Partition
from streams.store import Cell, Link, Row, RowKey, fresh_mark
from streams.store.redis import RedisStore
from tests.builders import aggregate, event_definition, view_definition, window
from tests.cells import filled_cell

pytestmark = pytest.mark.redis

BAND = 0.25
"""By how much what was worked out may differ: a byte may decide for the next size class, a quarter larger."""
ENTITY = "entity-of-sixtee"
EVENT = event_definition(disorder_ms=60_000)
SPANS = [window("5m", every="1m"), window("1h", every="1m")]
VIEWS = [
    view_definition(on=EVENT, aggregates=[aggregate("flights", windows=SPANS[:1])]),
    view_definition(
        on=EVENT, aggregates=[aggregate("flights", windows=SPANS), aggregate("delay", "mean", "delay_min", SPANS)]
    ),
    view_definition(on=EVENT, aggregates=[aggregate("spread", "variance", "delay_min", SPANS)]),
]


@pytest.mark.parametrize("partitions", [1, 4, 12])
@pytest.mark.parametrize("few", [True, False])
@pytest.mark.parametrize("view", VIEWS)
def test_memory_usage_is_within_the_band(
    redis_url: str, unique: str, view: ViewDefinition, partitions: int, *, few: bool
) -> None:
    [source] = view.sources
    cell, _ = filled_cell(source, few=few, events_a_tile=300, chance=Random(3))
    store, asking = RedisStore(redis_url, unique), redis.Redis.from_url(redis_url)
    try:
        for index in range(partitions):
            key = RowKey(source.key, Partition(EVENT.topic, index, "AbCdEfGhIjKlMnOpQrStUv"))
            stored = store.create_row(key, Row(next=9, first=0))
            store.write([Link(key, stored.mark, fresh_mark(), {ENTITY: Cell(9, cell)})])
        used = asking.memory_usage(f"{unique}:cell:{source.key}:{ENTITY}", samples=0)
    finally:
        store.close()
        asking.close()

    cost = cost_of_view(view, partitions, namespace=unique)

    worked_out = (cost.typical if few else cost.hot).redis_bytes
    assert abs(worked_out - used) <= BAND * used
