"""What one read of a view costs: the constants of ``streams.costs.work``, measured on real cells.

Views differ in windows, tiles, statistics and partitions. Of each, the cells of a quiet and of a hot entity are made by
the engine and lie in a real Redis; timed are the round trip over loopback (less that of a PING) and decoding, merging
and finalising by the reader that serves. Least squares in relative error, no constant below zero. Last line one JSON
object: the constants in ns, and how far the model with ``MEASURED`` and with the new ones is from what was measured.
"""

from __future__ import annotations

import gc
import json
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

import numpy as np

from definitions.declared import Aggregate, ViewDefinition
from streams.costs.sizes import CellSizes
from streams.costs.work import MEASURED, WORK_NAMES, Work, read_work, rows_work
from streams.reading import FeatureReader
from streams.records import Partition
from streams.store import Cell, Link, Row, RowKey, fresh_mark
from streams.store.redis import RedisStore
from tests.bench.local_kafka import local_redis, say
from tests.builders import aggregate, event_definition, view_definition, window
from tests.cells import filled_cell

_READS = 40
_EVENTS_A_TILE = 300
_TOPIC_ID = "AbCdEfGhIjKlMnOpQrStUv"

_STATISTICS: Sequence[Sequence[tuple[str, str | None]]] = (
    [("count", None)],
    [("count", None), ("sum", "delay_min"), ("mean", "delay_min")],
    [("min", "delay_min"), ("max", "delay_min"), ("last", "carrier")],
    [("variance", "delay_min")],
    [("last_k", "delay_min"), ("first", "carrier")],
    [("distinct", "flight_id")],
    [("quantile", "delay_min")],
    [("top_k", "carrier")],
    [("decayed_mean", "delay_min"), ("decayed_count", None)],
)
_TILES = (6, 30, 90)
_PARTITIONS = (1, 4, 16)


def views() -> Iterator[ViewDefinition]:
    """Yield the views that are measured."""
    event = event_definition(disorder_ms=60_000)
    for number, kinds in enumerate(_STATISTICS):
        for tiles in _TILES if not {"distinct", "quantile", "top_k"} & {kind for kind, _ in kinds} else _TILES[:1]:
            spans = [window(f"{tiles}m", every="1m"), window(f"{tiles * 4}m", every="4m")]
            kept: list[Aggregate] = [aggregate(f"a{place}", *kind, spans) for place, kind in enumerate(kinds)]
            yield view_definition(on=event, aggregates=kept, name=f"view_{number}_{tiles}")


def main() -> None:
    """Measure, fit, and print."""
    works: list[Work] = []
    took_ns: list[float] = []
    gc.disable()  # as roles do while they answer
    with local_redis() as url:
        store = RedisStore(url, f"bench-{uuid.uuid4().hex[:8]}")
        try:
            for view in views():
                say(view.name)
                for few in (True, False):
                    [source] = view.sources
                    cell, asked_ms = filled_cell(source, few=few, events_a_tile=_EVENTS_A_TILE, chance=Random(7))
                    for partitions in _PARTITIONS:
                        works.append(_work(view, partitions, few=few))
                        took_ns.append(_measure(store, view, cell, asked_ms, partitions))
                        say(f"  {partitions:3} {'few' if few else 'hot'}: {took_ns[-1] / 1e3:.0f} us")
        finally:
            store.close()
    fitted = _fit(works, took_ns)
    answer = {
        "constants_ns": {name: round(value, 2) for name, value in zip(WORK_NAMES, fitted, strict=True)},
        "reads": len(works),
        "fitted": _errors(works, took_ns, Work(*fitted)),
        "measured": _errors(works, took_ns, MEASURED),
    }
    print(json.dumps(answer))  # noqa: T201  # the benchmark's answer


def _work(view: ViewDefinition, partitions: int, *, few: bool) -> Work:
    [source] = view.sources
    sizes = {source.key: CellSizes(source, busy=_EVENTS_A_TILE)}
    return read_work(view, sizes, {source.key: partitions}, few=few) + rows_work(source, partitions)


def _measure(store: RedisStore, view: ViewDefinition, cell: bytes, asked_ms: int, partitions: int) -> float:
    """Return the ns of one read, without the round trip itself."""
    [source] = view.sources
    entity = f"{partitions}-{len(cell)}"
    for index in range(partitions):
        key = RowKey(
            source.key, Partition(source.event.topic, index, f"{_TOPIC_ID[:-8]}{len(cell):04d}{partitions:04d}")
        )
        stored = store.create_row(key, Row(next=10**6, first=0, newest_ms=asked_ms, applied_through_ms=asked_ms))
        store.write([Link(key, stored.mark, fresh_mark(), {entity: Cell(10**6, cell)}, stored.row)])
    reader = FeatureReader([view])

    def read() -> None:
        question = reader.question([{"origin": entity}])
        served = reader.serve(question, store.read(question), 0, asked_ms)
        assert not served.absent
        assert not served.unanswerable

    def ping() -> None:
        store._reader.ask([("PING",)], 5)  # the round trip itself is not a view's cost

    return max(1.0, _quickest_ns(read) - _quickest_ns(ping))


def _quickest_ns(call: Callable[[], None]) -> int:
    """Return the least of many times: what others do on the machine only adds."""
    times = []
    for _ in range(_READS):
        began = time.perf_counter_ns()
        call()
        times.append(time.perf_counter_ns() - began)
    return min(times)


def _fit(works: Sequence[Work], took_ns: Sequence[float]) -> list[float]:
    """Return the constants of least squared relative error, none below zero: those that would be are left out."""
    rows: Any = np.array([_numbers(each) for each in works]) / np.array(took_ns)[:, None]
    active = list(range(len(WORK_NAMES)))
    while True:
        found = np.linalg.lstsq(rows[:, active], np.ones(len(works)), rcond=None)[0]
        if (found >= 0).all():
            break
        active.pop(int(found.argmin()))
    fitted = [0.0] * len(WORK_NAMES)
    for place, value in zip(active, found, strict=True):
        fitted[place] = float(value)
    return fitted


def _numbers(work: Work) -> list[float]:
    return [float(getattr(work, name)) for name in WORK_NAMES]


def _errors(works: Sequence[Work], took_ns: Sequence[float], each_ns: Work) -> dict[str, float]:
    """Return the modelled over the measured time: the median, and the 5th and 95th of a hundred."""
    ratios = sorted(work.cost_ms(each_ns) * 1e6 / took for work, took in zip(works, took_ns, strict=True))
    at = {name: ratios[int(share * (len(ratios) - 1))] for name, share in (("p5", 0.05), ("p50", 0.5), ("p95", 0.95))}
    return {name: round(value, 3) for name, value in at.items()}


if __name__ == "__main__":
    main()
