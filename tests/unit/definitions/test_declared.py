"""Definitions found by name."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from definitions.declared import AppDefinition
from definitions.errors import NotDeclared
from tests.builders import app_definition, view_definition

APP = app_definition(views=(view_definition(version=1), view_definition(version=2)))


def test_definitions_are_found_by_name() -> None:
    assert APP.event("arrived") is APP.events[1]
    assert APP.model("late") is APP.models[0]


def test_a_view_is_found_in_its_newest_version_or_in_the_one_asked_for() -> None:
    assert APP.view("origin_traffic").version == 2
    assert APP.view("origin_traffic", 1).version == 1


@pytest.mark.parametrize(
    ("find", "said"),
    [
        (
            lambda app: app.model("lat"),
            "cannot find model: app flights: expected one of late, got 'lat'; did you mean 'late'?",
        ),
        (
            lambda app: app.event("arived"),
            "cannot find event: app flights: expected one of departed, arrived, got 'arived'; did you mean 'arrived'?",
        ),
        (lambda app: app.view("xyz"), "cannot find view: app flights: expected one of origin_traffic, got 'xyz'"),
        (
            lambda app: app.view("origin_traffic", 3),
            "cannot find version of view origin_traffic: app flights: expected one of 1, 2, got '3'",
        ),
    ],
)
def test_a_name_that_is_not_declared_is_told_with_those_that_are(
    find: Callable[[AppDefinition], object], said: str
) -> None:
    with pytest.raises(NotDeclared) as refused:
        find(APP)

    assert str(refused.value) == said


def test_an_app_without_models_says_so() -> None:
    with pytest.raises(NotDeclared, match="expected none, for there are none, got 'late'"):
        app_definition(models=()).model("late")
