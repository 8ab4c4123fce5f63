"""What authors' types say: ``str | None``, ``Annotated[float, hr.Unit("km")]``, or a list of a declared length."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from definitions.combining import article, is_number
from definitions.declared import Field
from definitions.declaring import Declaring
from definitions.units import UNKNOWN, canonical_unit
from definitions.values import ValueType, shown

VALUE_TYPES: Mapping[object, ValueType] = {
    int: ValueType.INT,
    float: ValueType.FLOAT,
    bool: ValueType.BOOL,
    str: ValueType.CATEGORY,
    datetime: ValueType.TIME,
    list[float]: ValueType.EMBEDDING,
}
ANNOTATIONS = "int, float, bool, str or datetime, each with or without | None, or Annotated[list[float], hr.Length(8)]"
LONGEST_EMBEDDING = 4_096


@dataclass(frozen=True, slots=True)
class Unit:
    """The unit of measure of a number, as ``min``, ``km/h`` or ``1/s``, in an annotation.

    Sums, differences and comparisons of two known units need the same one; units are checked, never converted.

    Example:
        >>> from typing import Annotated
        >>> Annotated[float, Unit("min")]
        typing.Annotated[float, Unit(text='min')]
    """

    text: str


@dataclass(frozen=True, slots=True)
class Length:
    """How many numbers an embedding has, in an annotation. A record with more or fewer is a dead letter."""

    numbers: int


def annotated_field(declaring: Declaring, name: str, annotation: object) -> Field:
    """Return the field that an annotation declares, or refuse it."""
    kind, nullable, marks = _read(annotation)
    if kind is None:
        raise declaring.refusal(f"field {name} to be {ANNOTATIONS}", getattr(annotation, "__name__", repr(annotation)))
    units = [each.text for each in marks if isinstance(each, Unit)]
    lengths = [each.numbers for each in marks if isinstance(each, Length)]
    if len(units) > 1 or len(lengths) > 1:
        raise declaring.refusal(f"field {name} with one hr.Unit and one hr.Length at most", shown(marks))
    return Field(
        name,
        kind,
        nullable,
        declared_length(declaring, name, kind, lengths[0] if lengths else None),
        declared_unit(declaring, name, kind, units[0] if units else UNKNOWN),
    )


def declared_length(declaring: Declaring, name: str, kind: ValueType, length: object) -> int | None:
    """Return the length of an embedding, None for any other type, or refuse it."""
    if kind is not ValueType.EMBEDDING:
        if length is not None:
            raise declaring.refusal(f"a length of list[float] only, not of {name}", article(kind))
        return None
    if type(length) is not int or not 1 <= length <= LONGEST_EMBEDDING:
        mend = f"write {name}: Annotated[list[float], hr.Length(8)], or hr.request(…, list[float], length=8)"
        raise declaring.refusal(f"{name} to have a length of 1 to {LONGEST_EMBEDDING}", shown(length), mend)
    return length


def declared_unit(declaring: Declaring, name: str, kind: ValueType, text: object) -> str:
    """Return the unit of a number in canonical form, empty where there is none, or refuse it."""
    if text == UNKNOWN:
        return UNKNOWN
    if not is_number(kind):
        raise declaring.refusal(f"a unit of a number only, not of {name}", article(kind))
    unit = canonical_unit(text) if isinstance(text, str) else None
    if unit is None:
        raise declaring.refusal(f"{name} to have a unit such as min, km/h or m/s^2", shown(text))
    return unit


def _read(annotation: object) -> tuple[ValueType | None, bool, tuple[object, ...]]:
    """Return the type of an annotation, whether None is one of its values, and what `Annotated` adds to it."""
    if typing.get_origin(annotation) is typing.Annotated:
        inner, *marks = typing.get_args(annotation)
        kind, nullable, others = _read(inner)
        return kind, nullable, (*others, *marks)
    if typing.get_origin(annotation) in {types.UnionType, typing.Union}:
        arguments = typing.get_args(annotation)
        others_than_none = [each for each in arguments if each is not type(None)]
        if len(others_than_none) != 1 or len(arguments) < 2:  # noqa: PLR2004  # a type and None
            return None, False, ()
        kind, _, marks_of_it = _read(others_than_none[0])
        return kind, True, marks_of_it
    try:
        return VALUE_TYPES.get(annotation), False, ()
    except TypeError:  # an annotation that is no type at all, and cannot be looked up
        return None, False, ()
