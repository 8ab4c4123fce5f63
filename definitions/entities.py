"""What a view's features describe: which fields of its events name the entity, and what requests call it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from definitions.declared import Field
from definitions.declaring import Declaring
from definitions.events import Event, declared_field, key_field
from definitions.terms import article
from definitions.values import shown

By = str | tuple[str, ...] | Mapping[type[Event], str | tuple[str, ...]]
"""The field or fields that name the entity: the same of every event, or per event."""

FieldsByEvent = Mapping[type[Event], tuple[Field, ...]]


def fields_by_event(declaring: Declaring, events: Sequence[type[Event]], by: object) -> FieldsByEvent:
    """Return the fields of each event that name the entity, as ``by=`` says them, or refuse it."""
    named = by if isinstance(by, Mapping) else dict.fromkeys(events, by)
    expected = f"by= to say the fields of {' and '.join(each.definition.name for each in events)}"
    for event in events:
        if event not in named:
            raise declaring.refusal(expected, f"none of {event.definition.name}", f'write {event.__name__}: "…"')
    for event in named:
        if event not in events:
            got = getattr(event, "__name__", shown(event))
            raise declaring.refusal(expected, f"some of {got}", "name it in on= too, or leave it out of by=")
    return {event: _key_fields(declaring, event, named[event]) for event in events}


def names_of(fields: Sequence[Field]) -> tuple[str, ...]:
    """Return the fields' names."""
    return tuple(each.name for each in fields)


def rekeyed_events(declaring: Declaring, by: FieldsByEvent, rekey: object) -> frozenset[type[Event]]:
    """Return the events that ``rekey=`` has copied: those whose own key may spread an entity over partitions."""
    if not isinstance(rekey, bool):
        raise declaring.refusal("rekey= to be True or False", shown(rekey))
    spread = frozenset(event for event, fields in by.items() if not set(event.definition.key) <= set(names_of(fields)))
    if rekey and not spread:
        got = " and ".join(f"{event.definition.name} keyed by {', '.join(event.definition.key)}" for event in by)
        raise declaring.refusal(
            "rekey=True only where an entity's events lie in several partitions", got, "leave rekey= out"
        )
    return spread if rekey else frozenset()


def entity_of(declaring: Declaring, by: FieldsByEvent, entity: object) -> tuple[Field, ...]:
    """Return what names the entity in requests: ``entity=``, else the fields' own names where all events share them.

    Each has the type that the fields have in every event, and may be null where one of them may.
    """
    shared = tuple(field.name for field in next(iter(by.values())))
    for event, fields in by.items():
        if len(fields) != len(shared):
            got = f"{len(shared)} and, of {event.definition.name}, {len(fields)}"
            raise declaring.refusal("by= to name as many fields of each event", got)
        if entity is None and tuple(field.name for field in fields) != shared:
            got = " and ".join(_written(each) for each in by.values())
            raise declaring.refusal("entity= where events name the entity differently", got, 'write entity="…"')
    names = shared if entity is None else tuple(declaring.name(each) for each in declaring.names(entity, "entity"))
    if len(names) != len(shared):
        raise declaring.refusal(f"entity= to name {len(shared)}, as by= does", shown(entity))
    parts = zip(names, zip(*by.values(), strict=True), strict=True)
    return tuple(_part(declaring, name, dict(zip(by, fields, strict=True))) for name, fields in parts)


def _key_fields(declaring: Declaring, event: type[Event], by: object) -> tuple[Field, ...]:
    of = event.definition
    fields = [declared_field(declaring, of.fields, name, "by", of.name) for name in declaring.names(by, "by")]
    return tuple(key_field(declaring, field, "by") for field in fields)


def _part(declaring: Declaring, name: str, fields: Mapping[type[Event], Field]) -> Field:
    types = {field.type: f"{event.definition.name}.{field.name}" for event, field in fields.items()}
    if len(types) > 1:
        got = " and ".join(f"{where}, {article(kind)}" for kind, where in types.items())
        raise declaring.refusal(f"{name} to be of one type in every event", got)
    return Field(name, next(iter(types)), any(field.nullable for field in fields.values()))


def _written(fields: Sequence[Field]) -> str:
    return ", ".join(each.name for each in fields)
