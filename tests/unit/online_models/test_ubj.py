"""What XGBoost saves as UBJ is what it saves as JSON, and bytes that end too early are told."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from online_models.learners import ubj
from tests.boosters import Shape, trained


def plain(value: Any) -> Any:
    """Return a decoded value as JSON has it."""
    if isinstance(value, ubj.Packed):
        return ubj.numbers([value]).tolist()
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list) else value


def float32(value: Any) -> Any:
    if isinstance(value, float):
        return float(np.float32(value))
    if isinstance(value, dict):
        return {name: float32(each) for name, each in value.items()}
    return [float32(each) for each in value] if isinstance(value, list) else value


def test_a_booster_is_the_same_as_ubj_and_as_json() -> None:
    booster = trained(Shape(rounds=20, categories=2))

    decoded = plain(ubj.decoded(bytes(booster.save_raw("ubj"))))

    assert decoded == float32(json.loads(booster.save_raw("json")))


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"Z", None),
        (b"T", True),
        (b"F", False),
        (b"i\xff", -1),
        (b"U\xff", 255),
        (b"I\x01\x00", 256),
        (b"l\x00\x00\x00\x02", 2),
        (b"L" + bytes(7) + b"\x03", 3),
        (b"d\x3f\x80\x00\x00", 1.0),
        (b"D\x3f\xf0" + bytes(6), 1.0),
        (b"SU\x02ab", "ab"),
        (b"[TF]", [True, False]),
        (b"[#U\x02i\x01Z", [1, None]),
        (b"[$I#U\x02\x00\x01\x00\x02", [1, 2]),
        (b"{U\x01a[]U\x01b{}}", {"a": [], "b": {}}),
    ],
)
def test_each_kind_of_value_is_read(data: bytes, value: object) -> None:
    assert plain(ubj.decoded(data)) == value


def test_numbers_of_several_parts_lie_behind_each_other() -> None:
    parts = [ubj.decoded(b"[$l#U\x01\x00\x00\x00\x01"), [], ubj.decoded(b"[$l#U\x01\x00\x00\x00\x02")]

    assert ubj.numbers(parts).tolist() == [1, 2]
    assert [len(each) for each in parts] == [1, 0, 1]
    with pytest.raises(ValueError, match="numbers of one type"):
        ubj.numbers([*parts, ubj.decoded(b"[$I#U\x00")])
    with pytest.raises(ValueError, match="numbers of one type"):
        ubj.numbers([*parts, [3]])


def test_bytes_that_end_too_early_are_no_value() -> None:
    data = bytes(trained(Shape(rounds=1)).save_raw("ubj"))

    for end in [*range(0, len(data) - 1, 97), len(data) - 1]:
        with pytest.raises(ValueError, match="expected UBJ"):
            ubj.decoded(data[:end])


@pytest.mark.parametrize("data", [b"q", b"[$l#i\xff", b"Si\xff", b"[" * 100_000, b"[#L" + b"\x7f" * 8])
def test_bytes_of_another_kind_are_no_value(data: bytes) -> None:
    with pytest.raises(ValueError, match="expected UBJ"):
        ubj.decoded(data)
