"""Bytes to declared events, or to the reason why not, whatever the codec of their topic.

Only the declared fields are read, by name; unknown ones are ignored. Times are integer ms UTC afterwards; on the wire
they are RFC 3339 with offset or integer epoch ms, in Avro also a ``timestamp-millis``, ``-micros`` or ``-nanos``, in
Protobuf also a ``google.protobuf.Timestamp``. An enum is a category. The same values are the same event in every codec.
Why a record may be unusable (its *dead-letter reason*):

==================  ==================================================================================================
``not_utf8``        bytes that are no UTF-8
``bad_json``        no JSON object: cut short, a byte order mark, half a surrogate pair, nested too deeply, …
``bad_avro``        bytes that are not what their Avro schema says
``bad_protobuf``    bytes that are not what their Protobuf schema says
``bad_frame``       an Avro or Protobuf record without a 0 and a schema id before it, or of a message its schema lacks
``unknown_schema``  a schema id that the registry denies
``wrong_schema``    a schema of another codec, or one that cannot be read safely
``missing_field``   a declared field is absent (a nullable one may be: it is null then)
``wrong_type``      a field of another type, null where it is not nullable, or an embedding of another length
``not_finite``      NaN, Infinity, or a number that a float cannot hold
``empty_value``     no bytes at all: a tombstone
``too_large``       more bytes than the event's ``max_bytes``
``naive_time``      a time without offset
``future_time``     an event time more than 5 minutes ahead of the broker's clock (`streams.intake`)
``no_copy``         a record in a copy topic that headrace did not write (`streams.copies`)
``out_of_range``    a whole number beyond 64 bits, or a time before 1970 or after 9999
==================  ==================================================================================================

A registry that cannot be asked is no reason: `streams.errors.RegistryUnavailable` makes the partition wait.
"""

from __future__ import annotations

import importlib

from definitions.declared import EventDefinition
from streams.codecs.decoder import LATEST_MS, Event, EventDecoder
from streams.codecs.json_events import JsonDecoder
from streams.codecs.schemas import Reference, Schema, Schemas
from streams.errors import CodecMissing

__all__ = ["LATEST_MS", "Event", "EventDecoder", "Reference", "Schema", "Schemas", "decoder_of"]

_FRAMED = {"avro": ("fastavro", "AvroDecoder"), "protobuf": ("protobuf", "ProtobufDecoder")}
"""Codec to the distribution that it needs, and the class in ``streams.codecs.<codec>_events``."""


def decoder_of(event: EventDefinition, schemas: Schemas | None = None) -> EventDecoder:
    """Return what decodes the records of an event's topic.

    Args:
        event: the event, whose ``codec`` says how its records are written.
        schemas: the schema registry; JSON needs none.

    Raises:
        CodecMissing: the codec needs a package that is not installed, or a registry that nobody named.
    """
    if event.codec == "json":
        return JsonDecoder(event)
    distribution, name = _FRAMED[event.codec]
    what = f"cannot decode {event.name}: codec {event.codec}"
    if schemas is None:
        raise CodecMissing(
            f"{what}: expected a schema registry, got none; "
            "name it with schema_registry under [tool.headrace] or HEADRACE_SCHEMA_REGISTRY"
        )
    try:
        module = importlib.import_module(f"streams.codecs.{event.codec}_events")
    except ModuleNotFoundError as error:
        raise CodecMissing(
            f"{what}: expected the package {distribution}, got none; pip install 'headrace[codecs]'"
        ) from error
    decoder: EventDecoder = getattr(module, name)(event, schemas)
    return decoder
