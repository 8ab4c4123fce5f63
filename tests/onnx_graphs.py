"""Small graphs in ONNX format, written by hand: logistic regressions, from one matrix or from named inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_OPSETS = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]


def matrix_graph(width: int, *, columns: int = 1) -> bytes:
    """Return a graph from a matrix, missing values counted as 0, to ``columns`` numbers a row, the last the score."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, width])
    nodes = [
        helper.make_node("IsNaN", ["x"], ["missing"]),
        helper.make_node("Where", ["missing", "zero", "x"], ["filled"]),
        helper.make_node("MatMul", ["filled", "weights"], ["sum"]),
        helper.make_node("Sigmoid", ["sum"], ["score"]),
    ]
    weights = np.linspace(-0.05, 0.3, width * columns, dtype=np.float32).reshape(width, columns)
    return _model(nodes, [x], columns, {"zero": np.zeros(1, np.float32), "weights": weights})


def named_graph() -> bytes:
    """Return a graph of the inputs of `tests.contracts.model_contract`, each by its name."""
    inputs = [
        helper.make_tensor_value_info("delay", TensorProto.FLOAT, [None, 1]),
        helper.make_tensor_value_info("flights", TensorProto.DOUBLE, [None, 1]),
        helper.make_tensor_value_info("weekend", TensorProto.FLOAT, [None, 1]),
        helper.make_tensor_value_info("carrier", TensorProto.STRING, [None, 1]),
    ]
    nodes: list[Any] = [
        helper.make_node("Cast", ["flights"], ["flights32"], to=TensorProto.FLOAT),
        helper.make_node(
            "LabelEncoder",
            ["carrier"],
            ["code"],
            domain="ai.onnx.ml",
            keys_strings=["UA", "AA"],
            values_floats=[1.0, -1.0],
        ),
    ]
    for name in ("delay", "flights32", "weekend"):
        nodes.append(helper.make_node("IsNaN", [name], [f"{name}_missing"]))
        nodes.append(helper.make_node("Where", [f"{name}_missing", "zero", name], [f"{name}_filled"]))
    nodes += [
        helper.make_node("Sum", ["delay_filled", "flights32_filled", "weekend_filled", "code"], ["sum"]),
        helper.make_node("Sigmoid", ["sum"], ["score"]),
    ]
    return _model(nodes, inputs, 1, {"zero": np.zeros(1, np.float32)})


def _model(nodes: list[Any], inputs: list[Any], columns: int, constants: dict[str, Any]) -> bytes:
    score = helper.make_tensor_value_info("score", TensorProto.FLOAT, [None, columns])
    held = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "late", inputs, [score], initializer=held)
    model = helper.make_model(graph, opset_imports=_OPSETS, ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())
