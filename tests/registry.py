"""A schema registry on a loopback port, and records written by the official serializers against it.

The registry is as small as the tests allow, and as strict as a real one where it matters: Protobuf schemas come as text
unless ``format=serialized`` is asked for, and what is not there is a 404 with the registry's own code.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

from confluent_kafka.schema_registry import Schema, SchemaReference, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.protobuf import ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from google.protobuf import descriptor_pb2, timestamp_pb2, wrappers_pb2
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from definitions.declared import EventDefinition
from definitions.values import ValueType

F = descriptor_pb2.FieldDescriptorProto
TIMESTAMP = ".google.protobuf.Timestamp"
_AVRO: Mapping[ValueType, Any] = {
    ValueType.INT: "long",
    ValueType.FLOAT: "double",
    ValueType.BOOL: "boolean",
    ValueType.CATEGORY: "string",
    ValueType.TIME: {"type": "long", "logicalType": "timestamp-millis"},
}


class Registry:
    """What the stand-in keeps: schemas by id, versions by subject, and the questions that it was asked."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.asked: list[str] = []
        self.authorizations: set[str | None] = set()
        self.fails_with: int | None = None
        self._schemas: list[dict[str, Any]] = []
        self._subjects: dict[str, list[int]] = {}

    def answer(self, method: str, target: str, body: Any) -> tuple[int, Any]:
        """Return status and body for one question."""
        if self.fails_with is not None:
            return self.fails_with, {"error_code": 50001, "message": "out of order"}
        parts = urlsplit(target)
        steps = [unquote(each) for each in parts.path.strip("/").split("/")]
        serialized = parse_qs(parts.query).get("format") == ["serialized"]
        if method == "POST" and steps[0] == "subjects":
            return self._register(steps[1], body) if steps[2:] == ["versions"] else self._look_up(steps[1], body)
        if steps[:2] == ["schemas", "ids"]:
            return self._by_id(int(steps[2]), serialized=serialized)
        if steps[0] == "subjects" and steps[2:3] == ["versions"]:
            return self._by_version(steps[1], steps[3], serialized=serialized)
        return 404, {"error_code": 404, "message": "HTTP 404 Not Found"}

    def _by_id(self, number: int, *, serialized: bool) -> tuple[int, Any]:
        if not 0 < number <= len(self._schemas):
            return 404, {"error_code": 40403, "message": "Schema not found"}
        return 200, self._shown(number, serialized=serialized)

    def _by_version(self, subject: str, version: str, *, serialized: bool) -> tuple[int, Any]:
        versions = self._subjects.get(subject, [])
        number = len(versions) if version == "latest" else int(version)
        if not 0 < number <= len(versions):
            return 404, {"error_code": 40401, "message": "Subject not found"}
        found = versions[number - 1]
        return 200, {**self._shown(found, serialized=serialized), **self._named(subject, found)}

    def add(self, schema: Mapping[str, Any]) -> int:
        """Keep a schema under a new id, under no subject."""
        self._schemas.append(dict(schema))
        return len(self._schemas)

    def _register(self, subject: str, body: dict[str, Any]) -> tuple[int, Any]:
        number = self._schemas.index(body) + 1 if body in self._schemas else self.add(body)
        versions = self._subjects.setdefault(subject, [])
        if number not in versions:
            versions.append(number)
        return 200, {"id": number}

    def _look_up(self, subject: str, body: dict[str, Any]) -> tuple[int, Any]:
        number = self._schemas.index(body) + 1 if body in self._schemas else 0
        if number not in self._subjects.get(subject, []):
            return 404, {"error_code": 40403, "message": "Schema not found"}
        return 200, {**self._shown(number, serialized=True), **self._named(subject, number)}

    def _named(self, subject: str, number: int) -> dict[str, Any]:
        return {"subject": subject, "id": number, "version": self._subjects[subject].index(number) + 1}

    def _shown(self, number: int, *, serialized: bool) -> dict[str, Any]:
        kept = self._schemas[number - 1]
        if kept.get("schemaType") == "PROTOBUF" and not serialized:
            return {**kept, "schema": 'syntax = "proto3"; // the text, for people'}
        return kept if kept.get("schemaType", "AVRO") != "AVRO" else {"schema": kept["schema"], **_references(kept)}


@contextmanager
def running_registry() -> Iterator[Registry]:
    """Run a registry for as long as the block lasts."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            registry.asked.append(f"{self.command} {self.path}")
            registry.authorizations.add(self.headers.get("Authorization"))
            status, answer = registry.answer(self.command, self.path, body)
            encoded = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
            self.send_header("Content-Length", str(len(encoded)))
            self.end_headers()
            self.wfile.write(encoded)

        do_GET = do_POST = _serve  # noqa: N815  # the names that http.server calls

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    registry = Registry(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield registry
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Writer:
    """Writes values of a topic's records with the official serializers, which register the schemas."""

    def __init__(self, registry: Registry, topic: str) -> None:
        self._client = SchemaRegistryClient({"url": registry.url})
        self._context = SerializationContext(topic, MessageField.VALUE)

    def __enter__(self) -> Self:
        self._client.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._client.__exit__(None, None, None)

    def avro(self, schema: Any, *values: Any, references: Sequence[SchemaReference] = ()) -> list[bytes]:
        """Return values in Avro, as written by `AvroSerializer`."""
        given = Schema(json.dumps(schema), "AVRO", list(references))
        serializer = AvroSerializer(self._client, given)
        return [serializer(value, self._context) for value in values]

    def protobuf(self, *messages: Any) -> list[bytes]:
        """Return messages of one type in Protobuf, as written by `ProtobufSerializer`."""
        serializer = ProtobufSerializer(type(messages[0]), self._client, {"use.deprecated.format": False})
        return [serializer(message, self._context) for message in messages]

    def register(self, subject: str, schema: Any) -> SchemaReference:
        """Register an Avro schema by itself, to be referred to."""
        self._client.register_schema(subject, Schema(json.dumps(schema), "AVRO"))
        return SchemaReference(schema["name"], subject, 1)


def avro_schema(event: EventDefinition) -> dict[str, Any]:
    """Return an Avro schema that has an event's fields as they are declared."""
    fields = [
        {"name": each.name, "type": ["null", _AVRO[each.type]] if each.nullable else _AVRO[each.type]}
        for each in event.fields
    ]
    return {"type": "record", "name": event.name, "fields": fields}


def field(name: str, number: int, kind: int, type_name: str | None = None, **given: Any) -> Any:
    """Return a Protobuf field; ``optional=True`` gives it presence."""
    made = F(name=name, number=number, type=kind, type_name=type_name, label=given.pop("label", F.LABEL_OPTIONAL))
    made.proto3_optional = given.pop("optional", False)
    return made


def message(name: str, *fields: Any, nested: Sequence[Any] = (), enums: Sequence[Any] = ()) -> Any:
    """Return a Protobuf message type of proto3."""
    made = descriptor_pb2.DescriptorProto(name=name, nested_type=nested, enum_type=enums)
    for each in fields:
        if each.proto3_optional:
            each.oneof_index = len(made.oneof_decl)
            made.oneof_decl.add(name=f"_{each.name}")
        made.field.append(each)
    return made


def enum(name: str, *values: str) -> Any:
    """Return a Protobuf enum; its values count from 0."""
    made = descriptor_pb2.EnumDescriptorProto(name=name)
    for number, value in enumerate(values):
        made.value.add(name=value, number=number)
    return made


def proto_file(*messages: Any, enums: Sequence[Any] = (), more: Sequence[Any] = (), name: str = "test.proto") -> Any:
    """Return a compiled file of message types that may use timestamps, wrappers and the files in ``more``."""
    known = (timestamp_pb2.DESCRIPTOR.name, wrappers_pb2.DESCRIPTOR.name)
    file = descriptor_pb2.FileDescriptorProto(
        name=name, package="test", syntax="proto3", message_type=messages, enum_type=enums
    )
    file.dependency.extend([*known, *(each.name for each in more)])
    pool = DescriptorPool()
    for needed in (timestamp_pb2.DESCRIPTOR, wrappers_pb2.DESCRIPTOR, *more):
        pool.AddSerializedFile(needed.serialized_pb)
    pool.Add(file)
    return pool.FindFileByName(name)


def message_class(file: FileDescriptor, *names: str) -> Any:
    """Return the class of a message type, by its names from the outside in."""
    found = file.message_types_by_name[names[0]]
    for name in names[1:]:
        found = found.nested_types_by_name[name]
    return GetMessageClass(found)


def _references(kept: Mapping[str, Any]) -> dict[str, Any]:
    return {"references": kept["references"]} if kept.get("references") else {}
