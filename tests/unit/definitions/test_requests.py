"""Whether a request carries what its model asks for."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from definitions.declared import Field, Input
from definitions.requests import RequestValues, check_inputs
from definitions.values import Value, ValueType
from tests.builders import airport_day, event_definition, model_definition, request_input, view_definition

MODEL = model_definition(
    views=[view_definition(), view_definition(name="tail_traffic", by=("origin", "tail"))],
    inputs=[request_input("distance"), request_input("carrier", ValueType.CATEGORY), request_input("n", ValueType.INT)],
)
ENTITIES = {"origin": "JFK", "tail": "N1"}
INPUTS: dict[str, Value] = {"distance": 3.5, "carrier": "UA", "n": 1}


def test_what_is_asked_for_is_taken_and_the_rest_ignored() -> None:
    checked = check_inputs(MODEL, {**ENTITIES, "dest": "LAX"}, {**INPUTS, "more": []})

    assert checked == RequestValues({"origin": "JFK", "tail": "N1"}, INPUTS)


def test_a_whole_number_serves_as_a_float_and_null_as_no_value() -> None:
    checked = check_inputs(MODEL, ENTITIES, {"distance": 3, "carrier": None, "n": None})

    assert isinstance(checked, RequestValues)
    assert checked.inputs == {"distance": 3.0, "carrier": None, "n": None}
    assert type(checked.inputs["distance"]) is float


@pytest.mark.parametrize("entities", [{"origin": "JFK"}, {"origin": "JFK", "tail": None}])
def test_an_entity_may_be_unknown_where_its_events_field_may_be_null(entities: Mapping[str, object]) -> None:
    checked = check_inputs(MODEL, entities, INPUTS)

    assert checked == RequestValues({"origin": "JFK", "tail": None}, INPUTS)


def test_an_entity_may_be_a_whole_number() -> None:
    fields = (Field("id", ValueType.CATEGORY), Field("card", ValueType.INT), Field("at", ValueType.TIME))
    event = event_definition(fields=fields, id="id", at="at", key=("id",))
    model = model_definition(views=[view_definition(on=event, by=("card",), aggregates=[])], inputs=[request_input()])

    assert isinstance(check_inputs(model, {"card": 7}, {"distance": 1.0}), RequestValues)
    assert check_inputs(model, {"card": "7"}, {"distance": 1.0}) == "$.entities.card: expected int, got '7'"
    assert check_inputs(model, {"card": True}, {"distance": 1.0}) == "$.entities.card: expected int, got True"


def test_an_entity_is_given_under_its_own_name_where_events_name_it_differently() -> None:
    model = model_definition(views=[airport_day()], inputs=[request_input()])

    assert model.entities == ("airport",)
    checked = check_inputs(model, {"airport": "JFK", "origin": "LGA"}, {"distance": 1.0})
    assert checked == RequestValues({"airport": "JFK"}, {"distance": 1.0})
    said = check_inputs(model, {"origin": "JFK", "dest": "JFK"}, {"distance": 1.0})
    assert said == "$.entities.airport: expected str, got nothing"


@pytest.mark.parametrize(
    ("entities", "inputs", "said"),
    [
        ({}, INPUTS, "$.entities.origin: expected str, got nothing"),
        ({"origin": None}, INPUTS, "$.entities.origin: expected str, got None"),
        ({"origin": 5}, INPUTS, "$.entities.origin: expected str, got 5"),
        ({"origin": "JFK", "tail": []}, INPUTS, "$.entities.tail: expected str, got []"),
        (ENTITIES, {}, "$.inputs.distance: expected a value, got nothing"),
        (ENTITIES, {**INPUTS, "distance": "far"}, "$.inputs.distance: expected float, got 'far'"),
        (ENTITIES, {**INPUTS, "distance": float("nan")}, "$.inputs.distance: expected a finite number, got nan"),
        (ENTITIES, {**INPUTS, "distance": True}, "$.inputs.distance: expected float, got True"),
        (ENTITIES, {**INPUTS, "carrier": 1}, "$.inputs.carrier: expected str, got 1"),
        (ENTITIES, {**INPUTS, "n": 1.5}, "$.inputs.n: expected int, got 1.5"),
        (ENTITIES, {**INPUTS, "n": [1]}, "$.inputs.n: expected int, got [1]"),
    ],
)
def test_what_is_wrong_is_said_with_its_path(
    entities: Mapping[str, object], inputs: Mapping[str, object], said: str
) -> None:
    assert check_inputs(MODEL, entities, inputs) == said


def test_an_embedding_is_finite_numbers_of_its_length_and_carried_values_are_asked_for_too() -> None:
    query = Input("query", ValueType.EMBEDDING, length=2)
    model = model_definition(inputs=[request_input("n", ValueType.INT)], carried=(query,))

    checked = check_inputs(model, ENTITIES, {"n": 1, "query": [1, 2.5]})

    assert isinstance(checked, RequestValues)
    assert checked.inputs == {"n": 1, "query": [1.0, 2.5]}
    assert [type(each) for each in checked.inputs["query"] or ()] == [float, float]  # type: ignore[union-attr]
    assert isinstance(check_inputs(model, ENTITIES, {"n": 1, "query": None}), RequestValues)
    for value, said in (
        ([1.0], "expected a list of 2 numbers, got 1"),
        ("x", "expected a list of 2 numbers, got 'x'"),
        ([1.0, None], "expected a number, got null"),
        ([1.0, True], "expected float, got True"),
        ([1.0, float("inf")], "expected a finite number, got inf"),
    ):
        assert check_inputs(model, ENTITIES, {"n": 1, "query": value}) == f"$.inputs.query: {said}"
    assert check_inputs(model, ENTITIES, {"n": 1}) == "$.inputs.query: expected a value, got nothing"
