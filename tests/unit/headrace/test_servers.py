"""Which servers a command works on, and what the container's copy of them has in common with the local ones."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest

from headrace.errors import ServerMissing
from headrace.servers import docker, kafka, redis
from headrace.servers.substrate import existing, provide
from headrace.settings import ROLES, Settings

REPOSITORY = Path(__file__).resolve().parents[3]


def silent(text: str) -> None:
    raise AssertionError(f"nothing takes long here, yet it was said: {text}")


def environment_of(service: str) -> dict[str, str]:
    lines = re.findall(r"^      ([A-Z_]+): \"?([^\"\n]+)\"?$", section_of(service), re.MULTILINE)
    return dict(lines)


def section_of(service: str) -> str:
    text = (REPOSITORY / "docker-compose.yml").read_text()
    found = re.search(rf"^  {service}:\n(.*?)(?=^  \w+:\n|^\S|\Z)", text, re.MULTILINE | re.DOTALL)
    assert found is not None, f"docker-compose.yml has no service {service}"
    return found[1]


def test_configured_servers_are_taken_as_they_are(tmp_path: Path) -> None:
    settings = Settings(root=tmp_path, kafka="k:9092", redis="redis://r/0")

    chosen = provide(settings, tmp_path, say=silent)

    assert (chosen.kafka, chosen.redis, chosen.in_process) == ("k:9092", "redis://r/0", False)
    assert chosen.line == "kafka at k:9092 (configured), redis at redis://r/0 (configured)"
    assert existing(settings, tmp_path) == chosen


def test_what_is_neither_configured_nor_up_is_named_with_what_mends_it(tmp_path: Path) -> None:
    with pytest.raises(ServerMissing, match=r"cannot find redis.*HEADRACE_REDIS.*`headrace up`"):
        existing(Settings(root=tmp_path, kafka="k:9092"), tmp_path)


def test_the_log_in_memory_is_chosen_when_asked_for_and_is_no_others(tmp_path: Path) -> None:
    settings = Settings(root=tmp_path, substrate="in-process")

    chosen = provide(settings, tmp_path, say=silent)

    assert chosen.in_process
    assert chosen.pinned(settings).substrate == "in-process"
    with pytest.raises(ServerMissing, match="in-process"):
        existing(settings, tmp_path)


def test_without_java_docker_and_redis_the_memory_serves_and_one_line_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    chosen = provide(Settings(root=tmp_path), tmp_path, say=silent)

    assert chosen.in_process
    assert "kafka: no Java on the PATH" in chosen.line
    assert "docker: no docker on the PATH" in chosen.line
    assert "\n" not in chosen.line
    with pytest.raises(ServerMissing, match="no Java on the PATH"):
        provide(Settings(root=tmp_path, substrate="kafka"), tmp_path, say=silent)
    with pytest.raises(ServerMissing, match="no Java on the PATH"):
        provide(Settings(root=tmp_path, redis="redis://r/0"), tmp_path, say=silent)


def test_the_choice_is_pinned_for_child_processes(tmp_path: Path) -> None:
    settings = Settings(root=tmp_path, kafka="k:9092", redis="redis://r/0")

    pinned = provide(settings, tmp_path, say=silent).pinned(settings)

    assert (pinned.kafka, pinned.redis, pinned.substrate) == ("k:9092", "redis://r/0", "kafka")


def test_the_container_of_kafka_is_set_as_the_local_one_is() -> None:
    own = environment_of("kafka")
    shared = {**kafka.SESSION_SETTINGS, **kafka.ONE_NODE}
    del shared["listener.security.protocol.map"]

    assert {name: own.get("KAFKA_" + name.upper().replace(".", "_")) for name in shared} == shared
    assert f"image: apache/kafka:{kafka.VERSION}" in section_of("kafka")
    assert f"<version>{kafka.VERSION}</version>" in (REPOSITORY / "ops/kafka/pom.xml").read_text()


def test_the_container_of_redis_is_set_as_the_local_one_is() -> None:
    words = re.findall(r'"([^"]*)"', section_of("redis"))

    assert all((f"--{name}", value) in pairwise(words) for name, value in redis.SETTINGS)


def test_published_ports_are_on_loopback_and_where_the_commands_look() -> None:
    text = (REPOSITORY / "docker-compose.yml").read_text()
    published = re.findall(r"^      - (127\.0\.0\.1:)?(\d+):(\d+)$", text, re.MULTILINE)

    settings = Settings(root=REPOSITORY)
    ports = {int(outside) for _, outside, _ in published}
    assert all(loopback for loopback, _, _ in published)
    assert text.count("    ports:\n") == len(published)
    assert ports == {docker.KAFKA_PORT, docker.REDIS_PORT, *(settings.admin_port_of(role) for role in ROLES)}


@pytest.mark.parametrize("role", ROLES)
def test_every_role_is_a_service_with_a_health_check_and_a_target_of_prometheus(role: str) -> None:
    port = Settings(root=REPOSITORY).admin_port_of(role)
    section = section_of(role)

    assert f'command: ["run", "{role}"]' in section
    assert f"http://127.0.0.1:{port}/readyz" in section
    prometheus = (REPOSITORY / "ops/prometheus/prometheus.yml").read_text()
    assert f'- targets: ["127.0.0.1:{port}"]\n        labels: {{role: {role}}}' in prometheus


def test_a_cluster_id_is_never_taken_for_an_option() -> None:
    drawn = bytes([0xF8, *range(15)])

    assert kafka.cluster_id(drawn).startswith("_")
    assert len(kafka.cluster_id(drawn)) == len(kafka.cluster_id(bytes(16))) == 22
