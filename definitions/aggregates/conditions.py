"""Which events a statistic takes in: ``where=`` conditions, and the groups that it is given for."""

from __future__ import annotations

from definitions.declared import EventDefinition
from definitions.declaring import Declaring
from definitions.expressions import Expression
from definitions.terms import Combination, FieldTerm, Term, article
from definitions.values import ValueType, shown

Condition = bool | Term | None
"""What ``Departed.delay_min > 15`` is: a bool to a type checker, a term at run time."""

_KEYS = {ValueType.CATEGORY: str, ValueType.INT: int}


def conditions_of(declaring: Declaring, where: object) -> tuple[Term, ...]:
    """Return what ``where=`` demands, one condition or several, or refuse it."""
    conditions = where if isinstance(where, tuple) else (where,)
    mend = "as in where=Event.field > 15"
    if not conditions:
        raise declaring.refusal("where= to be a condition on the event's fields", "none", mend)
    for each in conditions:
        if not isinstance(each, Term):
            raise declaring.refusal("where= to be a condition on the event's fields", shown(each), mend)
        if each.type is not ValueType.BOOL:
            raise declaring.refusal("where= to be a bool", f"{each!r}, {article(each.type)}", mend)
    return conditions


def groups_of(declaring: Declaring, by: object, groups: object) -> tuple[tuple[str, Term], ...]:
    """Return each group's name, and the condition that makes an event one of it, or refuse them."""
    if by is None and groups is None:
        return ()
    mend = 'as in by=Event.field, groups=("a", "b")'
    if by is None or groups is None:
        raise declaring.refusal("by= and groups= together", "one of them", mend)
    if not isinstance(by, FieldTerm):
        raise declaring.refusal("by= to be a field of an event", shown(by), mend)
    if by.type not in _KEYS:
        raise declaring.refusal("by= to be a str or an int", f"{by!r}, {article(by.type)}")
    if not isinstance(groups, tuple | list) or not groups:
        raise declaring.refusal("groups= to be a tuple of the field's values", shown(groups), mend)
    for each in groups:
        if type(each) is not _KEYS[by.type]:
            raise declaring.refusal(f"groups= to be values of {by!r}, {article(by.type)} each", shown(each))
    if len(set(groups)) < len(groups):
        raise declaring.refusal("groups= to name each once", shown(groups))
    return tuple((str(each), Combination("==", by, each)) for each in groups)


def fields_in(condition: Term) -> list[FieldTerm]:
    """Return the fields that a condition reads."""
    found: list[FieldTerm] = []

    def named(term: Term) -> str | None:
        if isinstance(term, FieldTerm):
            found.append(term)
        return "" if isinstance(term, FieldTerm) or _is_feature(term) else None

    condition.expression(named)
    return found


def _is_feature(term: Term) -> bool:
    return hasattr(term, "view") or hasattr(term, "windowed")


def expression_of(declaring: Declaring, on: EventDefinition, condition: Term, where: str) -> Expression:
    """Return the condition as data, or refuse one that reads anything but fields of ``on``."""
    expected = f"where= and by= to read fields of {on.name}"

    def named(term: Term) -> str | None:
        if isinstance(term, FieldTerm):
            if term.event is not on:
                raise declaring.refusal(expected, repr(term), where=where)
            return term.field.name
        if _is_feature(term):
            raise declaring.refusal(expected, f"the feature {term!r}", where=where)
        return None

    return condition.expression(named)
