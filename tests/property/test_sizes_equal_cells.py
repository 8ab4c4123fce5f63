"""The bytes that ``headrace check`` works out are within 30 % of what the engine's cells are encoded to."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from definitions.declared import Aggregate, Source, Window
from streams.costs.sizes import CellSizes
from tests.builders import aggregate, event_definition, view_definition, window
from tests.cells import filled_cell

EVENTS_A_TILE = 40
SLACK_BYTES = 16
"""What the few values of a small cell may make of it: a hash or a bucket takes one to nine bytes."""
_FIELDS = {
    "count": [None],
    "sum": ["delay_min", "seats"],
    "mean": ["delay_min", "seats"],
    "variance": ["delay_min"],
    "min": ["delay_min", "seats"],
    "max": ["delay_min"],
    "first": ["carrier", "delay_min"],
    "last": ["carrier", "seats"],
    "last_k": ["delay_min"],
    "decayed_count": [None],
    "decayed_mean": ["delay_min"],
}
_SKETCHED = {"quantile": ["delay_min"], "distinct": ["carrier"], "top_k": ["carrier"]}
_WINDOWS = [window("5m", every="1m"), window("10m", every="1m"), window("20m", every="2m"), window("40m", every="4m")]


@st.composite
def sources(draw: st.DrawFn, kinds: dict[str, Sequence[str | None]]) -> Source:
    """Return a source of a random view: one to five statistics over one to three windows each."""
    kept: list[Aggregate] = []
    for number in range(draw(st.integers(1, 5))):
        kind = draw(st.sampled_from(sorted(kinds)))
        spans: list[Window] = draw(st.lists(st.sampled_from(_WINDOWS), min_size=1, max_size=3, unique=True))
        kept.append(aggregate(f"a{number}", kind, draw(st.sampled_from(kinds[kind])), spans))
    event = event_definition(disorder_ms=draw(st.sampled_from([60_000, 150_000, 900_000])))
    return view_definition(on=event, aggregates=kept).sources[0]


@given(sources({**_FIELDS, **_SKETCHED}), st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_a_typical_cell_has_the_bytes_that_were_worked_out(source: Source, seed: int) -> None:
    cell, _ = filled_cell(source, few=True, events_a_tile=1, chance=Random(seed))

    assert abs(CellSizes(source).typical().bytes - len(cell)) <= max(0.3 * len(cell), SLACK_BYTES)


@given(sources(_FIELDS), st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_a_full_cell_has_the_bytes_that_were_worked_out(source: Source, seed: int) -> None:
    cell, _ = filled_cell(source, few=False, events_a_tile=EVENTS_A_TILE, chance=Random(seed))

    assert abs(CellSizes(source, busy=EVENTS_A_TILE).full().bytes - len(cell)) <= max(0.3 * len(cell), SLACK_BYTES)
