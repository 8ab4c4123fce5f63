"""The identity of definitions: hashes of what decides state, and nothing else.

A view's digest covers, of each source, the topic, the fields used with their types, id, at, key and disorder of its
event, ``by``, whether it is rekeyed, and per aggregate its kind, field, filter, options, windows and grid, together
with the versions of the engine and of the cells' bytes. Owner, text, tags, names of aggregates, expressions of
features, and what requests call the entity are outside it: changing those needs no new version. The name of an event is
inside only where a view has several sources: it tells their state apart.
A model's digest covers its vector, with every expression and lookup behind it, its label and its learners, a Python
function by its code. Outside are where a file or a server is found, and the route, because a route moves by itself.
Units are outside both: they are for people and for checks.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from definitions.declared import (
    Aggregate,
    EventDefinition,
    Field,
    Input,
    LabelDefinition,
    LearnerDefinition,
    ModelDefinition,
    Source,
    ViewDefinition,
)
from definitions.expressions import ASKED_AT, Constant, Expression, Function, Name, names_of

ENGINE_SEMANTICS_VERSION = 1
"""Raised when the engine gives other state for the same events and definition."""
CELL_CODEC_VERSION = 2
"""Raised when the bytes of a cell change their meaning."""

DIGEST_HEX_DIGITS = 12
_SHOWN_DIFFERENCES = 3
_ABSENT = "nothing"

Canonical = dict[str, Any]
"""Plain JSON values, comparable across processes and releases of headrace."""


def view_digest(view: ViewDefinition) -> str:
    """Return the hash of what decides the view's state, 12 hex digits."""
    return digest_of(canonical_view(view))


def model_digest(model: ModelDefinition) -> str:
    """Return the hash of the model's vector, label and learners, 12 hex digits."""
    return digest_of(canonical_model(model))


def event_digest(event: EventDefinition) -> str:
    """Return the hash of what decides how an event's records are read."""
    used = {each.name for each in event.fields}
    return digest_of({**_event(event, used), "name": event.name, "max_bytes": event.max_bytes})


def canonical_view(view: ViewDefinition) -> Canonical:
    """Return what decides the view's state, as plain values."""
    versions = {"engine": ENGINE_SEMANTICS_VERSION, "cells": CELL_CODEC_VERSION}
    if len(view.sources) == 1:
        return {**versions, **_source(view.sources[0])}
    return {**versions, "sources": {each.event.name: _source(each) for each in view.sources}}


def canonical_model(model: ModelDefinition) -> Canonical:
    """Return what decides what the model learns, as plain values."""
    return {
        "inputs": [_input(model, each) for each in model.inputs],
        "label": None if model.label is None else _label(model.label),
        "learners": {name: learner_identity(each) for name, each in model.learners.items()},
    }


def fields_of(aggregate: Aggregate) -> frozenset[str]:
    """Return the event's fields that the aggregate reads, those of its conditions included."""
    own = frozenset() if aggregate.field is None else frozenset({aggregate.field})
    conditions = [frozenset(names_of(each)) for each in aggregate.where]
    return own.union(*conditions, *(fields_of(each) for each in aggregate.of))


def condition_text(conditions: tuple[Expression, ...]) -> str:
    """Return the conditions in canonical JSON: equal conditions, equal texts."""
    return json.dumps([canonical_expression(each) for each in conditions], separators=(",", ":"), ensure_ascii=True)


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


def _source(source: Source) -> Canonical:
    used = {*_identifying(source.event), *source.by, *(name for each in source.aggregates for name in fields_of(each))}
    return {
        "event": _event(source.event, used),
        "by": list(source.by),
        "aggregates": [_aggregate(each) for each in source.aggregates],
        **({"rekey": True} if source.rekey else {}),
    }


def _event(event: EventDefinition, used: set[str]) -> Canonical:
    return {
        "topic": event.origin,
        "id": event.id,
        "at": event.at,
        "key": list(event.key),
        "disorder_ms": event.disorder_ms,
        "dedupe_ms": event.dedupe_ms,
        "fields": {
            each.name: [str(each.type), each.nullable, *_length(each)] for each in event.fields if each.name in used
        },
    }


def learner_identity(learner: LearnerDefinition) -> Canonical:
    """Return what decides what the learner learns, as plain values."""
    canonical: Canonical = {"kind": learner.kind, "parameters": dict(learner.parameters)}
    if learner.members:
        canonical["members"] = dict(learner.members)
    if learner.personal is not None:
        canonical["personal"] = asdict(learner.personal)
    return canonical


def _input(model: ModelDefinition, each: Input) -> Canonical:
    canonical: Canonical = {"name": each.name, "type": str(each.type), "view": None, "expression": None}
    if each.length is not None:
        canonical["length"] = each.length
    if each.expression is not None:
        reads = {name: _read(model, name) for name in sorted(names_of(each.expression))}
        return {**canonical, "expression": {"expression": canonical_expression(each.expression), "reads": reads}}
    return canonical if each.view is None else {**canonical, **_read(model, each.name)}


def _read(model: ModelDefinition, name: str) -> Canonical:
    """Return what is behind a name that a model reads: a request input, a feature of a view, one that is looked up."""
    if name == ASKED_AT:
        return {"asked_at": True}
    carried = next((each for each in model.requests if each.name == name), None)
    if carried is not None:
        return {"type": str(carried.type), **({} if carried.length is None else {"length": carried.length})}
    feature, at, by = name.partition("@")
    view_name, _, feature_name = feature.partition(".")
    view = next(each for each in model.all_views if each.name == view_name)
    read = {"view": view.key, "expression": canonical_feature(view, feature_name)}
    return {**read, "by": {each: _read(model, each) for each in by.split(",")}} if at else read


def _length(of: Field) -> list[int]:
    return [] if of.length is None else [of.length]


def _aggregate(aggregate: Aggregate) -> Canonical:
    canonical: Canonical = {
        "kind": aggregate.kind,
        "field": aggregate.field,
        "windows": [[each.length_ms, each.grid_ms] for each in aggregate.windows],
    }
    # Left out where there is none, so that what needs none keeps the digest that it has.
    if aggregate.where:
        canonical["where"] = [canonical_expression(each) for each in aggregate.where]
    if aggregate.options:
        canonical["options"] = dict(aggregate.options)
    if aggregate.of:
        canonical["of"] = [_aggregate(each) for each in aggregate.of]
    return canonical


def _label(label: LabelDefinition) -> Canonical:
    used = {*_identifying(label.event), label.key, *names_of(label.value)}
    # Left out where it is the default, so that models declared before there was a choice keep their digest.
    chosen = {"revised": label.revised, "per_key": label.per_key}
    defaults = {"revised": "ignore", "per_key": "all"}
    return {
        "event": _event(label.event, used),
        "key": label.key,
        "value": canonical_expression(label.value),
        "within_ms": label.within_ms,
        "otherwise": label.otherwise,
        **{name: value for name, value in chosen.items() if value != defaults[name]},
    }


def canonical_feature(view: ViewDefinition, feature_name: str | None) -> object:
    """Return the expression behind a feature of a view, None where it is an aggregate."""
    feature = next(each for each in view.features if each.name == feature_name)
    if feature.expression is None:
        return None
    read = {
        name: None if name == ASKED_AT else canonical_feature(view, name)
        for name in sorted(names_of(feature.expression))
    }
    return {"expression": canonical_expression(feature.expression), "reads": read}


def canonical_expression(expression: Expression) -> list[object]:
    """Return an expression as plain JSON values."""
    if isinstance(expression, Name):
        return ["name", expression.name]
    if isinstance(expression, Constant):
        return ["constant", expression.value]
    if isinstance(expression, Function):
        return [
            expression.function,
            canonical_expression(expression.operand),
            list(expression.settings),
            expression.otherwise,
        ]
    operands = [canonical_expression(expression.left), canonical_expression(expression.right)]
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


def digest_of(canonical: Canonical) -> str:
    """Return the hash of plain JSON values, 12 hex digits."""
    text = json.dumps(canonical, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:DIGEST_HEX_DIGITS]
