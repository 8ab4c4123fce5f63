"""The messages of the Open Inference Protocol v2 over gRPC, as its ``open_inference_grpc.proto`` numbers them.

Made of their descriptors when they are first needed, in a pool of their own: only the fields that are sent or read, the
others are left out as the wire format allows. The Protobuf library is an optional extra.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from online_models.errors import LearnerUnusable

PACKAGE = "inference"
METHOD = f"/{PACKAGE}.GRPCInferenceService/ModelInfer"

_TYPES = {
    "double": 1, "float": 2, "int64": 3, "uint64": 4, "int32": 5, "bool": 8, "string": 9, "bytes": 12, "uint32": 13,
}  # fmt: skip
"""Scalar types by the numbers that descriptors give them; any other name is a message."""
_MESSAGE, _OPTIONAL, _REPEATED = 11, 1, 3

_SCHEMA: Mapping[str, Sequence[tuple[str, int, str]]] = {
    "InferTensorContents": [
        ("bool_contents", 1, "bool*"),
        ("int_contents", 2, "int32*"),
        ("int64_contents", 3, "int64*"),
        ("uint_contents", 4, "uint32*"),
        ("uint64_contents", 5, "uint64*"),
        ("fp32_contents", 6, "float*"),
        ("fp64_contents", 7, "double*"),
        ("bytes_contents", 8, "bytes*"),
    ],
    "InferTensor": [
        ("name", 1, "string"),
        ("datatype", 2, "string"),
        ("shape", 3, "int64*"),
        ("contents", 5, "InferTensorContents"),
    ],
    "InferRequestedOutputTensor": [("name", 1, "string")],
    "ModelInferRequest": [
        ("model_name", 1, "string"),
        ("model_version", 2, "string"),
        ("inputs", 5, "InferTensor*"),
        ("outputs", 6, "InferRequestedOutputTensor*"),
    ],
    "ModelInferResponse": [("outputs", 5, "InferTensor*"), ("raw_output_contents", 6, "bytes*")],
}
"""Message to its fields: name, number, type, a star behind what is repeated."""

CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""Datatype to the field of its values."""


@lru_cache
def messages() -> Mapping[str, Any]:
    """Return the message classes by name.

    Raises:
        LearnerUnusable: the Protobuf library is not installed.
    """
    try:
        from google.protobuf import descriptor_pb2, descriptor_pool, message_factory  # noqa: PLC0415  # optional
    except ImportError as error:
        text = f"cannot ask by gRPC: {error}; install it with `pip install 'headrace[grpc]'`"
        raise LearnerUnusable(text) from error
    file = descriptor_pb2.FileDescriptorProto(name="open_inference_grpc.proto", package=PACKAGE, syntax="proto3")
    for name, fields in _SCHEMA.items():
        message = file.message_type.add(name=name)
        for field, number, kind in fields:
            message.field.add(name=field, number=number, **_kind(kind))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}")) for name in _SCHEMA}


def _kind(written: str) -> dict[str, Any]:
    name = written.removesuffix("*")
    label = _REPEATED if name != written else _OPTIONAL
    if name in _TYPES:
        return {"type": _TYPES[name], "label": label}
    return {"type": _MESSAGE, "type_name": f".{PACKAGE}.{name}", "label": label}
