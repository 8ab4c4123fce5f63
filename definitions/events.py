"""``hr.Event``: something that happens, at a time, and the topic that it is published to."""

from __future__ import annotations

import inspect
import re
from datetime import datetime
from types import FrameType
from typing import Any, ClassVar, TypedDict, Unpack

from definitions.annotations import ANNOTATIONS, annotated_field
from definitions.declared import EventDefinition, Field
from definitions.declaring import Declaring, author_frame, author_line, listed, near, snake_case
from definitions.terms import FieldTerm, article
from definitions.values import ValueType, parse_span, shown

DEFAULT_DISORDER = "5m"
DEFAULT_MAX_BYTES = 256 * 1024
CODECS = ("json", "avro", "protobuf")

_KEYS = (ValueType.CATEGORY, ValueType.INT)
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,200}")  # Kafka allows 249: headrace puts words around the user's topics
_OWN_NAMES = frozenset({"definition"})


class EventOptions(TypedDict, total=False):
    """What the class keywords of an event may say."""

    key: str | tuple[str, ...] | None
    disorder: str
    max_bytes: int
    dedupe: str | None
    codec: str


class EventKeywords(EventOptions):
    """What the class keywords of an event have to say."""

    topic: str
    id: str
    at: str


class Event:
    """Something that happened, declared by its fields.

    Class keywords: ``topic`` it is published to; ``id``, the field that names one event; ``at``, the field that says
    when it happened; ``key``, the field or fields that key the topic (default: the id); ``disorder``, how far behind
    the newest event of its partition an event may be without counting as late (default 5m); ``max_bytes`` (default
    256 KiB), above which a record is a dead letter; ``dedupe``, for how long an id counts once where producers may send
    an event twice (default: not looked for; equal ids have to share a partition: give a ``key`` that they agree in);
    ``codec``, how the records are written: ``json`` (the default), ``avro`` or ``protobuf``, the latter two with a
    schema registry.

    Fields of the record that are not declared are ignored. On the class, a field is a term: ``Departed.delay_min``.
    A number may say its unit, ``Annotated[float, hr.Unit("min")]``; an embedding says its length,
    ``Annotated[list[float], hr.Length(8)]``.

    Example:
        >>> from datetime import datetime
        >>> class Departed(Event, topic="flights.departed", id="flight_id", at="departed_at", disorder="15m"):
        ...     flight_id: str
        ...     delay_min: float
        ...     departed_at: datetime
        >>> Departed.definition.disorder_ms
        900000
    """

    definition: ClassVar[EventDefinition]

    def __init_subclass__(cls, **keywords: Unpack[EventKeywords]) -> None:
        """Read the declaration, or refuse it."""
        frame = author_frame()
        declaring = Declaring(f"event {cls.__name__}", author_line(frame))
        if cls.__bases__ != (Event,):
            raise declaring.refusal("hr.Event as the only base", shown([each.__name__ for each in cls.__bases__]))
        declaring.keywords(keywords, EventKeywords.__required_keys__, EventKeywords.__optional_keys__)
        cls.definition = _definition(declaring, _fields(declaring, cls, frame), keywords)
        for field in cls.definition.fields:
            setattr(cls, field.name, FieldTerm(cls.definition, field))


def declared_field(
    declaring: Declaring, fields: tuple[Field, ...], name: str, keyword_name: str, of: str = "the event"
) -> Field:
    """Return the field that a keyword names, or refuse the name."""
    names = [each.name for each in fields]
    if name not in names:
        expected = f"{keyword_name}= to be a field of {of}, {listed(names)}"
        raise declaring.refusal(expected, repr(name), near(name, names))
    return fields[names.index(name)]


def key_field(declaring: Declaring, field: Field, keyword_name: str) -> Field:
    """Return the field if it can key something, which text and whole numbers can."""
    if field.type not in _KEYS:
        raise declaring.refusal(f"{keyword_name}= to be a str or an int", f"{field.name}, {article(field.type)}")
    return field


def _fields(declaring: Declaring, cls: type, frame: FrameType) -> tuple[Field, ...]:
    declared = _annotations(declaring, cls, frame)
    for name in vars(cls):
        if not name.startswith("__") and name not in declared:
            raise declaring.refusal("fields with a type, as in `origin: str`", name)
    if not declared:
        raise declaring.refusal("at least its id and its time as fields", "none")
    return tuple(_field(declaring, cls, name, annotation) for name, annotation in declared.items())


def _field(declaring: Declaring, cls: type, name: str, annotation: object) -> Field:
    if name in _OWN_NAMES:
        raise declaring.refusal(f"a name other than {name}", "a field of that name", "it is taken by hr.Event")
    if name in vars(cls):
        raise declaring.refusal(f"field {name} without a value", shown(vars(cls)[name]), "write only its type")
    return annotated_field(declaring, declaring.name(name), annotation)


def _annotations(declaring: Declaring, cls: type, frame: FrameType) -> dict[str, Any]:
    """Return the class's own annotations; text is read where the author wrote it, local names included."""
    known = {"datetime": datetime, **frame.f_globals}  # datetime may be imported for type checkers only
    try:
        return inspect.get_annotations(cls, globals=known, locals=dict(frame.f_locals), eval_str=True)
    except (NameError, SyntaxError, AttributeError, TypeError) as error:
        raise declaring.refusal(f"fields to be {ANNOTATIONS}", str(error)) from error


def _definition(declaring: Declaring, fields: tuple[Field, ...], keywords: EventKeywords) -> EventDefinition:
    topic = declaring.text(keywords["topic"], "topic")
    if _TOPIC.fullmatch(topic) is None:
        raise declaring.refusal("topic= of up to 200 letters, digits, dots, dashes and underscores", shown(topic))
    identifier = key_field(
        declaring, declared_field(declaring, fields, declaring.text(keywords["id"], "id"), "id"), "id"
    )
    at = declared_field(declaring, fields, declaring.text(keywords["at"], "at"), "at")
    if at.type is not ValueType.TIME:
        raise declaring.refusal("at= to be a datetime", f"{at.name}, {article(at.type)}", "it says when it happened")
    key = declaring.names(keywords.get("key") or identifier.name, "key")
    for name, field in (("id", identifier), ("at", at), *(("key", _key(declaring, fields, each)) for each in key)):
        if field.nullable:
            raise declaring.refusal(f"{name}= to be never null", f"{field.name} | None", "remove | None")
    dedupe = keywords.get("dedupe")
    return EventDefinition(
        name=declaring.name(snake_case(declaring.what.split()[-1])),
        topic=topic,
        fields=fields,
        id=identifier.name,
        at=at.name,
        key=key,
        disorder_ms=parse_span(keywords.get("disorder", DEFAULT_DISORDER), where=declaring.where),
        max_bytes=declaring.count(keywords.get("max_bytes", DEFAULT_MAX_BYTES), "max_bytes"),
        dedupe_ms=None if dedupe is None else parse_span(dedupe, where=declaring.where),
        codec=_codec(declaring, keywords.get("codec", CODECS[0])),
    )


def _codec(declaring: Declaring, codec: object) -> str:
    name = declaring.text(codec, "codec")
    if name not in CODECS:
        raise declaring.refusal(f"codec= to be {listed(CODECS)}", shown(name), near(name, CODECS))
    return name


def _key(declaring: Declaring, fields: tuple[Field, ...], name: str) -> Field:
    return key_field(declaring, declared_field(declaring, fields, name, "key"), "key")
