"""Turns the records of a requests topic into requests, and names what is wrong with those that are none."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from operator import attrgetter
from typing import Annotated, Any

import msgspec

from definitions.declared import GraphDefinition, ModelDefinition
from definitions.requests import CandidateValues, InputCheck, check_candidates
from definitions.values import Value, ValueType
from streams.records import LOG_APPEND_TIME, Partition, Record, headers_of
from streams.request_reply import (
    CORRELATION_ID,
    CORRELATION_ID_MAX_BYTES,
    REPLY_PARTITION,
    REPLY_TOPIC,
    TIMEOUT_MAX_MS,
    TIMEOUT_MS,
    TRACEPARENT,
    Reason,
    Rejection,
    ReplyTo,
    Request,
    Unroutable,
    partition_of,
    well_formed,
)
from streams.topics import REQUEST_MAX_BYTES

TEXT_MAX_CHARACTERS = 1_024
"""Longest entity, label key or category of a request."""

_TIMEOUT_DIGITS = 6
_MOST_TOPICS = 1_000
_INT64_MAX = 2**63 - 1
_TIME_MAX_MS = 253_402_300_799_999  # the end of the year 9999
_BELOW = ("", ".", "-")
_TAKEN = (".requests", ".outcomes", ".examples", ".dlq", ".late")  # of a model or a topic that is called replies
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}\Z")
_MISSING_FIELD = re.compile(r"Object missing required field `(.*)`\Z", re.DOTALL)

_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=TEXT_MAX_CHARACTERS)]
_Int = Annotated[int, msgspec.Meta(ge=-_INT64_MAX - 1, le=_INT64_MAX)]
_TimeMs = Annotated[int, msgspec.Meta(ge=0, le=_TIME_MAX_MS)]


class _Body(msgspec.Struct, frozen=True, kw_only=True):
    """A body as it comes: what the model asks for is checked by its definition."""

    model: str
    entities: dict[str, Any] = {}
    inputs: dict[str, Any] = {}
    label_key: _Text | _Int | None = None
    at: _TimeMs | _Text | None = None


def _decoder(asked: ModelDefinition | GraphDefinition) -> msgspec.json.Decoder[Any]:
    """Return the decoder of bodies: a graph's has its candidates in a type of their own, so that they are read at once.

    A candidate is an object, or its bare id where the graph declares no inputs of candidates.
    """
    if not isinstance(asked, GraphDefinition):
        return msgspec.json.Decoder(_Body)
    id_type = _Int if asked.candidates.entity.type is ValueType.INT else _Text
    inputs: Any = msgspec.defstruct(
        "_Inputs", [(each.name, _INPUTS[each.type] | None) for each in asked.candidates.inputs], gc=False, frozen=True
    )
    fields: list[Any] = [("id", id_type), ("inputs", inputs)] if asked.candidates.inputs else [("id", id_type)]
    fields += [("label_key", _Text | _Int | None, None)] if asked.takes_label_keys else []
    candidate: Any = msgspec.defstruct("_Candidate", fields, gc=False, frozen=True)
    item = candidate if asked.candidates.inputs else candidate | id_type
    many: Any = list[item] | None  # type: ignore[valid-type]  # a type made at run time
    body = msgspec.defstruct("_GraphBody", [("candidates", many, None)], bases=(_Body,), kw_only=True, frozen=True)
    return msgspec.json.Decoder(body)


_INPUTS: Mapping[ValueType, Any] = {
    ValueType.INT: int,
    ValueType.FLOAT: float,
    ValueType.BOOL: bool,
    ValueType.CATEGORY: _Text,
    ValueType.EMBEDDING: list[float],
}


class _Refused(Exception):  # noqa: N818  # never leaves this module
    """A body or header that is not what it has to be."""

    def __init__(self, path: str, text: str, reason: Reason = Reason.INVALID) -> None:
        super().__init__(f"cannot read request: {path}: {text}")
        self.reason = reason


class RequestReader:
    """Turns the records of one model's, or one graph's, requests topic into requests.

    A request brings every entity and input of the model, by the definition's own check; what is wrong is named by its
    path. Unknown fields are ignored.

    Args:
        model: whose requests, or the graph; a body that names another one is rejected.
        reply_prefix: replies may only go to this topic (`streams.topics.replies`) and to those below it: ``….billing``.

    Cost: about 8 us a request, and 0.3 us a candidate.
    """

    def __init__(self, model: ModelDefinition | GraphDefinition, *, reply_prefix: str) -> None:
        self._model = model
        self._reply_prefix = reply_prefix
        self._decoder = _decoder(model)
        self._check = InputCheck(model)
        self._allowed: dict[bytes, str] = {}
        """Reply topics that were allowed, by their bytes: callers have few."""

    def read(self, record: Record, partition: Partition, *, taken_ms: int) -> Request | Rejection | Unroutable:
        """Return what the record asks, or why it cannot be answered with a score.

        Args:
            record: as the log hands it out.
            partition: where it stands.
            taken_ms: now; the clock of records whose time was not given by the broker.
        """
        request_id = f"{partition.topic}/{partition.index}@{record.offset()}"
        headers = dict(headers_of(record))
        reply_to = self._reply_to(headers)
        if isinstance(reply_to, str):
            return Unroutable(request_id, reply_to)
        kind, stamp_ms = record.timestamp()
        appended_ms = stamp_ms if kind == LOG_APPEND_TIME else taken_ms
        try:
            _check_partition(headers.get(REPLY_PARTITION))
            timeout_ms = _timeout_ms(headers.get(TIMEOUT_MS), self._model.timeout_ms)
            return self._request(record.value(), (request_id, reply_to, appended_ms, appended_ms + timeout_ms))
        except _Refused as refused:
            return Rejection(request_id, reply_to, refused.reason, str(refused))

    def _reply_to(self, headers: Mapping[str, bytes | None]) -> ReplyTo | str:
        correlation_id, topic = headers.get(CORRELATION_ID), headers.get(REPLY_TOPIC)
        if not correlation_id:
            return "no_correlation_id"
        if len(correlation_id) > CORRELATION_ID_MAX_BYTES:
            return "bad_correlation_id"
        if not topic:
            return "no_reply_topic"
        name = self._allowed.get(topic) or self._allow(topic)
        if name is None:
            return "reply_topic_not_allowed"
        partition = partition_of(headers.get(REPLY_PARTITION))
        return ReplyTo(name, correlation_id, partition, well_formed(headers.get(TRACEPARENT)))

    def _allow(self, topic: bytes) -> str | None:
        """Return the name of a topic that replies may go to, and remember it."""
        name = topic.decode("ascii", "replace")
        if not self._allows(name):
            return None
        if len(self._allowed) >= _MOST_TOPICS:
            self._allowed.clear()
        self._allowed[topic] = name
        return name

    def _allows(self, topic: str) -> bool:
        """Return whether replies may go to ``topic``: the namespace's own, or one below it that is nobody else's."""
        below = topic.removeprefix(self._reply_prefix)
        is_ours = below != topic and below[:1] in _BELOW and not below.endswith(_TAKEN)
        return is_ours and _TOPIC.match(topic) is not None

    def _request(self, value: bytes | None, about: tuple[str, ReplyTo, int, int]) -> Request:
        body = _decode(self._decoder, value)
        if body.model != self._model.name:
            raise _Refused("$.model", f"expected {self._model.name}, got {_short(body.model)}")
        given = self._check(body.entities, body.inputs)
        if isinstance(given, str):
            path, _, text = given.partition(": ")
            raise _Refused(path, text)
        candidates = _candidates(self._model, body.candidates) if isinstance(self._model, GraphDefinition) else None
        _check_lengths("entities", given.entities)
        _check_lengths("inputs", given.inputs)
        if body.label_key is None and self._model.label is not None:
            raise _Refused("$.label_key", "expected the key that the label will come with, got none")
        request_id, reply_to, appended_ms, deadline_ms = about
        return Request(
            request_id=request_id,
            reply_to=reply_to,
            appended_ms=appended_ms,
            deadline_ms=deadline_ms,
            at_ms=appended_ms if body.at is None else _time_ms(body.at),
            entities=given.entities,
            inputs=given.inputs,
            label_key=None if body.label_key is None else str(body.label_key),
            candidates=candidates,
        )


def _decode(decoder: msgspec.json.Decoder[Any], value: bytes | None) -> Any:
    if value is None:
        raise _Refused("$", "expected a JSON object, got a tombstone")
    if len(value) > REQUEST_MAX_BYTES:
        raise _Refused("$", f"expected at most {REQUEST_MAX_BYTES} bytes, got {len(value)}", Reason.TOO_LARGE)
    try:
        return decoder.decode(value)
    except msgspec.ValidationError as error:
        raise _Refused(*_located(str(error))) from error
    except msgspec.DecodeError as error:
        raise _Refused("$", f"expected a JSON object: {error}") from error
    except UnicodeDecodeError as error:
        raise _Refused("$", "expected UTF-8, got other bytes") from error
    except RecursionError as error:
        raise _Refused("$", "expected a JSON object, got one nested too deeply") from error


def _candidates(graph: GraphDefinition, given: list[Any] | None) -> CandidateValues:
    if given is None:
        raise _Refused("$.candidates", "expected a list of candidates, got none")
    limit = graph.candidates.limit
    if len(given) > limit:
        raise _Refused("$.candidates", f"expected at most {limit}, got {len(given)}", Reason.TOO_LARGE)
    own = graph.candidates.inputs
    ids = list(map(attrgetter("id"), given)) if own else [getattr(each, "id", each) for each in given]
    inputs = {each.name: list(map(attrgetter(f"inputs.{each.name}"), given)) for each in own}
    found = check_candidates(graph, ids, inputs)
    if isinstance(found, str):
        path, _, text = found.partition(": ")
        raise _Refused(path, text)
    if not graph.takes_label_keys:
        return found
    return replace(found, label_keys=[getattr(each, "label_key", None) for each in given])


def _check_lengths(part: str, values: Mapping[str, Value]) -> None:
    for name, value in values.items():
        if isinstance(value, str) and not 1 <= len(value) <= TEXT_MAX_CHARACTERS:
            text = f"expected 1 to {TEXT_MAX_CHARACTERS} characters, got {len(value)}"
            raise _Refused(f"$.{part}.{name}", text)


def _check_partition(header: bytes | None) -> None:
    if header is not None and partition_of(header) is None:
        raise _Refused(f"$headers.{REPLY_PARTITION}", f"expected a partition as 4 big-endian bytes, got {header[:8]!r}")


def _timeout_ms(header: bytes | None, default_ms: int) -> int:
    if header is None:
        return default_ms
    timeout_ms = int(header) if header.isdigit() and len(header) <= _TIMEOUT_DIGITS else 0
    if not 1 <= timeout_ms <= TIMEOUT_MAX_MS:
        text = f"expected 1 to {TIMEOUT_MAX_MS} in decimal digits, got {header[:16]!r}"
        raise _Refused(f"$headers.{TIMEOUT_MS}", text)
    return timeout_ms


def _time_ms(at: int | str) -> int:
    if isinstance(at, int):
        return at
    try:
        time = msgspec.convert(at, datetime)
    except msgspec.ValidationError:
        time = None
    if time is None or time.tzinfo is None:
        raise _Refused("$.at", f"expected epoch ms or RFC 3339 with an offset, got {_short(at)}")
    at_ms = round(time.timestamp() * 1_000)
    if not 0 <= at_ms <= _TIME_MAX_MS:
        raise _Refused("$.at", f"expected a time from 1970 on, got {_short(at)}")
    return at_ms


def _located(text: str) -> tuple[str, str]:
    """Split a decoder's message into the path and the rest, in the form of our own messages."""
    problem, _, place = text.partition(" - at `")
    path = place.removesuffix("`") or "$"
    missing = _MISSING_FIELD.match(problem)
    if missing is not None:
        return f"{path}.{missing[1]}", "expected a value, got none"
    return path, (problem[:1].lower() + problem[1:]).replace("`", "")


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:40]}…")  # noqa: PLR2004  # enough to recognise it
