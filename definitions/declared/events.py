"""What happens, as data: an event type and its fields."""

from __future__ import annotations

from dataclasses import dataclass

from definitions.values import ValueType


@dataclass(frozen=True, slots=True)
class Field:
    """A named, typed value of an event, or an input that a request carries."""

    name: str
    type: ValueType
    nullable: bool = False
    length: int | None = None
    """How many numbers an embedding has; None for every other type."""
    unit: str = ""
    """The unit of measure in canonical form (`definitions.units`), empty where it is not known."""


@dataclass(frozen=True, slots=True)
class Rekeyed:
    """What a topic is a copy of: the same records under another key, so that an entity's lie in one partition."""

    topic: str
    """The source topic, which the event is published to."""
    by: tuple[str, ...]
    """The event's fields that name the entity, and make the copy's key."""


@dataclass(frozen=True, slots=True)
class EventDefinition:
    """Something that happens: the topic it is published to and the fields that headrace reads."""

    name: str
    topic: str
    fields: tuple[Field, ...]
    id: str
    at: str
    key: tuple[str, ...]
    disorder_ms: int
    """How far behind its partition's newest event time an event may be without counting as late."""
    max_bytes: int = 256 * 1024
    dedupe_ms: int | None = None
    """For how long, in event time, an id counts once; None where producers send nothing twice."""
    codec: str = "json"
    """How its records are written: ``json``, ``avro`` or ``protobuf``. Not part of what decides state."""
    rekeyed: Rekeyed | None = None
    """Where ``topic`` is a copy that headrace writes: of what. Written by `streams.placement`."""

    @property
    def origin(self) -> str:
        """The topic that the event is published to: ``topic``, but for a copy."""
        return self.topic if self.rekeyed is None else self.rekeyed.topic

    def field(self, name: str) -> Field | None:
        """Return the field called ``name``, if there is one."""
        return next((each for each in self.fields if each.name == name), None)
