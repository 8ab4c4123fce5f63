"""``hr.Label``: the truth that comes later, and how long it is waited for."""

from __future__ import annotations

from definitions.declared import Field, LabelDefinition
from definitions.declaring import Declaring, author_line
from definitions.events import Event, declared_field, key_field
from definitions.terms import FieldTerm, Leaf, Term, article
from definitions.values import Value, ValueType, parse_span, shown

_TRUTHS = (ValueType.BOOL, ValueType.INT, ValueType.FLOAT)
_REVISED = ("ignore", "replace")
_PER_KEY = ("all", "first")


class Label:
    """The truth of a prediction, brought by an event.

    Args:
        event: the event that brings it.
        key: the event's field that equals the prediction's ``label_key``.
        value: a field of the event or an expression of its fields, a bool or a number: ``Arrived.delay_min > 15``.
        within: how long after the prediction it is waited for, in event time.
        otherwise: the label of a prediction whose horizon passed without one; ``"drop"`` makes no example of it.
        revised: what another label of the same key does, inside the horizon, to an example that was made: ``"ignore"``
            lets it stand, ``"replace"`` makes another one with the new label, marked as a revision.
        per_key: ``"all"`` makes an example of every prediction of a key, ``"first"`` of the first one only: those that
            reuse its key while it is remembered, for its horizon and one more if no label came, are only counted.
    """

    __slots__ = ("definition", "where")

    def __init__(  # noqa: PLR0913  # what an author may say of a label
        self,
        event: type[Event],
        *,
        key: str,
        value: float | Term | None,
        within: str,
        otherwise: float | str = "drop",
        revised: str = "ignore",
        per_key: str = "all",
    ) -> None:
        self.where = author_line()
        declaring = Declaring("label", self.where)
        if not (isinstance(event, type) and issubclass(event, Event) and event is not Event):
            raise declaring.refusal("a class of hr.Event", shown(event))
        on = event.definition
        truth = _value(declaring, event, value)
        self.definition = LabelDefinition(
            event=on,
            key=_key(declaring, declared_field(declaring, on.fields, key, "key", on.name)).name,
            value=truth.expression(lambda term: _named(declaring, event, term)),
            within_ms=parse_span(within, where=self.where),
            otherwise=_otherwise(declaring, truth, otherwise),
            revised=_one_of(declaring, "revised", revised, _REVISED),
            per_key=_one_of(declaring, "per_key", per_key, _PER_KEY),
            type=truth.type,
        )


def _key(declaring: Declaring, field: Field) -> Field:
    if field.nullable:
        raise declaring.refusal("key= to be never null", f"{field.name} | None", "remove | None")
    return key_field(declaring, field, "key")


def _value(declaring: Declaring, event: type[Event], value: object) -> Term:
    mend = f"as in {event.__name__}.delay > 15"
    if not isinstance(value, Term):
        raise declaring.refusal("value= to be an expression of the event's fields", shown(value), mend)
    if value.type not in _TRUTHS:
        raise declaring.refusal("value= to be a bool or a number", f"{value!r}, {article(value.type)}", mend)
    return value


def _named(declaring: Declaring, event: type[Event], term: Term) -> str | None:
    if isinstance(term, FieldTerm):
        if term.event is event.definition:
            return term.field.name
        raise declaring.refusal(f"value= to read fields of {event.definition.name}", repr(term))
    if isinstance(term, Leaf):
        raise declaring.refusal(f"value= to read fields of {event.definition.name}", repr(term))
    return None


def _one_of(declaring: Declaring, name: str, given: object, known: tuple[str, ...]) -> str:
    if given not in known:
        raise declaring.refusal(f"{name}= to be {' or '.join(repr(each) for each in known)}", shown(given))
    return str(given)


def _otherwise(declaring: Declaring, truth: Term, otherwise: object) -> Value:
    if otherwise == "drop":
        return None
    accepted: tuple[type, ...] = (bool,) if truth.type is ValueType.BOOL else (int, float)
    if type(otherwise) not in accepted:
        raise declaring.refusal(f'otherwise= to be "drop" or {article(truth.type)}, as the value is', shown(otherwise))
    return otherwise  # type: ignore[return-value]  # one of the accepted types
