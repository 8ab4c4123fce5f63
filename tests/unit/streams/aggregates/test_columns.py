"""What tiles keep, and which statistics keep it together."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from definitions.declared import Aggregate
from definitions.expressions import Constant, Name, Operation
from streams.aggregates import COUNT, Operand, kind_of
from streams.cells import CellLayout
from tests.builders import aggregate, event_definition, view_definition

LATE = Operation(">", Name("delay_min"), Constant(15))
LATER = Operation(">", Name("delay_min"), Constant(16))
BIG = Operation(">", Name("seats"), Constant(100))


def columns(*aggregates: Aggregate) -> list[str]:
    """Return the names of the columns that a view of these keeps over one grid."""
    (series,) = CellLayout(view_definition(aggregates=aggregates).sources[0]).series
    return [column.name for column in series.columns]


def one_hour(kind: str, field: str | None = None, **more: Any) -> Aggregate:
    return aggregate(kind, kind, field, ["1h"], **more)


def test_statistics_of_one_field_share_what_they_can() -> None:
    assert columns(one_hour("mean", "delay_min"), one_hour("sum", "delay_min")) == ["sum.delay_min"]
    assert columns(one_hour("variance", "delay_min"), one_hour("std", "delay_min")) == ["moments.delay_min"]
    ratio = one_hour("ratio", of=[one_hour("sum", "delay_min"), one_hour("count")])
    assert columns(ratio, one_hour("mean", "delay_min")) == ["sum.delay_min"]


def test_statistics_share_a_filters_count_and_never_another_filters() -> None:
    late = '|[[">",["name","delay_min"],["constant",15],null]]'

    assert columns(one_hour("count", where=[LATE]), one_hour("mean", "delay_min", where=[LATE])) == [
        f"known.{late}",
        f"sum.delay_min{late}",
    ]
    assert len(columns(one_hour("count", where=[LATE]), one_hour("sum", "delay_min", where=[LATER]))) == 2
    assert len(columns(one_hour("max", "seats", where=[LATE]), one_hour("max", "seats"))) == 2


def test_quantiles_and_tops_share_their_counts_and_other_capacities_do_not() -> None:
    both = [aggregate("a", "quantile", "seats", ["1h"], q=0.1), aggregate("b", "quantile", "seats", ["1h"], q=0.9)]
    tops = [aggregate("a", "top_k", "tail", ["1h"], k=1), aggregate("b", "top_k", "tail", ["1h"], k=2, capacity=8)]

    assert len(columns(*both)) == 1
    assert len(columns(*tops)) == 2


def test_what_counts_every_event_keeps_no_column_of_its_own() -> None:
    event = event_definition()

    assert kind_of(one_hour("count"), event).columns() == (COUNT,)
    assert kind_of(one_hour("mean", "delay_min"), event).columns()[1] == COUNT
    assert kind_of(one_hour("mean", "seats"), event).columns()[1].name == "known.seats"


def test_an_event_is_let_in_where_every_condition_is_true_and_none_is_unknown() -> None:
    source = Operand("seats", nullable=True, where=(LATE, BIG), read=("delay_min", "seats"))
    events = [
        SimpleNamespace(delay_min=delay_min, seats=seats)
        for delay_min, seats in [(16.0, 101), (15.0, 101), (16.0, 100), (None, 101), (16.0, None)]
    ]

    assert source.inputs()(events) == [101, None, None, None, None]
    assert source.inputs(str)(events) == ["101", None, None, None, None]
    assert source.events.inputs(lambda event: event.delay_min)(events)[0] == 16.0
