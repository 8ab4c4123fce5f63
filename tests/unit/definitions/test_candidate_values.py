"""What a request says of candidates, by a definition's own check."""

from __future__ import annotations

from typing import Any

import pytest

from definitions.declared import GraphDefinition
from definitions.requests import CandidateValues, RequestValues, check_candidates, check_inputs
from tests.ranking import graph

GRAPH: GraphDefinition = graph()
IDS = ["JFK", "LGA", "EWR"]


def inputs(**changes: list[Any]) -> dict[str, list[Any]]:
    return {"price": [1.5, None, 2.0], "gate": ["a", None, "b"], "seats": [1, None, 3], **changes}


def test_what_fits_is_taken_as_it_is() -> None:
    assert check_candidates(GRAPH, IDS, inputs()) == CandidateValues(IDS, inputs())


def test_a_whole_number_is_taken_for_a_float() -> None:
    found = check_candidates(GRAPH, IDS, inputs(price=[1, None, 2.5]))

    assert isinstance(found, CandidateValues)
    assert [type(each) for each in found.inputs["price"]] == [float, type(None), float]


def test_none_are_as_good_as_many() -> None:
    assert check_candidates(GRAPH, [], {"price": [], "gate": [], "seats": []}) == CandidateValues(
        [], {"price": [], "gate": [], "seats": []}
    )


@pytest.mark.parametrize(
    ("ids", "changes", "text"),
    [
        (["JFK", "LGA", "JFK"], {}, "$.candidates[2]: expected each id once, got 'JFK' as at [0]"),
        (["JFK", 7, "EWR"], {}, "$.candidates[1]: expected str, got 7"),
        (["JFK", True, "EWR"], {}, "$.candidates[1]: expected str, got True"),
        (IDS, {"price": [1.0, "x", 2.0]}, "$.candidates[1].inputs.price: expected float, got 'x'"),
        (IDS, {"price": [1.0, float("inf"), 2.0]}, "$.candidates[1].inputs.price: expected a finite number, got inf"),
        (IDS, {"price": [1.0, 1.0, float("nan")]}, "$.candidates[2].inputs.price: expected a finite number, got nan"),
        (IDS, {"price": [float("nan"), 1.0, 2.0]}, "$.candidates[0].inputs.price: expected a finite number, got nan"),
        (IDS, {"seats": [1, 2, 10**39]}, "$.candidates[2].inputs.seats: expected a finite number"),
        (IDS, {"seats": [1, 2.0, 3]}, "$.candidates[1].inputs.seats: expected int, got 2.0"),
        (IDS, {"gate": ["a", 1, "b"]}, "$.candidates[1].inputs.gate: expected str, got 1"),
    ],
)
def test_what_does_not_fit_is_named_by_its_place(ids: list[Any], changes: dict[str, list[Any]], text: str) -> None:
    found = check_candidates(GRAPH, ids, inputs(**changes))

    assert isinstance(found, str)
    assert found.startswith(text)


def test_the_request_itself_gives_every_entity_but_the_candidates() -> None:
    values = {"budget": 1, "hour": 2, "taste": [1, 2.5]}

    assert check_inputs(GRAPH, {"tail": "N1", "origin": 5}, values) == RequestValues(
        {"tail": "N1"}, {"budget": 1.0, "hour": 2, "taste": [1.0, 2.5]}
    )
