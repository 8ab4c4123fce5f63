"""Asks a schema registry, over the REST interface that all of them share, for the schemas that records name.

What a registry gave is kept for good: an id never changes its meaning. What it denied is asked for again after a while,
because a registry that follows another may not know a new id yet. While it does not answer, callers wait.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import msgspec

from streams.codecs.schemas import AVRO, PROTOBUF, Reference, Schema
from streams.errors import RegistryUnavailable

TIMEOUT_S = 2.0
"""How long the registry may take for each step of an answer."""
BREAKER_S = 1.0
"""How long after a failure callers are refused without asking: they run on an event loop."""
DENIED_S = 10.0
"""How long a denied id is not asked for again."""

_MOST_DENIED = 1_000
_LARGEST_ANSWER = 16 * 1024 * 1024
_DENIALS = frozenset({40401, 40402, 40403})
"""A registry's codes for a subject, a version and a schema that is not there. A mere 404 comes from others too."""

_NOT_FOUND = 404
_OK = 200


class _Denied(Exception):  # noqa: N818  # an answer, caught below
    """The registry says that there is no such thing."""


@dataclass(frozen=True, slots=True)
class Registered:
    """A schema and the id under which records name it."""

    id: int
    schema: Schema


class SchemaRegistry:
    """A registry's schemas by id; a `streams.codecs.Schemas`. One connection a question, and few questions.

    Example:
        >>> schemas = SchemaRegistry("http://user:secret@registry:8081")  # doctest: +SKIP
        >>> schemas(7).kind  # doctest: +SKIP
        'AVRO'
    """

    def __init__(self, url: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        parts = urlsplit(url)
        self._connect = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        self._address = parts.netloc.rpartition("@")[2]
        self._path = parts.path.rstrip("/")
        self._headers = {"Accept": "application/vnd.schemaregistry.v1+json, application/json", **_authorization(url)}
        self._clock = clock
        self._known: dict[int, Schema] = {}
        self._denied: dict[int, float] = {}
        self._failed: tuple[float, RegistryUnavailable] | None = None

    def __call__(self, schema_id: int) -> Schema | None:
        """Return a schema, None if the registry denies it. Cost: a round trip or two for an id, once.

        Raises:
            RegistryUnavailable: it does not answer, has just failed to, or answers as no registry does.
        """
        if schema_id in self._known:
            return self._known[schema_id]
        if self._clock() < self._denied.get(schema_id, 0.0):
            return None
        try:
            schema = self._schema(f"/schemas/ids/{schema_id}")
        except _Denied:
            if len(self._denied) >= _MOST_DENIED:
                self._denied.clear()
            self._denied[schema_id] = self._clock() + DENIED_S
            return None
        self._known[schema_id] = schema
        return schema

    def latest(self, subject: str) -> Registered | None:
        """Return the newest schema of a subject, such as ``visits-value``; None if the subject is not there.

        Raises:
            RegistryUnavailable: it does not answer, has just failed to, or answers as no registry does.
        """
        path = f"/subjects/{quote(subject, safe='')}/versions/latest"
        try:
            answer = self._ask(path)
            return Registered(int(answer["id"]), self._schema_of(path, answer))
        except _Denied:
            return None
        except (KeyError, ValueError, TypeError) as error:
            raise self._unavailable(f"expected a schema and its id, got {error!r}") from error

    def _schema(self, path: str) -> Schema:
        return self._schema_of(path, self._ask(path))

    def _schema_of(self, path: str, answer: Mapping[str, Any]) -> Schema:
        kind = answer.get("schemaType") or AVRO
        if kind == PROTOBUF:
            # Else it is the .proto text, which only a compiler reads.
            answer = self._ask(f"{path}{'&' if '?' in path else '?'}format=serialized")
        references = tuple(
            Reference(
                each["name"],
                self._schema(f"/subjects/{quote(each['subject'], safe='')}/versions/{each['version']}?deleted=true"),
            )
            for each in answer.get("references") or ()
        )
        return Schema(kind, answer["schema"], references)

    def _ask(self, path: str) -> dict[str, Any]:
        """Return the registry's answer to a GET.

        Raises:
            _Denied: it says that there is no such thing.
            RegistryUnavailable: it says nothing that settles the question.
        """
        if self._failed is not None and self._clock() < self._failed[0]:
            raise self._failed[1]
        try:
            status, body = self._get(path)
            answer = msgspec.json.decode(body) if body else None
        except (OSError, HTTPException, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise self._unavailable(f"expected an answer to GET {path}, got {error or type(error).__name__}") from error
        if status == _OK and isinstance(answer, dict) and isinstance(answer.get("schema"), str):
            self._failed = None
            return answer
        if status == _NOT_FOUND and isinstance(answer, dict) and answer.get("error_code") in _DENIALS:
            self._failed = None
            raise _Denied
        raise self._unavailable(f"expected a schema as answer to GET {path}, got status {status}: {body[:100]!r}")

    def _get(self, path: str) -> tuple[int, bytes]:
        connection = self._connect(self._address, timeout=TIMEOUT_S)
        try:
            connection.request("GET", self._path + path, headers=self._headers)
            answer = connection.getresponse()
            return answer.status, answer.read(_LARGEST_ANSWER)
        finally:
            connection.close()

    def _unavailable(self, said: str) -> RegistryUnavailable:
        error = RegistryUnavailable(
            f"cannot read schemas: registry at {self._address}: {said}; is schema_registry right, and is it up?"
        )
        self._failed = (self._clock() + BREAKER_S, error)
        return error


def _authorization(url: str) -> Mapping[str, str]:
    """Return the header that the user and the password in a URL stand for."""
    parts = urlsplit(url)
    if parts.username is None:
        return {}
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
