"""What a source of a view keeps of one attribute: which event it is of, and its aggregates as data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from definitions.aggregates.conditions import expression_of, fields_in
from definitions.aggregates.windows import Aggregation, Windowed, grouped_name
from definitions.declared import Aggregate, EventDefinition
from definitions.declaring import Declaring
from definitions.events import Event


def event_of(declaring: Declaring, events: Sequence[type[Event]], name: str, value: Windowed) -> type[Event]:
    """Return the event that an attribute is of: its field's, the one it names, or the view's only one."""
    meant, field = _meant(value.aggregation), value.aggregation.field
    if meant is None and len(events) > 1:
        mend = f"write hr.count({events[0].__name__})"
        expected = f"{name} to say which of {listed_events(events)} it counts"
        raise declaring.refusal(expected, repr(value.aggregation), mend, where=value.where)
    for event in events:
        if meant is None or meant is event.definition:
            return event
    if value.aggregation.event is None and field is None:
        return events[0]  # `aggregates_of` refuses the very condition or part that is of another event
    what = "count" if field is None else "read a field of"
    got = repr(value.aggregation) if field is None else repr(field)
    raise declaring.refusal(f"{name} to {what} {listed_events(events)}", got, where=value.where)


def aggregates_of(declaring: Declaring, on: EventDefinition, name: str, value: Windowed) -> list[Aggregate]:
    """Return the aggregate of one attribute, or that of each of its groups."""
    whole = _aggregate(declaring, on, name, value.aggregation, value.where)
    if not value.aggregation.groups:
        return [replace(whole, windows=value.windows)]
    return [
        replace(
            whole,
            name=grouped_name(name, group),
            windows=value.windows,
            where=(*whole.where, expression_of(declaring, on, condition, value.where)),
        )
        for group, condition in value.aggregation.groups
    ]


def _aggregate(declaring: Declaring, on: EventDefinition, name: str, aggregation: Aggregation, where: str) -> Aggregate:
    """Return the aggregate without its windows and groups."""
    field = aggregation.field
    if field is not None and field.event is not on:
        raise declaring.refusal(f"{name} to read a field of {on.name}", repr(field), where=where)
    return Aggregate(
        name,
        aggregation.kind,
        None if field is None else field.field.name,
        windows=(),
        where=tuple(expression_of(declaring, on, each, where) for each in aggregation.conditions),
        options=aggregation.options,
        of=tuple(replace(_aggregate(declaring, on, name, each, where), name="") for each in aggregation.of),
    )


def _meant(aggregation: Aggregation) -> EventDefinition | None:
    """Return the event that a statistic says it is of, None where it says nothing."""
    if aggregation.event is not None:
        return aggregation.event
    if aggregation.field is not None:
        return aggregation.field.event
    conditions = (*aggregation.conditions, *(condition for _, condition in aggregation.groups))
    said = [field.event for condition in conditions for field in fields_in(condition)]
    said += [meant for each in aggregation.of if (meant := _meant(each)) is not None]
    return said[0] if said else None


def listed_events(events: Sequence[type[Event]]) -> str:
    """Return the events' names as people read them: ``departed or arrived``."""
    return " or ".join(each.definition.name for each in events)
