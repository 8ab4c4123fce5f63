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

    def field(self, name: str) -> Field | None:
        """Return the field called ``name``, if there is one."""
        return next((each for each in self.fields if each.name == name), None)
