"""The same events in JSON, Avro and Protobuf, through the real features role, are the same features."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.apps.project import AT_MS, Project
from tests.registry import (
    TIMESTAMP,
    F,
    Registry,
    Writer,
    enum,
    field,
    message,
    message_class,
    proto_file,
    running_registry,
)

pytestmark = [pytest.mark.kafka, pytest.mark.redis]

CODECS = ("json", "avro", "protobuf")
SOURCE = """
from datetime import datetime
import headrace as hr

__app_name__ = "{name}"
"""
EVENT = """
class Departed{title}(
    hr.Event, topic="{name}.{codec}", id="flight_id", at="departed_at", disorder="15m", key="origin", codec="{codec}"
):
    flight_id: str
    origin: str
    delay_min: float
    seats: int | None
    departed_at: datetime

class Traffic{title}(hr.Features, on=Departed{title}, by="origin", version=1):
    flights = hr.count().over("1h", "24h")
    delay = hr.mean(Departed{title}.delay_min).over("24h")
    seats = hr.sum(Departed{title}.seats).over("24h")
    latest = hr.last(Departed{title}.delay_min).over("24h")
"""
AVRO = {
    "type": "record",
    "name": "Departed",
    "fields": [
        {"name": "flight_id", "type": "string"},
        {"name": "origin", "type": {"type": "enum", "name": "Airport", "symbols": ["JFK", "LGA", "EWR"]}},
        {"name": "delay_min", "type": "double"},
        {"name": "seats", "type": ["null", "int"]},
        {"name": "departed_at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "gate", "type": ["null", "string"]},
    ],
}
ORIGINS = ("JFK", "LGA", "EWR")
AIRPORT = enum("Airport", *ORIGINS)
PROTOBUF = proto_file(
    message(
        "Departed",
        field("gate", 9, F.TYPE_STRING),
        field("flight_id", 1, F.TYPE_STRING),
        field("origin", 2, F.TYPE_ENUM, ".test.Airport"),
        field("delay_min", 3, F.TYPE_DOUBLE),
        field("seats", 4, F.TYPE_INT32, optional=True),
        field("departed_at", 5, F.TYPE_MESSAGE, TIMESTAMP),
    ),
    enums=[AIRPORT],
)
EVENTS = 300


@pytest.fixture
def registry() -> Iterator[Registry]:
    with running_registry() as running:
        yield running


@pytest.fixture
def project(tmp_path: Path, unique: str, kafka: str, redis_url: str, registry: Registry) -> Project:
    """Return a project of three topics that hold the same events, each in a codec of its own."""
    source = SOURCE + "".join(EVENT.replace("{title}", each.title()).replace("{codec}", each) for each in CODECS)
    (tmp_path / "app.py").write_text(source.format(name=unique))
    (tmp_path / "pyproject.toml").write_text(
        f'[tool.headrace]\napp = "app"\nkafka = "{kafka}"\nredis = "{redis_url}"\nadmin_port = 0\npartitions = 2\n'
        f'schema_registry = "{registry.url}"\n'
    )
    return Project(tmp_path, unique, kafka)


def departure(number: int) -> dict[str, Any]:
    return {
        "flight_id": f"F{number}",
        "origin": ORIGINS[number % 3],
        "delay_min": number / 7,
        "seats": None if number % 5 == 0 else number,
        "departed_at": AT_MS - 1_000 * number,
    }


def as_avro(event: Mapping[str, Any]) -> dict[str, Any]:
    return {**event, "departed_at": event["departed_at"] * 1_000 + 999, "gate": None}


def as_protobuf(event: Mapping[str, Any]) -> Any:
    at = {"seconds": event["departed_at"] // 1_000, "nanos": event["departed_at"] % 1_000 * 1_000_000 + 999_999}
    values = {**event, "origin": ORIGINS.index(event["origin"]), "departed_at": at}
    return message_class(PROTOBUF, "Departed")(**{name: each for name, each in values.items() if each is not None})


def publish(project: Project, registry: Registry, numbers: range, schema: Any = AVRO) -> None:
    """Send the same departures to all three topics, as their services would."""
    events = [departure(number) for number in numbers]
    with Writer(registry, f"{project.name}.avro") as writer:
        avro = writer.avro(schema, *(as_avro(each) for each in events))
    with Writer(registry, f"{project.name}.protobuf") as writer:
        protobuf = writer.protobuf(*(as_protobuf(each) for each in events))
    written = {"json": [json.dumps(each).encode() for each in events], "avro": avro, "protobuf": protobuf}
    for codec, values in written.items():
        for event, value in zip(events, values, strict=True):
            project.send(f"{project.name}.{codec}", value, key=event["origin"].encode())


def values(project: Project, codec: str, origin: str) -> Mapping[str, Any]:
    said = project.command("features", "get", f"traffic_{codec}", origin, "--as-of", str(AT_MS), "--json")
    assert said.returncode == 0, said.stderr
    found: Mapping[str, Any] = json.loads(said.stdout)["values"]
    return found


def read(project: Project, codec: str) -> float:
    return project.metric("features", "row_records", fold="intake", topic=f"{project.name}.{codec}")


def test_all_codecs_give_the_same_features_and_an_unknown_schema_is_a_dead_letter(
    project: Project, registry: Registry
) -> None:
    stray = b"\0\0\0\x03\xe7" + b"not in the registry"
    with project.running("features"):
        publish(project, registry, range(EVENTS))
        project.send(f"{project.name}.avro", stray, key=b"JFK")
        project.until(lambda: sum(read(project, each) for each in CODECS) == 3 * EVENTS + 1)

        for origin in ORIGINS:
            as_json, as_avro_, as_protobuf_ = (values(project, each, origin) for each in CODECS)
            assert as_json["flights_24h"] == EVENTS / 3
            assert as_avro_ == as_json
            assert as_protobuf_ == as_json
        [letter] = project.records(f"{project.name}.{project.name}.avro.dlq")
        assert (letter.value(), dict(letter.headers() or ())["dlq.reason"]) == (stray, b"unknown_schema")
        audit = project.audit()

    assert (audit["lost"], audit["counted_twice"]) == (0, 0)
    assert sum(each["dead"] for each in audit["intakes"]) == 1


def test_a_registry_that_is_away_makes_new_schemas_wait_and_nothing_dead(project: Project, registry: Registry) -> None:
    newer = {**AVRO, "fields": [*AVRO["fields"], {"name": "wind", "type": ["null", "double"], "default": None}]}
    with project.running("features"):
        publish(project, registry, range(30))
        project.until(lambda: sum(read(project, each) for each in CODECS) == 90)
        with Writer(registry, f"{project.name}.avro") as writer:
            [late] = writer.avro(newer, as_avro(departure(30)))
        registry.fails_with = 503

        project.send(f"{project.name}.avro", late, key=b"JFK")
        project.until(lambda: project.metric("features", "registry_waits_total") >= 2)
        project.send(f"{project.name}.json", json.dumps(departure(30)).encode(), key=b"JFK")
        project.until(lambda: read(project, "json") == 31)
        assert read(project, "avro") == 30
        registry.fails_with = None
        project.until(lambda: read(project, "avro") == 31)

        assert values(project, "avro", "JFK") == values(project, "json", "JFK")
        audit = project.audit()

    assert sum(each["dead"] for each in audit["intakes"]) == 0


def test_lines_of_json_are_published_in_the_topics_own_codec(project: Project, registry: Registry) -> None:
    """Doctor tells what is missing before, publish refuses until then."""
    topic = f"{project.name}.avro"
    lines = "".join(json.dumps({**departure(number), "gate": None}) + "\n" for number in range(50))
    unregistered = project.command("publish", topic, "-", given=lines)
    assert (unregistered.returncode, unregistered.stdout) == (2, "")
    assert f"subject {topic}-value: expected an avro schema, got none; register one" in unregistered.stderr
    with Writer(registry, topic) as writer:
        writer.register(f"{topic}-value", AVRO)

    published = project.command("publish", topic, "-", "--json", given=lines + '{"flight_id": 7}\n')
    project.command("publish", f"{project.name}.json", "-", given=lines)
    doctor = json.loads(project.command("doctor", "--json").stdout)

    assert published.returncode == 1
    assert "cannot publish: line 51: " in published.stderr
    assert json.loads(published.stdout) == {"topic": topic, "published": 50, "without_key": 0, "refused": 1}
    findings = {each["name"]: each for each in doctor["findings"]}
    assert findings["codec of departed_avro"]["ok"]
    assert findings["codec of departed_protobuf"]["found"] == f"nothing under {project.name}.protobuf-value"
    with project.running("features"):
        project.until(lambda: read(project, "avro") == read(project, "json") == 50)
        assert values(project, "avro", "LGA") == values(project, "json", "LGA")
