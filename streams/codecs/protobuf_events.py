"""Protobuf to declared events, by the schema of whoever wrote them."""

from __future__ import annotations

import base64
import binascii
import importlib
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError as ProtobufError
from google.protobuf.message_factory import GetMessageClass

from streams.codecs.framed import HEAD_BYTES, FramedDecoder, ReadFields, Unreadable
from streams.codecs.schemas import PROTOBUF, Schema

TIMESTAMP = "google.protobuf.Timestamp"
_WRAPPERS = "google/protobuf/wrappers.proto"
_OWN_NAME = "headrace/schema.proto"
_LONGEST_PATH = 100
_MORE, _BITS = 0x80, 7
_FIRST = b"\0"
_BODY = HEAD_BYTES + 1

ReadField = Callable[[Any], Any]
"""Takes a message; returns one of its fields as a plain value."""


class ProtobufDecoder(FramedDecoder):
    """Decodes Protobuf records: a declared field is what the writer's message calls so.

    A field without presence (proto3 without ``optional``) that was not set has its default, which nobody can tell from
    a value; one with presence is absent.
    """

    kind = PROTOBUF

    def _reader_of(self, schema: Schema) -> ReadFields:
        file = file_of(schema)
        messages: dict[tuple[int, ...], ReadFields] = {}

        def read_other(value: bytes) -> dict[str, Any]:
            path, start = _message_path(value)
            message = messages.get(path)
            if message is None:
                found = _message_at(file, path)
                if found is None:
                    raise self._refusal("bad_frame", "$", f"expected a message of its schema, got the one at {path}")
                message = messages[path] = self._message_reader(found)
            return message(value[start:])

        if not file.message_types_by_name:
            return read_other
        first = self._message_reader(next(iter(file.message_types_by_name.values())))
        return lambda value: first(value[_BODY:]) if value[HEAD_BYTES:_BODY] == _FIRST else read_other(value)

    def _message_reader(self, descriptor: Descriptor) -> ReadFields:
        parse = GetMessageClass(descriptor).FromString
        by_name = descriptor.fields_by_name
        declared = [by_name[each.name] for each in self.event.fields if each.name in by_name]
        plain = [each.name for each in declared if not each.has_presence and _is_plain(each)]
        read_plain = attrgetter(*plain, plain[0]) if plain else lambda _: ()  # twice, so that it is always a tuple
        other = [
            (each.name, self._field_reader(each), each.has_presence) for each in declared if each.name not in plain
        ]

        def read(body: bytes) -> dict[str, Any]:
            try:
                message = parse(body)
            except ProtobufError as error:
                reason = "not_utf8" if "UTF-8" in str(error) else "bad_protobuf"
                raise self._refusal(reason, "$", str(error)) from error
            fields: dict[str, Any] = dict(zip(plain, read_plain(message), strict=False))
            for name, read_field, has_presence in other:
                if not has_presence or message.HasField(name):
                    fields[name] = read_field(message)
            return fields

        return read

    def _field_reader(self, field: FieldDescriptor) -> ReadField:
        name = field.name
        if field.is_repeated:
            return lambda message: list(getattr(message, name))
        if field.enum_type is not None:
            return self._enum_reader(field)
        if field.message_type is not None and field.message_type.full_name == TIMESTAMP:
            return lambda message: _epoch_ms(getattr(message, name))
        if field.message_type is not None and field.message_type.file.name == _WRAPPERS:
            return attrgetter(f"{name}.value")
        return attrgetter(name)

    def _enum_reader(self, field: FieldDescriptor) -> ReadField:
        name = field.name
        names: dict[int, str] = {number: each.name for number, each in field.enum_type.values_by_number.items()}

        def read(message: Any) -> str:
            number = getattr(message, name)
            if number not in names:
                said = f"expected a number of {field.enum_type.full_name}, got {number}"
                raise self._refusal("wrong_type", f"$.{name}", said)
            return names[number]

        return read


def _is_plain(field: FieldDescriptor) -> bool:
    """Return whether a field's value is a plain one as it is."""
    return not field.is_repeated and field.enum_type is None and field.message_type is None


def _epoch_ms(at: Any) -> int:
    return at.seconds * 1_000 + at.nanos // 1_000_000  # type: ignore[no-any-return]  # no type information


def _message_path(value: bytes) -> tuple[tuple[int, ...], int]:
    """Return which message of its file the record is, as indices from the outside in, and where its bytes begin.

    Written as their number, then each, as zigzag varints; the first message of a file is a single 0. What cannot be
    read is a path that no file has.
    """
    count, at = _zigzag(value, HEAD_BYTES)
    path: list[int] = []
    while 0 < count <= _LONGEST_PATH and len(path) < count:
        index, at = _zigzag(value, at)
        path.append(index)
    return tuple(path), at


def _zigzag(value: bytes, at: int) -> tuple[int, int]:
    """Return the varint at ``at`` and where the next begins; -1 where the bytes end before it does."""
    number = shift = 0
    while at < len(value) and shift <= _BITS * 4:
        byte, at = value[at], at + 1
        number |= (byte & ~_MORE) << shift
        if not byte & _MORE:
            return (number >> 1) ^ -(number & 1), at
        shift += _BITS
    return -1, at


def _message_at(file: FileDescriptor, path: Sequence[int]) -> Descriptor | None:
    messages: Sequence[Descriptor] = list(file.message_types_by_name.values())
    found: Descriptor | None = None
    for index in path:
        if not 0 <= index < len(messages):
            return None
        found = messages[index]
        messages = found.nested_types
    return found


def file_of(schema: Schema) -> FileDescriptor:
    """Return the schema's file, built in a pool of its own: two schemas may call different things by one name.

    Raises:
        Unreadable: it is none.
    """
    pool = DescriptorPool()
    try:
        _add(pool, _OWN_NAME, schema, {_OWN_NAME})
        file: FileDescriptor = pool.FindFileByName(_OWN_NAME)
    except (TypeError, ValueError, KeyError, ProtobufError, binascii.Error) as error:
        raise Unreadable(f"expected a Protobuf file descriptor, got one that cannot be used: {error}") from error
    return file


def _add(pool: DescriptorPool, name: str, schema: Schema, added: set[str]) -> None:
    file = FileDescriptorProto.FromString(base64.b64decode(schema.text, validate=True))
    file.name = name
    given = {each.name: each.schema for each in schema.references}
    for needed in file.dependency:
        if needed in added:
            continue
        added.add(needed)
        if needed in given:
            _add(pool, needed, given[needed], added)
        else:
            _add_installed(pool, needed, added)
    pool.Add(file)


def _add_installed(pool: DescriptorPool, name: str, added: set[str]) -> None:
    """Add a file that registries take for known, such as ``google/protobuf/timestamp.proto``.

    One that is not installed here is added empty: where only options come from it, they are not needed.
    """
    module = _installed(name)
    if module is None:
        pool.Add(FileDescriptorProto(name=name))
        return
    for needed in module.DESCRIPTOR.dependencies:
        if needed.name not in added:
            added.add(needed.name)
            _add_installed(pool, needed.name, added)
    pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)


def _installed(name: str) -> Any:
    """Return the generated module of a Protobuf file, None if it is not installed."""
    if not name.startswith("google/"):
        return None
    try:
        return importlib.import_module(name.removesuffix(".proto").replace("/", ".") + "_pb2")
    except ImportError:
        return None
