"""Whether what a request carries is what the model asks for: its entities and its inputs, by name and type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from definitions.declared import Field, ModelDefinition
from definitions.values import Value, ValueType, misfit, shown

_MISSING = object()


@dataclass(frozen=True, slots=True)
class RequestValues:
    """What a request says, complete: every entity and every input of the model, None where it says there is none."""

    entities: Mapping[str, str | int | None]
    inputs: Mapping[str, Value]


def check_inputs(
    model: ModelDefinition, entities: Mapping[str, object], inputs: Mapping[str, object]
) -> RequestValues | str:
    """Return the values that the model asks for, or what is wrong: ``$.inputs.distance: expected float, got 'x'``.

    An entity may be null or left out where the field of an event that names it may be null. An input may be null, but
    not left out. What the model does not ask for is ignored. A whole number is taken for a float.

    Cost: 5 µs for one view and two inputs.
    """
    given_entities: dict[str, str | int | None] = {}
    for view in model.views:
        for field in view.entity:
            if field.name in given_entities:
                continue
            entity = entities.get(field.name, _MISSING)
            wrong = _wrong_entity(field, entity)
            if wrong:
                return f"$.entities.{field.name}: {wrong}"
            given_entities[field.name] = entity if isinstance(entity, str | int) else None
    given_inputs: dict[str, Value] = {}
    for each in model.requests:
        value = inputs.get(each.name, _MISSING)
        wrong = misfit(each.type, value, each.length)
        if wrong:
            return f"$.inputs.{each.name}: {wrong if value is not _MISSING else 'expected a value, got nothing'}"
        given_inputs[each.name] = _plain(each.type, value)
    return RequestValues(given_entities, given_inputs)


def _wrong_entity(field: Field, entity: object) -> str:
    """Return what is wrong with an entity, nothing if it is right."""
    absent = entity is None or entity is _MISSING
    right = field.nullable if absent else type(entity) is (int if field.type is ValueType.INT else str)
    if right:
        return ""
    return f"expected {field.type.written}, got {_got(entity)}"


def _plain(kind: ValueType, value: object) -> Value:
    if kind is ValueType.FLOAT and type(value) is int:
        return float(value)
    if isinstance(value, list):
        return [float(each) for each in value]
    return value  # type: ignore[return-value]  # it fits its type


def _got(value: object) -> str:
    return "nothing" if value is _MISSING else shown(value)
