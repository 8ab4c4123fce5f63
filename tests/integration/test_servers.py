"""The local servers: what is started answers, stays where it was, keeps its data, and ends when told."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from headrace import servers
from headrace.errors import ServerMissing
from headrace.servers import kafka as local_kafka
from headrace.servers import processes
from headrace.servers.addresses import free_ports

pytestmark = pytest.mark.redis

_DEADLINE_S = 60.0


@pytest.fixture
def project(tmp_path: Path, redis_url: str) -> Iterator[Path]:
    """Return a project folder whose servers end with the test. A machine without Redis skips."""
    assert redis_url
    yield tmp_path
    servers.stop(tmp_path)


@pytest.mark.kafka
def test_the_broker_has_the_session_settings_that_clients_cannot_set(kafka: str) -> None:
    if os.environ.get("HEADRACE_KAFKA"):
        pytest.skip("HEADRACE_KAFKA points at a broker with settings of its own")
    admin = AdminClient({"bootstrap.servers": kafka})
    resource = ConfigResource(ResourceType.BROKER, "1")

    (answer,) = admin.describe_configs([resource]).values()

    found = {name: entry.value for name, entry in answer.result(timeout=60).items()}
    assert {name: found[name] for name in local_kafka.SESSION_SETTINGS} == dict(local_kafka.SESSION_SETTINGS)
    assert found["auto.create.topics.enable"] == "false"


def test_starting_twice_changes_nothing(project: Path) -> None:
    first = servers.start(project, only=("redis",))
    pids = servers.pids(project)

    second = servers.start(project, only=("redis",))

    assert second == first
    assert servers.pids(project) == pids
    assert first.kafka is None


def test_servers_are_found_from_a_folder_below(project: Path) -> None:
    started = servers.start(project, only=("redis",))
    below = project / "a" / "b"
    below.mkdir(parents=True)

    assert servers.find(below) == started
    assert servers.folder(below) == project


def test_a_restarted_server_answers_where_it_was_with_the_data_it_had(project: Path) -> None:
    address = servers.start(project, only=("redis",)).redis
    assert _ask(address, "SET kept yes") == "+OK"

    assert servers.stop(project) == ("redis",)
    assert servers.find(project) is None
    again = servers.start(project, only=("redis",)).redis

    assert again == address
    assert _ask(again, "GET kept") == "yes"


def test_a_server_whose_port_was_taken_moves_to_another(project: Path) -> None:
    address = servers.start(project, only=("redis",)).redis
    servers.stop(project)

    with socket.socket() as thief:
        thief.bind(("127.0.0.1", _port(address)))
        thief.listen()
        moved = servers.start(project, only=("redis",)).redis

    assert moved != address
    assert _ask(moved, "PING") == "+PONG"


def test_a_killed_server_is_known_to_be_dead_and_started_again(project: Path) -> None:
    servers.start(project, only=("redis",))
    killed = servers.pids(project)["redis"]

    os.kill(killed, signal.SIGKILL)
    _wait_until(lambda: servers.find(project) is None)
    servers.start(project, only=("redis",))

    assert servers.pids(project)["redis"] != killed


def test_a_server_outlives_the_command_that_started_it_and_its_ctrl_c(project: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from headrace import servers; "
        "servers.start(Path(sys.argv[1]), only=('redis',))"
    )
    ended = subprocess.run([sys.executable, "-c", program, str(project)], check=True, start_new_session=True)

    found = servers.find(project)

    assert ended.returncode == 0
    assert found is not None
    assert _ask(found.redis, "PING") == "+PONG"
    assert os.getsid(servers.pids(project)["redis"]) == servers.pids(project)["redis"]


def test_a_start_that_was_cut_short_is_cleared_away(project: Path) -> None:
    home = project / servers.FOLDER / "redis"
    home.mkdir(parents=True)
    orphan = processes.spawn(["sleep", "60"], lock=home / "lock", output=home / "redis.log")

    started = servers.start(project, only=("redis",))

    assert _ask(started.redis, "PING") == "+PONG"
    assert servers.pids(project)["redis"] != orphan


def test_a_process_that_ignores_sigterm_is_killed_at_the_deadline(tmp_path: Path) -> None:
    stubborn = (
        "import signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"
    )
    lock, output = tmp_path / "lock", tmp_path / "out"
    processes.spawn([sys.executable, "-c", stubborn], lock=lock, output=output)
    _wait_until(lambda: output.read_text() == "deaf\n")

    processes.terminate(lock, deadline_s=0.2)

    assert processes.holder(lock) is None


def test_one_lock_is_held_by_one_process(tmp_path: Path) -> None:
    lock, output = tmp_path / "lock", tmp_path / "out"
    processes.spawn(["sleep", "60"], lock=lock, output=output)
    try:
        with pytest.raises(ServerMissing, match="held by a living process"):
            processes.spawn(["sleep", "60"], lock=lock, output=output)
    finally:
        processes.terminate(lock, deadline_s=5)


def test_free_ports_are_distinct_and_the_preferred_one_if_it_is_free() -> None:
    first, second = free_ports([0, 0])

    assert first != second
    assert free_ports([first, second]) == [first, second]


def _ask(url: str | None, command: str) -> str:
    """Return Redis's answer to one command with a one-line reply or value."""
    with socket.create_connection(("127.0.0.1", _port(url)), timeout=60) as connection:
        connection.sendall(f"{command}\r\n".encode())
        stream = connection.makefile()
        line = stream.readline().strip()
        answer = stream.readline().strip() if line.startswith("$") else line
        stream.close()
        return answer


def _port(url: str | None) -> int:
    assert url is not None
    return int(url.rpartition(":")[2].partition("/")[0])


def _wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + _DEADLINE_S
    while not condition():
        assert time.monotonic() < until, "the condition did not come true in time"
        time.sleep(0.01)
