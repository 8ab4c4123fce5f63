"""The identity of definitions: hashes of what decides state, and nothing else.

A view's digest covers the topic, the fields used with their types, id, at, key and disorder of its event, ``by``, and
per aggregate its kind, field, windows and grid, together with the versions of the engine and of the cells' bytes.
Owner, text, tags, names of aggregates and expressions are outside it: changing those needs no new version.
A model's digest covers its vector, its label and its learners; its route is outside, because a route moves by itself.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from definitions.declared import Aggregate, EventDefinition, LabelDefinition, ModelDefinition, ViewDefinition
from definitions.expressions import Constant, Expression, Name

ENGINE_SEMANTICS_VERSION = 1
"""Raised when the engine gives other state for the same events and definition."""
CELL_CODEC_VERSION = 1
"""Raised when the bytes of a cell change their meaning."""

DIGEST_HEX_DIGITS = 12
_SHOWN_DIFFERENCES = 3
_ABSENT = "nothing"

Canonical = dict[str, Any]
"""Plain JSON values, comparable across processes and releases of headrace."""


def view_digest(view: ViewDefinition) -> str:
    """Return the hash of what decides the view's state, 12 hex digits."""
    return _digest(canonical_view(view))


def model_digest(model: ModelDefinition) -> str:
    """Return the hash of the model's vector, label and learners, 12 hex digits."""
    return _digest(canonical_model(model))


def event_digest(event: EventDefinition) -> str:
    """Return the hash of what decides how an event's records are read."""
    used = {each.name for each in event.fields}
    return _digest({**_event(event, used), "name": event.name, "max_bytes": event.max_bytes})


def canonical_view(view: ViewDefinition) -> Canonical:
    """Return what decides the view's state, as plain values."""
    used = {*_identifying(view.on), *view.by, *(each.field for each in view.aggregates if each.field is not None)}
    return {
        "engine": ENGINE_SEMANTICS_VERSION,
        "cells": CELL_CODEC_VERSION,
        "event": _event(view.on, used),
        "by": list(view.by),
        "aggregates": [_aggregate(each) for each in view.aggregates],
    }


def canonical_model(model: ModelDefinition) -> Canonical:
    """Return what decides what the model learns, as plain values."""
    views = {view.name: view for view in model.views}
    return {
        "inputs": [
            {
                "name": each.name,
                "type": str(each.type),
                "view": None if each.view is None else views[each.view].key,
                "expression": None if each.view is None else _feature_expression(views[each.view], each.feature),
            }
            for each in model.inputs
        ],
        "label": None if model.label is None else _label(model.label),
        "learners": {
            name: {"kind": each.kind, "parameters": dict(each.parameters)} for name, each in model.learners.items()
        },
    }


def difference(old: ViewDefinition | ModelDefinition, new: ViewDefinition | ModelDefinition) -> str | None:
    """Return in one line what decides state differently in ``new``, None if nothing does.

    Example:
        >>> difference(traffic_with_15m, traffic_with_10m)  # doctest: +SKIP
        'event.disorder_ms was 900000, is 600000'
    """
    before, after = dict(_flat(_canonical(old))), dict(_flat(_canonical(new)))
    changed = [
        f"{path} was {before.get(path, _ABSENT)}, is {after.get(path, _ABSENT)}"
        for path in dict.fromkeys([*before, *after])
        if before.get(path, _ABSENT) != after.get(path, _ABSENT)
    ]
    if not changed:
        return None
    more = len(changed) - _SHOWN_DIFFERENCES
    return "; ".join(changed[:_SHOWN_DIFFERENCES]) + (f"; and {more} more" if more > 0 else "")


def _canonical(definition: ViewDefinition | ModelDefinition) -> Canonical:
    return canonical_view(definition) if isinstance(definition, ViewDefinition) else canonical_model(definition)


def _identifying(event: EventDefinition) -> tuple[str, ...]:
    return (event.id, event.at, *event.key)


def _event(event: EventDefinition, used: set[str]) -> Canonical:
    return {
        "topic": event.topic,
        "id": event.id,
        "at": event.at,
        "key": list(event.key),
        "disorder_ms": event.disorder_ms,
        "fields": {each.name: [str(each.type), each.nullable] for each in event.fields if each.name in used},
    }


def _aggregate(aggregate: Aggregate) -> Canonical:
    return {
        "kind": aggregate.kind,
        "field": aggregate.field,
        "windows": [[each.length_ms, each.grid_ms] for each in aggregate.windows],
    }


def _label(label: LabelDefinition) -> Canonical:
    used = {*_identifying(label.event), label.key, *_names(label.value)}
    return {
        "event": _event(label.event, used),
        "key": label.key,
        "value": _expression(label.value),
        "within_ms": label.within_ms,
        "otherwise": label.otherwise,
    }


def _feature_expression(view: ViewDefinition, feature_name: str | None) -> object:
    feature = next(each for each in view.features if each.name == feature_name)
    if feature.expression is None:
        return None
    read = {name: _feature_expression(view, name) for name in sorted(_names(feature.expression))}
    return {"expression": _expression(feature.expression), "reads": read}


def _names(expression: Expression) -> set[str]:
    if isinstance(expression, Name):
        return {expression.name}
    return set() if isinstance(expression, Constant) else _names(expression.left) | _names(expression.right)


def _expression(expression: Expression) -> list[object]:
    if isinstance(expression, Name):
        return ["name", expression.name]
    if isinstance(expression, Constant):
        return ["constant", expression.value]
    operands = [_expression(expression.left), _expression(expression.right)]
    return [expression.operator, *operands, expression.otherwise]


def _flat(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _flat(inner, f"{path}.{name}" if path else str(name))
    elif isinstance(value, list) and value and all(isinstance(each, dict) for each in value):
        for index, inner in enumerate(value):
            yield from _flat(inner, f"{path}[{index}]")
    else:
        yield path, json.dumps(value)


def _digest(canonical: Canonical) -> str:
    text = json.dumps(canonical, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:DIGEST_HEX_DIGITS]
