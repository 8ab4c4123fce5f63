"""Which log and store a command works on: configured ones, local servers, Docker's, or this process's memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from headrace import servers
from headrace.errors import ServerMissing
from headrace.servers import docker, kafka, redis
from headrace.settings import Settings
from streams.store.address import safe


@dataclass(frozen=True, slots=True)
class Substrate:
    """Where the log and the store are. Both addresses are None in process."""

    kafka: str | None
    redis: str | None = field(repr=False)
    line: str
    """What was chosen, and why, for people."""

    @property
    def in_process(self) -> bool:
        """Whether all roles have to live in one process."""
        return self.kafka is None

    def pinned(self, settings: Settings) -> Settings:
        """Return ``settings`` with this choice written in, for a child process."""
        if self.in_process:
            return dataclasses.replace(settings, substrate="in-process")
        return dataclasses.replace(settings, kafka=self.kafka, redis=self.redis, substrate="kafka")


def existing(settings: Settings, directory: Path) -> Substrate:
    """Return the configured servers, else the local ones that are up.

    Raises:
        ServerMissing: one of the two is neither configured nor up.
    """
    if settings.substrate == "in-process":
        raise ServerMissing(
            "cannot find a log: substrate: expected auto or kafka, got in-process; its log is no other's"
        )
    found = _found(settings, directory)
    missing = [name for name, (address, _) in found.items() if address is None]
    if missing:
        raise ServerMissing(
            f"cannot find {' and '.join(missing)}: {directory}: expected local servers or "
            f"{' and '.join(f'HEADRACE_{name.upper()}' for name in missing)}, got neither; run `headrace up`"
        )
    return _chosen(found)


def provide(settings: Settings, directory: Path, *, say: Callable[[str], None]) -> Substrate:
    """Return the servers that `existing` finds, and start what is missing: local ones, by Docker, or none.

    Args:
        settings: what the project chose.
        directory: where to look for servers that are up, and above.
        say: takes a line about what will take long.

    Raises:
        ServerMissing: what is missing cannot be started, and the settings leave no choice.
    """
    if settings.substrate == "in-process":
        return Substrate(None, None, "in-process log and memory store, as configured: nothing outlives this process")
    found = _found(settings, directory)
    missing = [name for name, (address, _) in found.items() if address is None]
    if not missing:
        return _chosen(found)
    home = servers.folder(directory) or settings.root
    obstacles = {"kafka": kafka.obstacle(jars_of(home)), "redis": redis.obstacle()}
    why_not = "; ".join(f"{name}: {why}" for name in missing if (why := obstacles[name]))
    if not why_not:
        if "kafka" in missing and not kafka.installed(jars_of(home)):
            say(f"fetching Kafka {kafka.VERSION} by Maven into {jars_of(home)}")
        started = servers.start(home, only=missing)
        return _chosen(found | {name: (getattr(started, name), "started") for name in missing})
    no_docker = docker.obstacle()
    if no_docker is None:
        say(f"starting kafka and redis by Docker ({why_not})")
        servers.start_docker(home)
        return _chosen(_found(settings, directory))
    if settings.substrate == "kafka" or len(missing) < len(found):
        raise ServerMissing(f"cannot start what is missing: {why_not}; docker: {no_docker}; or set HEADRACE_KAFKA")
    return Substrate(None, None, f"in-process log and memory store ({why_not}; docker: {no_docker})")


def jars_of(home: Path) -> Path:
    """Return where Kafka's jars lie for the project in ``home``."""
    return home / servers.FOLDER / "kafka" / "jars"


def _found(settings: Settings, directory: Path) -> dict[str, tuple[str | None, str]]:
    configured = {"kafka": settings.kafka, "redis": settings.redis}
    local = servers.find(directory) or servers.Servers(None, None)
    return {
        name: (address, "configured") if address is not None else (getattr(local, name), "local")
        for name, address in configured.items()
    }


def _chosen(found: Mapping[str, tuple[str | None, str]]) -> Substrate:
    line = ", ".join(f"{name} at {_shown(name, address)} ({how})" for name, (address, how) in found.items())
    return Substrate(found["kafka"][0], found["redis"][0], line)


def _shown(name: str, address: str | None) -> str | None:
    return safe(address) if name == "redis" and address is not None else address
