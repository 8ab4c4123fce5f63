"""Tensors as a call brings them, to plain values: out of JSON, or out of the bytes behind it."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np

from streams.open_inference import MAX_REQUESTS, CallRefused, Expected
from streams.request_reply import Reason

_LENGTH = struct.Struct("<I")
_BINARY: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype("?"),
    **{f"FP{bits}": np.dtype(f"<f{bits // 8}") for bits in (16, 32, 64)},
    **{f"INT{bits}": np.dtype(f"<i{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": np.dtype(f"<u{bits // 8}") for bits in (8, 16, 32, 64)},
}


class Tensor(msgspec.Struct, frozen=True):
    """A tensor as JSON brings it; one in binary has no ``data``, but its size among the parameters."""

    name: str
    datatype: str
    shape: list[int]
    data: list[Any] | None = None
    parameters: dict[str, Any] = {}

    @property
    def binary_size(self) -> int | None:
        """How many of the bytes behind the JSON are this tensor's, None where it is in the JSON."""
        size = self.parameters.get("binary_data_size")
        return size if type(size) is int and size >= 0 else None


def values_of(tensor: Tensor, wanted: Expected, binary: bytes | None) -> list[Any]:
    """Return a tensor's values, one per request: the value itself, or a list of them for an embedding.

    Args:
        tensor: as it came.
        wanted: what it may be.
        binary: its own bytes, None where it is in the JSON.

    Raises:
        CallRefused: it is of another datatype or shape than wanted, or holds other than its shape says.

    Cost: 0.1 us a value out of JSON.
    """
    where = tensor.name
    if tensor.datatype not in wanted.datatypes:
        raise CallRefused(where, f"expected {_listed(wanted.datatypes)}, got {tensor.datatype[:16]!r}")
    requests = _requests(tensor, wanted)
    if binary is not None:
        flat = _unpacked(where, tensor.datatype, binary)
    elif tensor.data is not None:
        flat = list(_flat(where, tensor.data, len(tensor.shape)))
    else:
        raise CallRefused(where, "expected data, got none")
    count = math.prod(tensor.shape)
    if len(flat) != count:
        raise CallRefused(where, f"expected {count} values of shape {tensor.shape}, got {len(flat)}")
    length = wanted.length
    if length is None:
        return flat
    return [flat[place * length : (place + 1) * length] for place in range(requests)]


def _requests(tensor: Tensor, wanted: Expected) -> int:
    """Return the first dimension; the others have to be those of the value."""
    shape = tensor.shape
    rest = ([], [1]) if wanted.length is None else ([wanted.length],)
    if not shape or shape[1:] not in rest:
        last = "" if wanted.length is None else f", {wanted.length}"
        raise CallRefused(tensor.name, f"expected the shape [requests{last}], got {str(shape)[:40]}")
    if not 1 <= shape[0] <= MAX_REQUESTS:
        reason = Reason.INVALID if shape[0] < 1 else Reason.TOO_LARGE
        raise CallRefused(tensor.name, f"expected 1 to {MAX_REQUESTS:,} requests, got {shape[0]}", reason)
    return shape[0]


def _flat(where: str, data: Sequence[Any], depth: int) -> Iterator[Any]:
    """Yield the values of data that is flat or nested as the shape is."""
    for each in data:
        if not isinstance(each, list):
            yield each
        elif depth > 1:
            yield from _flat(where, each, depth - 1)
        else:
            raise CallRefused(where, "expected data as flat or as deep as the shape, got deeper lists")


def _unpacked(where: str, datatype: str, binary: bytes) -> list[Any]:
    if datatype == "BYTES":
        return list(_texts(where, binary))
    kind = _BINARY[datatype]
    if len(binary) % kind.itemsize:
        raise CallRefused(where, f"expected a multiple of {kind.itemsize} bytes, got {len(binary)}")
    flat: list[Any] = np.frombuffer(binary, kind).tolist()
    return flat


def _texts(where: str, binary: bytes) -> Iterator[str]:
    """Yield the texts of a binary tensor: each behind its length, 4 bytes, little-endian."""
    place = 0
    while place < len(binary):
        begin = place + _LENGTH.size
        end = begin + _LENGTH.unpack_from(binary, place)[0] if begin <= len(binary) else begin
        if end > len(binary):
            raise CallRefused(where, f"expected texts behind their lengths, got {len(binary)} bytes that end in one")
        try:
            yield binary[begin:end].decode()
        except UnicodeDecodeError:
            raise CallRefused(where, "expected UTF-8, got other bytes") from None
        place = end


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
