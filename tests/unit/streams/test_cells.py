"""Cells are small, canonical, and say what they no longer hold."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from streams.aggregates import KINDS
from streams.cells import CellCodec, CellLayout, CellState
from streams.chain import Slot
from streams.finalise import Finaliser, Held
from streams.folding import compiled
from tests.builders import aggregate, event_definition, view_definition, window

HOUR_MS = 3_600_000
START_MS = 1_700_000_000_000 // HOUR_MS * HOUR_MS
EVENT = event_definition(disorder_ms=0)
VIEW = view_definition(on=EVENT, aggregates=[aggregate("flights"), aggregate("seats", "sum", "seats", ["1h"])])
LAYOUT = CellLayout(VIEW.sources[0])
CODEC = CellCodec(LAYOUT)


def add(layout: CellLayout, state: CellState, at_ms: int, inputs: Sequence[object], newest_ms: int) -> None:
    """Add one event to a cell; ``newest_ms`` is the partition's newest event time, this event's included."""
    compiled(layout)([(0, at_ms, "", *inputs)], {"": Slot(0, state)}, newest_ms, [])


def cell(*events: tuple[int, int | None]) -> CellState:
    """Return the cell of events given as (ms since the start, seats), each the newest so far or late."""
    state, newest_ms = LAYOUT.empty(), 0
    for since_ms, seats in events:
        newest_ms = max(newest_ms, START_MS + since_ms)
        add(LAYOUT, state, START_MS + since_ms, (seats,), newest_ms)
    return state


def test_five_events_in_four_windows_are_300_bytes_at_most() -> None:
    spans = ["10m", "1h", "24h", "7d"]
    view = view_definition(
        on=EVENT, aggregates=[aggregate("n", windows=spans), aggregate("d", "sum", "delay_min", spans)]
    )
    layout = CellLayout(view.sources[0])
    state = layout.empty()
    for number in range(5):
        at_ms = START_MS + number * 4 * HOUR_MS
        add(layout, state, at_ms, (number + 0.1,), at_ms)

    encoded = CellCodec(layout).encode(state)

    assert encoded is not None
    assert len(encoded) + 8 <= 300


def test_no_events_are_no_bytes() -> None:
    assert CODEC.encode(LAYOUT.empty()) is None


def test_bytes_become_the_state_they_were_made_from() -> None:
    state = cell((0, 1), (61_000, None), (7_200_000, 2**62), (7_200_001, 2**62), (7_200_002, 2**62), (7_200_003, -5))
    encoded = CODEC.encode(state)
    assert encoded is not None

    decoded = CODEC.decode(encoded)

    assert decoded == state
    assert CODEC.encode(decoded) == encoded
    assert 3 * 2**62 - 5 in decoded


def test_a_state_that_goes_on_from_bytes_is_the_one_that_went_on_in_memory() -> None:
    whole = cell((0, 1), (61_000, None), (30_000, 7))
    begun = CODEC.encode(cell((0, 1), (61_000, None)))
    assert begun is not None
    resumed = CODEC.decode(begun)

    add(LAYOUT, resumed, START_MS + 30_000, (7,), START_MS + 61_000)

    assert CODEC.encode(resumed) == CODEC.encode(whole)


def test_tiles_that_no_question_may_ask_for_are_given_up_and_said_to_be() -> None:
    finaliser = Finaliser(VIEW, [LAYOUT])
    state = cell((0, 1), (2 * HOUR_MS, 2))

    now, missing_now, _ = finaliser.values([Held([state])], START_MS + 2 * HOUR_MS)
    past, missing_past, _ = finaliser.values([Held([state])], START_MS + HOUR_MS // 2)

    assert (now["seats_1h"], now["flights_1h"], now["flights_24h"], missing_now) == (2, 1, 2, set())
    assert (past["seats_1h"], past["flights_1h"], past["flights_24h"]) == (None, None, 1)
    assert missing_past == {"seats_1h", "flights_1h"}


def test_nothing_given_up_is_a_past_that_can_be_asked_about() -> None:
    values, missing, _ = Finaliser(VIEW, [LAYOUT]).values([Held([cell((0, 1), (30 * 60_000, 2))])], START_MS - 1)

    assert (values["flights_1h"], values["seats_1h"], missing) == (0, 0, set())


def test_the_value_moves_with_the_clock_tile_by_tile() -> None:
    finaliser, state = Finaliser(VIEW, [LAYOUT]), cell((59_999, 5))
    asked = [START_MS - 1, START_MS, START_MS + HOUR_MS - 1, START_MS + HOUR_MS]

    assert [finaliser.values([Held([state])], at_ms)[0]["flights_1h"] for at_ms in asked] == [0, 1, 1, 0]


def test_a_value_is_as_old_as_its_newest_tile() -> None:
    ages = Finaliser(VIEW, [LAYOUT]).ages_ms([Held([cell((0, 5), (90_000, 1))])], START_MS + 100_000)

    assert ages == {"flights_1h": 40_000, "flights_24h": 100_000, "seats_1h": 40_000}


def test_series_over_one_grid_are_shared() -> None:
    spans = [window("10m", every="1m"), window("1h", every="1m")]
    view = view_definition(aggregates=[aggregate("n", windows=spans), aggregate("m", "mean", "delay_min", spans[:1])])
    layout = CellLayout(view.sources[0])

    assert [(each.grid_ms, each.span_tiles) for each in layout.series] == [(60_000, 60)]
    assert [column.name for column in layout.series[0].columns] == ["sum.delay_min"]


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_says_what_nothing_is(kind: str) -> None:
    field = None if kind in {"count", "decayed_count"} else "seats"
    view = view_definition(on=EVENT, aggregates=[aggregate("x", kind, field, ["1h"])])
    layout = CellLayout(view.sources[0])
    state = layout.empty()
    add(layout, state, START_MS, (None,) * len(layout.inputs), START_MS)

    for asked_ms in (START_MS + 5 * HOUR_MS, START_MS):  # an empty window, and one of an event that brings nothing
        values, _, _ = Finaliser(view, [layout]).values([Held([state])], asked_ms)
        if kind != "count":
            assert set(values.values()) == {0 if kind in {"sum", "distinct", "decayed_count"} else None}


@pytest.mark.parametrize("sums", [(1e308, 1e308), (1.7e308, -1.7e308)])
def test_a_sum_that_is_not_finite_is_no_value(sums: tuple[float, float]) -> None:
    view = view_definition(
        on=EVENT, aggregates=[aggregate("s", "sum", "delay_min", ["1h"]), aggregate("m", "mean", "delay_min", ["1h"])]
    )
    layout = CellLayout(view.sources[0])
    state = layout.empty()
    for number in range(4):
        add(layout, state, START_MS, (sums[number // 2],), START_MS)

    assert set(Finaliser(view, [layout]).values([Held([state])], START_MS)[0].values()) in ({None}, {0.0})


def test_of_equal_times_the_later_partition_then_the_later_offset_is_last() -> None:
    view = view_definition(on=EVENT, aggregates=[aggregate("x", "last", "seats", ["1h"])])
    layout = CellLayout(view.sources[0])
    first, second = layout.empty(), layout.empty()
    for state, seats in ((first, 1), (first, 2), (second, 3), (second, 4)):
        add(layout, state, START_MS, (seats,), START_MS)
    finaliser = Finaliser(view, [layout])

    assert finaliser.values([Held([first])], START_MS)[0] == {"x_1h": 2}
    assert finaliser.values([Held([first, second])], START_MS)[0] == {"x_1h": 4}
    assert finaliser.values([Held([second, first])], START_MS)[0] == {"x_1h": 2}
