"""Avro to declared events, by the schema of whoever wrote them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from decimal import Decimal
from io import BytesIO
from typing import Any

from fastavro import parse_schema, schemaless_reader
from fastavro.schema import SchemaParseException

from streams.codecs.framed import HEAD_BYTES, FramedDecoder, ReadFields, Unreadable
from streams.codecs.schemas import AVRO, Schema
from streams.errors import DecodeError

_CORRUPT = (EOFError, IndexError, KeyError, ValueError, TypeError, OverflowError, MemoryError, StopIteration)
"""What the library raises on bytes that are not what the schema says."""

UNITS = {"timestamp-micros": 1_000, "timestamp-nanos": 1_000_000}
"""Logical type to how many of its units are a millisecond."""
_NAIVE = frozenset({"local-timestamp-millis", "local-timestamp-micros", "local-timestamp-nanos"})

Settle = Callable[[Any], Any]
"""Turns what the library reads for a logical type into a plain value."""


class AvroDecoder(FramedDecoder):
    """Decodes Avro records: a declared field is what the writer's schema calls so."""

    kind = AVRO

    def _reader_of(self, schema: Schema) -> ReadFields:
        record, named = parsed(schema)
        names = {each.name for each in self.event.fields}
        settlers = {
            field["name"]: settle
            for field in record["fields"]
            if field["name"] in names and (settle := self._settler(field["name"], field["type"], named)) is not None
        }
        plain = parse_schema(_plain(record, named))

        def read(value: bytes) -> dict[str, Any]:
            source = BytesIO(value)
            source.seek(HEAD_BYTES)
            try:
                fields: dict[str, Any] = schemaless_reader(source, plain, None)  # type: ignore[assignment]
            except UnicodeDecodeError as error:
                raise self._refusal("not_utf8", "$", str(error)) from error
            except _CORRUPT as error:
                raise self._refusal("bad_avro", "$", str(error) or type(error).__name__) from error
            if source.tell() != len(value):
                said = f"expected the record to end after {source.tell()} bytes, got {len(value)}"
                raise self._refusal("bad_avro", "$", said)
            for name, settle in settlers.items():
                fields[name] = settle(fields[name])
            return fields

        return read

    def _settler(self, name: str, node: Any, named: Mapping[str, Any]) -> Settle | None:
        """Return what settles a field's logical types, None if it has none that matter."""
        branches = node if isinstance(node, list) else [node]
        resolved = [named.get(each, each) if isinstance(each, str) else each for each in branches]
        kinds = {each["logicalType"]: each for each in resolved if isinstance(each, dict) and "logicalType" in each}
        if _NAIVE & kinds.keys():
            refusal = self._refusal("naive_time", f"$.{name}", "expected a time with an offset, got a local one")
            return lambda value: _refused_unless_none(value, refusal)
        for kind, units in UNITS.items():
            if kind in kinds:
                return lambda value: value // units if type(value) is int else value
        if "decimal" in kinds:
            scale = kinds["decimal"].get("scale", 0)
            return lambda value: _fraction(value, scale) if isinstance(value, bytes) else value
        return None


def _refused_unless_none(value: Any, refusal: DecodeError) -> None:
    if value is not None:
        raise refusal


def _fraction(value: bytes, scale: int) -> float:
    """Return the float nearest to an Avro decimal, an infinity where there is none."""
    return float(Decimal(int.from_bytes(value, "big", signed=True)).scaleb(-scale))


def parsed(schema: Schema) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a record schema with full names, and every named type that it can refer to.

    Raises:
        Unreadable: it is none.
    """
    named: dict[str, Any] = {}
    try:
        parsed = _parsed_into(schema, named)
    except (ValueError, KeyError, TypeError, SchemaParseException, RecursionError) as error:
        raise Unreadable(f"expected an Avro schema, got one that cannot be parsed: {error}") from error
    if not isinstance(parsed, dict) or parsed.get("type") != "record":
        raise Unreadable("expected a record, got another Avro type")
    return parsed, named


def _parsed_into(schema: Schema, named: dict[str, Any]) -> Any:
    for reference in schema.references:
        _parsed_into(reference.schema, named)
    return parse_schema(json.loads(schema.text), named_schemas=named)


def _plain(record: dict[str, Any], named: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema with its references put in and its logical types left out: they are settled here, exactly.

    Two kinds of schemas are refused, because with them a few bytes of a record end the process: a type that contains
    itself (the library recurses in C until the stack is gone), and arrays of nothing (2^60 of them take 10 bytes).
    """
    return _Plain(named).of(record)  # type: ignore[no-any-return]


class _Plain:
    """One walk over a schema."""

    def __init__(self, named: Mapping[str, Any]) -> None:
        self._named = named
        self._open: set[str] = set()
        self._done: dict[str, Any] = {}

    def of(self, node: Any) -> Any:
        if isinstance(node, list):
            return [self.of(each) for each in node]
        if isinstance(node, str):
            return self._of_name(node)
        kind = node["type"]
        if not isinstance(kind, str):
            return self.of(kind)
        special = {"array": self._of_array, "record": self._of_record, "error": self._of_record}.get(kind)
        if special is not None:
            return special(node)
        if kind == "map":
            return {"type": "map", "values": self.of(node["values"])}
        return self._of_leaf(node) if kind in {"enum", "fixed"} else self.of(kind)

    def _of_array(self, node: dict[str, Any]) -> dict[str, Any]:
        items = self.of(node["items"])
        if self._is_nothing(items):
            raise Unreadable("expected arrays whose items take bytes, got an array of nothing")
        return {"type": "array", "items": items}

    def _of_name(self, name: str) -> Any:
        if name in self._open:
            raise Unreadable(f"expected a type that ends, got {name}, which contains itself")
        if name in self._done:
            return name
        return self.of(self._named[name]) if name in self._named else name

    def _of_record(self, node: dict[str, Any]) -> dict[str, Any]:
        name = node["name"]
        self._open.add(name)
        fields = [{"name": each["name"], "type": self.of(each["type"])} for each in node["fields"]]
        self._open.discard(name)
        self._done[name] = {"type": "record", "name": name, "fields": fields}
        return self._done[name]  # type: ignore[no-any-return]

    def _of_leaf(self, node: dict[str, Any]) -> dict[str, Any]:
        self._done[node["name"]] = {each: node[each] for each in ("type", "name", "symbols", "size") if each in node}
        return self._done[node["name"]]  # type: ignore[no-any-return]

    def _is_nothing(self, node: Any) -> bool:
        """Return whether a value of the type takes no bytes."""
        plain = self._done.get(node, node) if isinstance(node, str) else node
        if isinstance(plain, dict) and plain["type"] == "record":
            return all(self._is_nothing(each["type"]) for each in plain["fields"])
        return plain == "null" or (isinstance(plain, dict) and plain.get("size") == 0)
