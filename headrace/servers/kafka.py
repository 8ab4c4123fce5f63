"""A real Apache Kafka on this machine: KRaft, one node, loopback, small and quick to start.

The jars come by Maven from ``ops/kafka/pom.xml``, once. The data stays across restarts. The class data archive, written
at the first clean stop, halves the start (2.7 s to 1.1 s on 2 cores).
"""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
import subprocess
import time
import uuid
from collections.abc import Mapping
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from headrace.errors import ServerMissing
from headrace.servers import processes
from headrace.servers.addresses import LOOPBACK, free_ports, listening

VERSION = "4.1.1"
JAVA = 17

SESSION_SETTINGS: Mapping[str, str] = {
    "group.coordinator.rebalance.protocols": "classic,consumer",
    "group.consumer.session.timeout.ms": "6000",
    "group.consumer.min.session.timeout.ms": "6000",
    "group.consumer.heartbeat.interval.ms": "500",
    "group.consumer.min.heartbeat.interval.ms": "500",
    "group.initial.rebalance.delay.ms": "0",
}
"""What clients cannot set: how soon a dead member's partitions move. The stock broker takes 45 s."""

ONE_NODE: Mapping[str, str] = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "default.replication.factor": "1",
    "auto.create.topics.enable": "false",
    "log.cleaner.dedupe.buffer.size": "16777216",
    # With the stock eight and three threads the broker takes a sixth more of a processor, for cold caches.
    "num.io.threads": "2",
    "num.network.threads": "1",
}

_OPS = Path(__file__).resolve().parents[2] / "ops" / "kafka"
_START_S = 45.0
_STOP_S = 20.0
_ATTEMPTS = 3
_JVM = (
    "-Xmx512m",
    "-XX:+UseSerialGC",
    "-XX:-UsePerfData",
    "-Xlog:disable",
    "-Xlog:all=error:stderr",
)

_AT_ONCE = "-XX:TieredStopAtLevel=1"
"""The first of Java's compilers alone: 0.36 of a processor, not 0.84, in the first seconds; 0.52, not 0.46, later."""


def java_version() -> int | None:
    """Return the major version of the ``java`` on the PATH, None if there is none that runs."""
    java = shutil.which("java")
    if java is None:
        return None
    said = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)  # noqa: S603
    found = re.search(r'version "(\d+)', said.stderr)
    return int(found[1]) if said.returncode == 0 and found else None


def obstacle(jars: Path) -> str | None:
    """Return why the broker cannot be started here, None if it can."""
    java = java_version()
    if java is None:
        return f"no Java on the PATH; install Java {JAVA}"
    if java < JAVA:
        return f"Java {java} on the PATH; install Java {JAVA}"
    if not installed(jars) and shutil.which("mvn") is None:
        return "no mvn on the PATH to fetch Kafka with; install Maven"
    return None


def installed(jars: Path) -> bool:
    """Return whether ``jars`` holds what today's pom asks for."""
    mark = jars / "pom.sha256"
    return mark.is_file() and mark.read_text() == _pom_digest()


def install(jars: Path) -> None:
    """Bring the jars into ``jars`` by Maven, all or nothing.

    Raises:
        ServerMissing: there is no Maven, or it could not fetch them.
    """
    maven = shutil.which("mvn")
    if maven is None:
        raise ServerMissing("cannot install kafka: mvn: not on the PATH; install Maven, or set HEADRACE_KAFKA")
    unfinished = jars.with_name(f"jars.{uuid.uuid4().hex[:8]}")
    fetch = [maven, "-q", "-B", "-f", str(_OPS / "pom.xml"), "dependency:copy-dependencies"]
    said = subprocess.run(  # noqa: S603  # the command line is ours
        [*fetch, f"-DoutputDirectory={unfinished}"], capture_output=True, text=True, check=False
    )
    if said.returncode != 0:
        shutil.rmtree(unfinished, ignore_errors=True)
        why = next((line for line in said.stdout.splitlines() if "ERROR" in line), "no reason given")
        raise ServerMissing(f"cannot install kafka: mvn: {why[:300]}; check the network, or set HEADRACE_KAFKA")
    (unfinished / "pom.sha256").write_text(_pom_digest())
    if jars.exists():
        shutil.rmtree(jars)
    unfinished.rename(jars)


def start(home: Path, *, jars: Path, port: int = 0, lasting: bool = False) -> tuple[int, str]:
    """Start the broker with its data under ``home``; return its pid and address once it answers a client.

    Args:
        home: the broker's own folder, made if it is missing.
        jars: where `install` put them.
        port: the port to take if it is free, 0 for any.
        lasting: it is to be quick in the long run, not at once.

    Raises:
        ServerMissing: it ended or did not answer in time; the message names its log.
    """
    home.mkdir(parents=True, exist_ok=True)
    for _ in range(_ATTEMPTS):
        client, controller = free_ports([port, 0])
        _configure(home, client, controller)
        cluster = _format(home, jars)
        address = f"{LOOPBACK}:{client}"
        pid = processes.spawn(_command(home, jars, lasting=lasting), lock=home / "lock", output=home / "console.log")
        if _ready(address, cluster, lock=home / "lock"):
            return pid, address
        stop(home)
        port = 0
    raise ServerMissing(f"cannot start kafka: expected an answer in {_START_S:.0f} s, got none; see {home}/kafka.log")


def stop(home: Path) -> None:
    """Stop the broker: SIGTERM, and SIGKILL if it does not end in time."""
    processes.terminate(home / "lock", deadline_s=_STOP_S)


def _pom_digest() -> str:
    try:
        return hashlib.sha256((_OPS / "pom.xml").read_bytes()).hexdigest()
    except OSError as error:
        raise ServerMissing(f"cannot install kafka: {_OPS}/pom.xml: {error.strerror}; set HEADRACE_KAFKA") from error


def _configure(home: Path, client: int, controller: int) -> None:
    listener = f"PLAINTEXT://{LOOPBACK}:{client}"
    lines = {
        **ONE_NODE,
        **SESSION_SETTINGS,
        "controller.quorum.voters": f"1@{LOOPBACK}:{controller}",
        "listeners": f"{listener},CONTROLLER://{LOOPBACK}:{controller}",
        "advertised.listeners": listener,
        "log.dirs": str(home / "data"),
    }
    (home / "server.properties").write_text("".join(f"{name}={value}\n" for name, value in lines.items()))


def _format(home: Path, jars: Path) -> str:
    """Return the cluster id of the data, which is formatted first if it is new."""
    meta = home / "data" / "meta.properties"
    if not meta.exists():
        cluster = cluster_id(uuid.uuid4().bytes)
        tool = [*_java(home, jars), "kafka.tools.StorageTool", "format", "-t", cluster]
        said = subprocess.run(  # noqa: S603  # the command line is ours
            [*tool, "-c", str(home / "server.properties")], capture_output=True, text=True, check=False
        )
        if said.returncode != 0:
            raise ServerMissing(
                f"cannot format kafka's data: {home / 'data'}: {said.stdout[-300:]}{said.stderr[-300:]}"
            )
    found = re.search(r"^cluster\.id=(.+)$", meta.read_text(), re.MULTILINE)
    if found is None:
        raise ServerMissing(f"cannot start kafka: {meta}: expected a cluster.id, got none; remove {home / 'data'}")
    return found[1].strip()


def cluster_id(drawn: bytes) -> str:
    """Return 16 drawn bytes as Kafka writes them; never with a dash in front, which its tool takes for an option."""
    written = base64.urlsafe_b64encode(drawn).decode().rstrip("=")
    return f"_{written[1:]}" if written.startswith("-") else written


def _java(home: Path, jars: Path) -> list[str]:
    java = shutil.which("java")
    if java is None:
        raise ServerMissing(f"cannot start kafka: java: not on the PATH; install Java {JAVA}, or set HEADRACE_KAFKA")
    archive = jars / "kafka.jsa"
    sharing = [f"-XX:SharedArchiveFile={archive}"] if archive.exists() else []
    logging = [f"-Dlog4j2.configurationFile={_OPS / 'log4j2.properties'}", f"-Dheadrace.log={home / 'kafka.log'}"]
    return [java, *_JVM, *sharing, *logging, "-cp", f"{jars}/*"]


def _command(home: Path, jars: Path, *, lasting: bool) -> list[str]:
    java, *rest = _java(home, jars)
    archive = jars / "kafka.jsa"
    writing = [] if archive.exists() else [f"-XX:ArchiveClassesAtExit={archive}"]
    compiling = [] if lasting else [_AT_ONCE]
    return [java, *writing, *compiling, *rest, "kafka.Kafka", str(home / "server.properties")]


def _ready(address: str, cluster: str, *, lock: Path) -> bool:
    """Wait for this very cluster's answer: a port that was lost to another process does not count."""
    host, _, port = address.rpartition(":")
    until = time.monotonic() + _START_S
    while not listening(host, int(port)):
        if time.monotonic() > until or processes.holder(lock) is None:
            return False
        time.sleep(0.02)
    admin = AdminClient({"bootstrap.servers": address, "log_level": 0, "reconnect.backoff.max.ms": 200})
    while processes.holder(lock) is not None and time.monotonic() < until:
        try:
            metadata = admin.list_topics(timeout=1)
        except KafkaException:
            continue
        if metadata.brokers:
            return bool(metadata.cluster_id == cluster)
    return False
