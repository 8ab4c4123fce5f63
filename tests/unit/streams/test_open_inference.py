"""Calls of the Open Inference Protocol: what tensors mean, and what is refused before anything is asked."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from definitions.declared import Field, Input
from definitions.requests import RequestValues, check_inputs
from definitions.values import ValueType
from streams.messages import ScoreReply, ScoreRequest, Version
from streams.open_inference import MAX_REQUESTS, OUTPUTS, CallRefused, expected_tensors, metadata
from streams.open_inference.answering import CODES, answered
from streams.open_inference.asking import Call, CallReader
from streams.request_reply import Reason
from tests.builders import event_definition, model_definition, request_input, view_definition

GATE = event_definition(fields=(*event_definition().fields, Field("gate", ValueType.INT)))
MODEL = model_definition(
    views=[view_definition(), view_definition(on=GATE, by=("gate", "tail"), name="gate_traffic")],
    inputs=[
        request_input("distance"),
        request_input("stops", ValueType.INT),
        request_input("holiday", ValueType.BOOL),
        request_input("carrier", ValueType.CATEGORY),
        Input("taste", ValueType.EMBEDDING, length=3),
    ],
)
ROWS = 2
TENSORS: dict[str, tuple[str, list[int], list[Any]]] = {
    "entities.origin": ("BYTES", [2], ["JFK", "EWR"]),
    "entities.gate": ("INT64", [2], [7, 8]),
    "entities.tail": ("BYTES", [2], ["N1", None]),
    "inputs.distance": ("FP64", [2], [2475.0, None]),
    "inputs.stops": ("INT64", [2, 1], [0, 1]),
    "inputs.holiday": ("BOOL", [2], [True, False]),
    "inputs.carrier": ("BYTES", [2], ["UA", "AA"]),
    "inputs.taste": ("FP64", [2, 3], [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]),
    "label_key": ("BYTES", [2], ["F1", "F2"]),
    "at": ("INT64", [2], [5, 6]),
}
ASKED = [
    ScoreRequest(
        model="late",
        entities={"origin": "JFK", "gate": 7, "tail": "N1"},
        inputs={"distance": 2475.0, "stops": 0, "holiday": True, "carrier": "UA", "taste": [0.1, 0.2, 0.3]},
        label_key="F1",
        at=5,
    ),
    ScoreRequest(
        model="late",
        entities={"origin": "EWR", "gate": 8, "tail": None},
        inputs={"distance": None, "stops": 1, "holiday": False, "carrier": "AA", "taste": [0.4, 0.5, 0.6]},
        label_key="F2",
        at=6,
    ),
]
DTYPES = {"FP64": "<f8", "INT64": "<i8", "BOOL": "?"}


def body(*, changed: dict[str, Any] | None = None, **more: Any) -> bytes:
    """Return a call of the tensors above; a change of None leaves a tensor out."""
    given = {**TENSORS, **(changed or {})}
    inputs = [
        {"name": name, "datatype": each[0], "shape": each[1], "data": each[2]} for name, each in given.items() if each
    ]
    return json.dumps({"inputs": inputs, **more}).encode()


def read(call: bytes, json_size: int | None = None) -> Call:
    return CallReader(MODEL).read(call, json_size)


def refusal(call: bytes, json_size: int | None = None) -> CallRefused:
    with pytest.raises(CallRefused) as refused:
        read(call, json_size)
    return refused.value


def test_tensors_are_the_bodies_of_requests() -> None:
    call = read(body(id="c1", parameters={"timeout_ms": 250}))

    assert (call.id, call.timeout_ms, call.outputs) == ("c1", 250, frozenset(OUTPUTS))
    assert call.requests == ASKED
    assert isinstance(check_inputs(MODEL, ASKED[0].entities, ASKED[0].inputs), RequestValues)


def test_what_a_call_leaves_open_is_the_models() -> None:
    call = read(body(changed={"at": None}))

    assert call.timeout_ms == MODEL.timeout_ms
    assert [each.at for each in call.requests] == [None, None]


def test_data_may_be_nested_as_its_shape_is() -> None:
    taste = ("FP64", [2, 3], [[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]])

    assert read(body(changed={"inputs.taste": taste, "inputs.stops": ("INT64", [2, 1], [[0], [1]])})).requests == ASKED


def test_binary_tensors_mean_the_same() -> None:
    values = {**TENSORS, "inputs.distance": ("FP64", [2], [2475.0, 1.5])}
    behind, inputs = b"", []
    for name, (datatype, shape, data) in values.items():
        if name == "entities.tail":  # null, which only JSON can say
            inputs.append({"name": name, "datatype": datatype, "shape": shape, "data": data})
            continue
        if datatype == "BYTES":
            part = b"".join(len(each).to_bytes(4, "little") + each.encode() for each in data)
        else:
            part = np.array(data, DTYPES[datatype]).tobytes()
        parameters = {"binary_data_size": len(part)}
        inputs.append({"name": name, "datatype": datatype, "shape": shape, "parameters": parameters})
        behind += part
    head = json.dumps({"inputs": inputs}).encode()

    first, second = read(head + behind, len(head)).requests
    assert first == ASKED[0]
    assert second.inputs == {**ASKED[1].inputs, "distance": 1.5}
    assert "bytes behind the JSON" in str(refusal(head + behind[:-1], len(head)))
    assert "bytes behind the JSON" in str(refusal(head + behind + b"x", len(head)))


@pytest.mark.parametrize(
    ("part", "why"),
    [
        (b"\5\0\0\0JFK", "expected texts behind their lengths"),
        (b"\5\0", "expected texts behind their lengths"),
        (b"\1\0\0\0\xff", "expected UTF-8"),
        (b"\3\0\0\0JFK", "expected 2 values"),
    ],
)
def test_binary_text_that_is_none_is_refused(part: bytes, why: str) -> None:
    tensor = {
        "name": "entities.origin", "datatype": "BYTES", "shape": [2], "parameters": {"binary_data_size": len(part)}
    }  # fmt: skip
    head = json.dumps({"inputs": [tensor]}).encode()

    assert str(refusal(head + part, len(head))).startswith(f"cannot read call: entities.origin: {why}")


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"inputs.distanse": ("FP64", [2], [1, 2])}, "did you mean 'inputs.distance'?"),
        ({"inputs.distance": ("BYTES", [2], ["a", "b"])}, "inputs.distance: expected FP64"),
        ({"entities.gate": ("FP64", [2], [1.0, 2.0])}, "entities.gate: expected INT64"),
        ({"inputs.distance": ("FP64", [3], [1.0, 2.0, 3.0])}, "expected tensors of as many requests each"),
        ({"inputs.distance": ("FP64", [2], [1.0])}, "expected 2 values of shape [2], got 1"),
        ({"inputs.distance": ("FP64", [2, 2], [1.0] * 4)}, "expected the shape [requests], got [2, 2]"),
        ({"inputs.distance": ("FP64", [], [1.0])}, "expected the shape [requests], got []"),
        ({"inputs.distance": ("FP64", [0], [])}, "expected 1 to 1,024 requests, got 0"),
        ({"inputs.distance": ("FP64", [-1], [])}, "expected 1 to 1,024 requests, got -1"),
        ({"inputs.taste": ("FP64", [2, 4], [1.0] * 8)}, "expected the shape [requests, 3], got [2, 4]"),
        ({"inputs.distance": ("FP64", [2], [[1.0], [2.0]])}, "got deeper lists"),
        ({"inputs.distance": ("FP64", [2], None)}, "inputs.distance: expected data, got none"),
    ],
)
def test_what_can_be_no_tensor_of_the_model_is_refused(changed: dict[str, Any], text: str) -> None:
    refused = refusal(body(changed=changed))

    assert text in str(refused)
    assert refused.reason == Reason.INVALID


def test_more_requests_than_one_call_may_ask_are_too_large() -> None:
    many = ("FP64", [MAX_REQUESTS + 1], [1.0] * (MAX_REQUESTS + 1))

    assert refusal(body(changed={"inputs.distance": many})).reason == Reason.TOO_LARGE


@pytest.mark.parametrize("timeout_ms", [0, 60_001, "1s", 1.5, True, None])
def test_a_budget_that_is_none_is_refused(timeout_ms: object) -> None:
    assert "parameters.timeout_ms" in str(refusal(body(parameters={"timeout_ms": timeout_ms})))


def test_an_output_that_there_is_not_is_refused() -> None:
    assert "'scores'" in str(refusal(body(outputs=[{"name": "scores"}])))


def test_a_tensor_twice_is_refused() -> None:
    call = json.loads(body())

    assert "got it twice" in str(refusal(json.dumps({"inputs": call["inputs"] * 2}).encode()))


def test_a_label_key_is_needed_where_there_is_a_label() -> None:
    unlabelled = replace(MODEL, label=None)

    assert [each.is_optional for each in expected_tensors(MODEL) if each.name == "label_key"] == [False]
    assert [each.is_optional for each in expected_tensors(unlabelled) if each.name == "label_key"] == [True]
    described: Any = metadata(MODEL)["inputs"]
    assert {"name": "inputs.taste", "datatype": "FP64", "shape": [-1, 3]} in described


def test_every_reason_has_a_code() -> None:
    assert set(CODES) == set(Reason)
    assert all(code >= 400 for code in CODES.values())


def test_an_answer_says_all_that_a_reply_does() -> None:
    reply = ScoreReply(
        request_id="demo.late.requests/1@7",
        status="degraded",
        scores={"online": 0.25},
        versions=[Version(learner="online", digest="ab", role="shadow")],
        features_as_of=9,
        degraded=["origin_traffic", "offline"],
        reason="model_unavailable",
    )
    answer = answered(MODEL, Call("c1", ASKED[:1], 100, frozenset(OUTPUTS)), [reply])

    tensors: Any = answer.body["outputs"]
    assert answer.code == 200
    assert {each["name"]: each["data"] for each in tensors} == {
        "score": [0.25],
        "status": ["degraded"],
        "reason": ["model_unavailable"],
        "message": [""],
        "learner": ["online"],
        "trained_version": ["ab"],
        "degraded": ["origin_traffic,offline"],
        "features_as_of": [9],
        "request_id": ["demo.late.requests/1@7"],
    }
    assert {each["name"]: each["datatype"] for each in tensors} == OUTPUTS
