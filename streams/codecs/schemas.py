"""What a schema registry keeps: the writer's schema of a record, by the id in the record's first bytes.

Who asks the registry lies outside of this room (`agents.fetch_schemas`); here a schema is a value, and ids never change
their meaning. That makes the registry part of the log: a replay decodes the same as long as it keeps its ids.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

AVRO = "AVRO"
PROTOBUF = "PROTOBUF"
"""Kinds of schemas, as registries name them."""


@dataclass(frozen=True, slots=True)
class Schema:
    """A schema: Avro's JSON, or a Protobuf file descriptor in base64, and the schemas that it refers to."""

    kind: str
    text: str
    references: tuple[Reference, ...] = ()


@dataclass(frozen=True, slots=True)
class Reference:
    """A schema that another one refers to by name: an Avro full name, or the path of a Protobuf import."""

    name: str
    schema: Schema


Schemas = Callable[[int], Schema | None]
"""Gives a schema by id, None where the registry says that there is none.

It raises `streams.errors.RegistryUnavailable` where nobody can say; a decoder asks once per id.
"""
