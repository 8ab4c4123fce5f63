"""``headrace parity``: what the command line means, and how people read what was found."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from batch.parity import Label, Mismatch, Parity, Skip
from headrace.command.parity import checked_sample, chosen_model, lines_of
from headrace.errors import UsageError
from tests.builders import app_definition, model_definition

APP = app_definition()


@pytest.mark.parametrize("sample", [0.0, -0.1, 1.01, math.nan])
def test_a_share_that_is_none_is_wrong_usage(sample: float) -> None:
    with pytest.raises(UsageError, match="--sample: expected a share above 0 and up to 1"):
        checked_sample(sample)


def test_the_only_model_need_not_be_named() -> None:
    assert chosen_model(APP, "") is chosen_model(APP, "late") is APP.models[0]


def test_of_several_models_one_has_to_be_named() -> None:
    app = replace(APP, models=(*APP.models, model_definition(name="early")))

    with pytest.raises(UsageError, match="expected one model, got late, early; name one"):
        chosen_model(app, "")
    assert chosen_model(app, "early").name == "early"


def test_what_was_found_is_said_in_a_line_and_examples() -> None:
    found = Parity(equal=3)
    found.skipped[Skip.NO_REQUEST] = 2
    found.note(Mismatch("r/0@1", Label.LATE, 5, {"origin": "JFK"}, {"traffic.flights_1h": (3, 4)}))
    found.note(Mismatch("r/0@2", Label.VERSION, 5, {"origin": "JFK"}, {}))

    assert lines_of(found) == [
        "4 probes: equal 3, unequal 1 (version 1, fault 0, late 1, duplicate 0), request forgotten 2",
        "version: r/0@2: served from another definition",
        "late: r/0@1: traffic.flights_1h: served 3, log 4",
    ]
    assert found.as_json()["examples"] == [
        {
            "request_id": "r/0@1",
            "label": "late",
            "at_ms": 5,
            "entities": {"origin": "JFK"},
            "differing": {"traffic.flights_1h": {"served": 3, "log": 4}},
        },
        {"request_id": "r/0@2", "label": "version", "at_ms": 5, "entities": {"origin": "JFK"}, "differing": {}},
    ]
