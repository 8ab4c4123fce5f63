"""Whether what a request carries is what is asked for: entities, inputs and candidates, by name and type."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import NoneType
from typing import Any

from definitions.declared import Field, GraphDefinition, Input, ModelDefinition
from definitions.values import LARGEST_NUMBER, PLAIN_TYPES, Value, ValueType, misfit, shown

_MISSING = object()


@dataclass(frozen=True, slots=True)
class RequestValues:
    """What a request says, complete: every entity and every input of the model, None where it says there is none."""

    entities: Mapping[str, str | int | None]
    inputs: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class CandidateValues:
    """What a request says of its candidates, complete and in its order."""

    ids: Sequence[str | int]
    """Each once."""
    inputs: Mapping[str, Sequence[Value]] = field(default_factory=dict)
    """Each input of the candidates, one value per candidate."""
    label_keys: Sequence[str | int | None] = ()
    """What the label of each will come with; empty where that is of no use."""


class InputCheck:
    """What a request has to carry of a model's, or a graph's, entities and inputs, made ready once."""

    def __init__(self, model: ModelDefinition | GraphDefinition) -> None:
        named: dict[str, Field] = {}
        for each in _entities(model):
            named.setdefault(each.name, each)
        self._entities = tuple((each.name, int if each.type is ValueType.INT else str, each) for each in named.values())
        self._inputs = tuple((each.name, each.type, each) for each in model.requests)

    def __call__(self, entities: Mapping[str, object], inputs: Mapping[str, object]) -> RequestValues | str:
        """Return the values that are asked for, or what is wrong: `check_inputs`. Cost: 0.2 us a value."""
        given_entities: dict[str, str | int | None] = {}
        for name, right, named in self._entities:
            entity = entities.get(name, _MISSING)
            if type(entity) is right:
                given_entities[name] = entity
                continue
            wrong = _wrong_entity(named, entity)
            if wrong:
                return f"$.entities.{name}: {wrong}"
            given_entities[name] = None
        given_inputs: dict[str, Value] = {}
        for name, kind, asked in self._inputs:
            value = inputs.get(name, _MISSING)
            wrong = misfit(kind, value, asked.length)
            if wrong:
                return f"$.inputs.{name}: {wrong if value is not _MISSING else 'expected a value, got nothing'}"
            given_inputs[name] = _plain(kind, value)
        return RequestValues(given_entities, given_inputs)


def check_inputs(
    model: ModelDefinition | GraphDefinition, entities: Mapping[str, object], inputs: Mapping[str, object]
) -> RequestValues | str:
    """Return the values that are asked for, or what is wrong: ``$.inputs.distance: expected float, got 'x'``.

    An entity may be null or left out where the field of an event that names it may be null. An input may be null, but
    not left out. What the model does not ask for is ignored. A whole number is taken for a float.

    Cost: 5 µs for one view and two inputs; whoever checks many keeps an `InputCheck`.
    """
    return InputCheck(model)(entities, inputs)


def check_candidates(
    graph: GraphDefinition, ids: Sequence[str | int], inputs: Mapping[str, Sequence[object]]
) -> CandidateValues | str:
    """Return the candidates that a graph is to rank, or what is wrong: ``$.candidates[3]: expected str, got 7``.

    Each id may come once. An input may be null.

    Args:
        graph: what is asked.
        ids: the candidates' ids, in the request's order.
        inputs: every input that the graph declares, one value per candidate.

    Cost: 0.1 us a candidate, and as much for each input.
    """
    kind = graph.candidates.entity.type
    right = int if kind is ValueType.INT else str
    if set(map(type, ids)) - {right}:
        place = next(place for place, each in enumerate(ids) if type(each) is not right)
        return f"$.candidates[{place}]: expected {kind.written}, got {shown(ids[place])}"
    if len(set(ids)) < len(ids):
        return _twice(ids)
    columns: dict[str, Sequence[Value]] = {}
    for each in graph.candidates.inputs:
        values = inputs[each.name]
        if _all_fit(each, values):
            columns[each.name] = values  # type: ignore[assignment]  # they fit their type
            continue
        for place, value in enumerate(values):
            wrong = misfit(each.type, value, each.length)
            if wrong:
                return f"$.candidates[{place}].inputs.{each.name}: {wrong}"
        columns[each.name] = [_plain(each.type, value) for value in values]
    return CandidateValues(ids, columns)


def _entities(model: ModelDefinition | GraphDefinition) -> Iterator[Field]:
    """Yield what names the entities that the request itself gives."""
    candidate = model.candidates.entity.name if isinstance(model, GraphDefinition) else None
    for view in model.views:
        yield from (each for each in view.entity if each.name != candidate)


def _twice(ids: Sequence[str | int]) -> str:
    first: dict[str | int, int] = {}
    for place, each in enumerate(ids):
        if first.setdefault(each, place) != place:
            return f"$.candidates[{place}]: expected each id once, got {shown(each)} as at [{first[each]}]"
    raise AssertionError(ids)


def _all_fit(each: Input, values: Sequence[Any]) -> bool:
    """Return whether all values are right as they are, in the common case: else each has to be looked at."""
    kinds = set(map(type, values))
    present = [value for value in values if value is not None] if NoneType in kinds else values
    if kinds - {NoneType, *PLAIN_TYPES[each.type]} or (each.type is ValueType.FLOAT and int in kinds):
        return False
    if not present or each.type in (ValueType.CATEGORY, ValueType.BOOL):
        return True
    if each.type is ValueType.EMBEDDING or not -LARGEST_NUMBER <= min(present) <= max(present) <= LARGEST_NUMBER:
        return False
    total = sum(present)
    return bool(total == total)  # noqa: PLR0124  # a NaN among them hides from min and max, but makes the sum one


def _wrong_entity(named: Field, entity: object) -> str:
    """Return what is wrong with an entity that is not of its type: nothing where there may be none."""
    absent = entity is None or entity is _MISSING
    if absent and named.nullable:
        return ""
    return f"expected {named.type.written}, got {_got(entity)}"


def _plain(kind: ValueType, value: object) -> Value:
    """Return a value that fits its type as the model takes it."""
    if kind is ValueType.FLOAT and type(value) is int:
        return float(value)
    if isinstance(value, list):
        return [float(each) for each in value]
    return value  # type: ignore[return-value]  # it fits its type


def _got(value: object) -> str:
    return "nothing" if value is _MISSING else shown(value)
