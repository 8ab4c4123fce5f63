"""What the command line may say to ``headrace features get``."""

from __future__ import annotations

import pytest

from definitions.declared import Feature
from definitions.values import Value, ValueType
from headrace.command.features import read_entity, read_time, value_line
from headrace.errors import UsageError
from tests.builders import airport_day, view_definition

ONE, TWO = view_definition(), view_definition(by=["origin", "seats"])


def test_an_entity_of_one_part_is_the_whole_text() -> None:
    assert read_entity(ONE, "a,b") == {"origin": "a,b"}


def test_an_entity_that_events_name_differently_has_its_own_name() -> None:
    assert read_entity(airport_day(), "JFK") == {"airport": "JFK"}


@pytest.mark.parametrize("text", ["JFK,7", '["JFK",7]'])
def test_an_entity_of_several_parts_has_commas_or_is_json(text: str) -> None:
    assert read_entity(TWO, text) == {"origin": "JFK", "seats": 7}


@pytest.mark.parametrize("text", ["JFK", "JFK,7,8", "JFK,many", "[1"])
def test_an_entity_that_is_not_one_is_wrong_usage(text: str) -> None:
    with pytest.raises(UsageError, match="cannot read entity"):
        read_entity(TWO, text)


def test_a_time_is_epoch_ms_or_has_an_offset() -> None:
    assert read_time("1356998400000") == read_time("2013-01-01T00:00:00Z") == read_time("2012-12-31T19:00:00-05:00")


@pytest.mark.parametrize("text", ["2013-01-01T00:00:00", "yesterday", ""])
def test_any_other_time_is_wrong_usage(text: str) -> None:
    with pytest.raises(UsageError, match="--as-of"):
        read_time(text)


@pytest.mark.parametrize(
    ("feature", "value", "said"),
    [
        (Feature("x", ValueType.FLOAT, unit="min"), 4.5, "4.5 min"),
        (Feature("x", ValueType.FLOAT, unit="min"), None, "None"),
        (Feature("x", ValueType.CATEGORY), "UA", "UA"),
        (Feature("x", ValueType.TIME), 1_356_998_400_000, "2013-01-01T00:00:00.000Z"),
        (Feature("x", ValueType.EMBEDDING, length=9), [0.5] * 9, "[0.5, 0.5, 0.5, 0.5, 0.5, 0.5, ...]"),
    ],
)
def test_a_value_is_shown_as_people_read_it(feature: Feature, value: Value, said: str) -> None:
    assert value_line(feature, value) == said
