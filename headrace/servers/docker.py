"""The two servers by Docker, where there is an engine but no Java: two services of ``docker-compose.yml``."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from headrace.errors import ServerMissing
from headrace.servers.addresses import LOOPBACK, listening

KAFKA_PORT = 29092
REDIS_PORT = 26379
"""The loopback ports that ``docker-compose.yml`` publishes."""

COMPOSE_FILE = Path(__file__).resolve().parents[2] / "docker-compose.yml"
_SERVICES = ("kafka", "redis")
_ENGINE_S = 10.0


def obstacle() -> str | None:
    """Return why Docker cannot bring the servers up here, None if it can. Cost: up to 10 s where an engine hangs."""
    docker = shutil.which("docker")
    if docker is None:
        return "no docker on the PATH"
    if not COMPOSE_FILE.is_file():
        return f"no {COMPOSE_FILE.name} beside the package"
    for question in (("info",), ("compose", "version")):
        try:
            asked = subprocess.run([docker, *question], capture_output=True, check=False, timeout=_ENGINE_S)  # noqa: S603
        except subprocess.TimeoutExpired:
            return "the docker engine does not answer"
        if asked.returncode != 0:
            return "no running docker engine" if question == ("info",) else "no docker compose"
    return None


def start() -> tuple[str, str]:
    """Bring the two services up and wait until they are healthy; return Kafka's address and Redis's URL.

    Raises:
        ServerMissing: Docker could not do it; the message has its last line.
    """
    _compose("up", "--detach", "--wait", *_SERVICES)
    return f"{LOOPBACK}:{KAFKA_PORT}", f"redis://{LOOPBACK}:{REDIS_PORT}/0"


def stop() -> None:
    """Stop the two services; their volumes stay."""
    _compose("stop", *_SERVICES)


def up() -> bool:
    """Return whether both published ports are listened on."""
    return listening(LOOPBACK, KAFKA_PORT) and listening(LOOPBACK, REDIS_PORT)


def _compose(*arguments: str) -> None:
    command = ["docker", "compose", "--file", str(COMPOSE_FILE), *arguments]
    said = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # the words are ours
    if said.returncode != 0:
        why = (said.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise ServerMissing(f"cannot run docker compose {arguments[0]}: {why[:300]}")
