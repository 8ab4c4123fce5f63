"""Every statistic in words."""

from __future__ import annotations

import pytest

from definitions.declared import Aggregate
from definitions.expressions import Constant, Name, Operation
from marketplace.recipes import recipe
from streams.aggregates import KINDS
from tests.builders import aggregate, view_definition

LATE = Operation(">", Name("delay_min"), Constant(15))
NEW = Operation("==", Operation("else", Name("tail"), Constant("none"), "none"), Constant("N1"))


@pytest.mark.parametrize(
    ("declared", "text"),
    [
        (aggregate("n"), "count of departed over 1h"),
        (aggregate("n", "variance", "delay_min"), "variance of delay_min over 1h"),
        (aggregate("n", "last_k", "tail", k=3), "place 1 of the last 3 of tail over 1h"),
        (aggregate("n", "top_k", "tail", k=2), "place 1 of the top 2 of tail over 1h"),
        (aggregate("n", "quantile", "delay_min", q=0.9), "quantile 0.9 of delay_min over 1h"),
        (aggregate("n", "decayed_count", half_life_ms=5_400_000), "decayed count of departed, half life 90m, over 1h"),
        (aggregate("n", where=[LATE, NEW]), "where delay_min > 15 and (tail.else_('none')) == 'N1' over 1h"),
        (
            aggregate("n", "ratio", of=[aggregate("", "sum", "seats", ()), aggregate("", windows=(), where=[LATE])]),
            "sum of seats / count of departed where delay_min > 15 over 1h",
        ),
    ],
)
def test_a_statistic_is_said_in_words(declared: Aggregate, text: str) -> None:
    view = view_definition(aggregates=[declared])

    assert text in recipe(view, view.features[0])


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_has_words(kind: str) -> None:
    field = None if kind in {"count", "decayed_count"} else "seats"
    view = view_definition(aggregates=[aggregate("n", kind, field)])

    assert (field or "departed") in recipe(view, view.features[0])


def test_an_expression_is_called_one() -> None:
    view = view_definition()

    assert recipe(view, view.features[-1]) == "an expression of other features"
