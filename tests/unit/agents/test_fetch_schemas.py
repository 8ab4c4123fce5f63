"""The schemas of a registry: kept for good, denied only by the registry's own word, else waited for."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from agents.fetch_schemas import BREAKER_S, DENIED_S, SchemaRegistry
from streams.codecs import Schema
from streams.errors import RegistryUnavailable
from tests.registry import Registry, running_registry

STRING = {"schema": '"string"'}


class Clock:
    """A clock that a test moves."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def registry() -> Iterator[Registry]:
    with running_registry() as running:
        yield running


def test_a_schema_is_asked_for_once(registry: Registry) -> None:
    number = registry.add(STRING)
    schemas = SchemaRegistry(registry.url)

    assert [schemas(number), schemas(number)] == [Schema("AVRO", '"string"')] * 2
    assert registry.asked == ["GET /schemas/ids/1"]


def test_what_the_registry_denies_is_asked_for_again_after_a_while(registry: Registry) -> None:
    clock = Clock()
    schemas = SchemaRegistry(registry.url, clock=clock)

    assert [schemas(1), schemas(1)] == [None, None]
    assert len(registry.asked) == 1
    registry.add(STRING)
    clock.now_s += DENIED_S
    assert schemas(1) == Schema("AVRO", '"string"')


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 503])
def test_an_answer_that_settles_nothing_denies_nothing(registry: Registry, status: int) -> None:
    """A 404 without the registry's own code is a wrong address or a proxy: good records must not die of it."""
    clock = Clock()
    schemas = SchemaRegistry(registry.url, clock=clock)
    registry.add(STRING)
    registry.fails_with = status

    with pytest.raises(
        RegistryUnavailable, match=rf"GET /schemas/ids/1, got status {status}: .*is schema_registry right"
    ):
        schemas(1)
    registry.fails_with = None
    with pytest.raises(RegistryUnavailable):
        schemas(1)
    assert len(registry.asked) == 1, "refused at once for a moment: the caller is an event loop"
    clock.now_s += BREAKER_S
    assert schemas(1) == Schema("AVRO", '"string"')


def test_a_registry_that_is_not_there_is_unavailable() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"

        with pytest.raises(RegistryUnavailable, match=f"^cannot read schemas: registry at {address}: .* is it up"):
            SchemaRegistry(f"http://{address}")(1)


def test_what_is_no_registry_is_unavailable() -> None:
    """A server that closes, or speaks something else, has said nothing about schemas."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        waiting = socket.create_connection(server.getsockname())  # the backlog's first: never answered
        with waiting, pytest.raises(RegistryUnavailable, match="timed out"):
            SchemaRegistry(f"http://{address}")(1)


def test_a_user_and_a_password_are_sent_and_never_shown(registry: Registry) -> None:
    schemas = SchemaRegistry(registry.url.replace("http://", "http://ann:s%40crit@"))
    registry.fails_with = 401

    with pytest.raises(RegistryUnavailable) as refusal:
        schemas(1)

    assert registry.authorizations == {"Basic YW5uOnNAY3JpdA=="}
    assert "crit" not in str(refusal.value)


def test_a_path_in_the_address_leads_every_question(registry: Registry) -> None:
    with pytest.raises(RegistryUnavailable):
        SchemaRegistry(f"{registry.url}/apis/ccompat/v7/")(1)

    assert registry.asked == ["GET /apis/ccompat/v7/schemas/ids/1"]


def test_the_newest_schema_of_a_subject_is_found(registry: Registry) -> None:
    for text in ('"string"', '"int"'):
        registry.answer("POST", "/subjects/visits-value/versions", {"schema": text})
    schemas = SchemaRegistry(registry.url)

    found = schemas.latest("visits-value")

    assert found is not None
    assert (found.id, found.schema) == (2, Schema("AVRO", '"int"'))
    assert schemas.latest("no/such-value") is None
