"""Sizes worked out from a definition are those of cells that the engine makes."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from streams.cells import CellLayout
from streams.costs.sizes import CellSizes, kept_tiles, redis_bytes
from tests.builders import aggregate, event_definition, view_definition, window
from tests.cells import filled_cell

HOUR = (window("1h"),)
COUNTED = view_definition(aggregates=[aggregate("flights", windows=HOUR)]).sources[0]


def test_more_windows_and_more_statistics_make_cells_larger() -> None:
    more = view_definition(aggregates=[aggregate("flights"), aggregate("delay", "mean", "delay_min")]).sources[0]

    assert CellSizes(COUNTED).typical().bytes < CellSizes(more).typical().bytes
    assert CellSizes(COUNTED).full().bytes < CellSizes(more).full().bytes


def test_a_series_keeps_its_window_and_what_a_late_question_may_ask() -> None:
    [series] = CellLayout(COUNTED).series

    assert kept_tiles(CellLayout(COUNTED), series) == 60 + 15


def test_what_a_condition_leaves_out_is_sized_as_if_it_let_everything_in() -> None:
    from tests.property.histories import AGGREGATES, SALE  # noqa: PLC0415  # every statistic there is

    conditional = [each for each in AGGREGATES if each.where]
    source = view_definition(on=SALE, by=["user"], aggregates=conditional, name="dear").sources[0]
    unconditional = [replace(each, where=()) for each in conditional]
    plain = view_definition(on=SALE, by=["user"], aggregates=unconditional, name="all").sources[0]

    assert CellSizes(source).full().bytes >= CellSizes(plain).full().bytes


@pytest.mark.parametrize("kind", ["distinct", "quantile", "top_k", "last_k"])
def test_a_full_sketch_is_no_larger_than_said(kind: str) -> None:
    field = "flight_id" if kind == "distinct" else "delay_min"
    spans = [window("6m", every="1m")]
    source = view_definition(
        on=event_definition(disorder_ms=60_000), aggregates=[aggregate("a", kind, field, spans)]
    ).sources[0]

    cell, _ = filled_cell(source, few=False, events_a_tile=1_000, chance=Random(1))

    assert len(cell) <= 1.1 * CellSizes(source).full().bytes


@pytest.mark.parametrize(
    ("key", "fields", "value", "memory"),
    [(40, 1, 40, 144), (60, 4, 40, 416), (40, 1, 100, 224), (90, 2, 300, 880), (60, 16, 3000, 50328)],
)
def test_memory_in_redis_is_what_a_real_one_reported(key: int, fields: int, value: int, memory: int) -> None:
    assert redis_bytes(key, fields, value) == memory
