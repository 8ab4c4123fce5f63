"""Local servers: a real Kafka and a real Redis under a project's ``.headrace/``, started and stopped by the project.

``.headrace/servers.json`` remembers the last addresses, so that a restarted server is found where it was; whether a
server lives is asked of the lock it holds (`headrace.servers.processes`), never of that file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from headrace.servers import docker, kafka, processes, redis

FOLDER = ".headrace"
BOTH = ("kafka", "redis")

_UNFINISHED_S = 5.0
_BY_DOCKER = "docker.json"


@dataclass(frozen=True, slots=True)
class Servers:
    """Where the two servers answer; None where one is not up."""

    kafka: str | None
    """Bootstrap address, ``127.0.0.1:9092``."""
    redis: str | None
    """URL, ``redis://127.0.0.1:6379/0``."""


class _Known(msgspec.Struct, frozen=True):
    """A server as it was last started."""

    pid: int
    address: str

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2].partition("/")[0])


def start(directory: Path, *, only: Sequence[str] = BOTH, jars: Path | None = None, lasting: bool = False) -> Servers:
    """Start what is not up of the two servers, and return where they answer. Doing it twice changes nothing.

    Args:
        directory: the project's folder; everything lies under its ``.headrace/``.
        only: ``kafka``, ``redis`` or both.
        jars: Kafka's jars, to share them between folders; fetched by Maven if they are missing.
        lasting: they are to be quick in the long run, as in production, not at once.

    Raises:
        ServerMissing: a server could not be started; the message says what to do.

    Cost: about 2 s, the first time up to a minute for the jars.
    """
    home = _made(directory)
    with processes.one_at_a_time(home / "servers.lock"):
        known = _read(home)
        for name in only:
            if not _up(home, name, known):
                processes.terminate(home / name / "lock", deadline_s=_UNFINISHED_S)
                known[name] = _start_one(home, name, last=known.get(name), jars=jars, lasting=lasting)
                _write(home, known)
    return _servers(home)


def start_docker(directory: Path) -> Servers:
    """Bring both servers up by Docker, to be found from ``directory`` as local ones are.

    Raises:
        ServerMissing: Docker could not do it.
    """
    home = _made(directory)
    started = Servers(*docker.start())
    (home / _BY_DOCKER).write_bytes(msgspec.json.encode(started))
    return started


def stop(directory: Path, *, only: Sequence[str] = BOTH) -> tuple[str, ...]:
    """Stop what is up of the servers under ``directory``; return their names. The data stays."""
    home = directory.resolve() / FOLDER
    if not home.is_dir():
        return ()
    stopped = []
    if (home / _BY_DOCKER).exists():
        docker.stop()
        (home / _BY_DOCKER).unlink()
        return BOTH
    with processes.one_at_a_time(home / "servers.lock"):
        for name in only:
            if processes.holder(home / name / "lock") is not None:
                {"kafka": kafka, "redis": redis}[name].stop(home / name)
                stopped.append(name)
    return tuple(stopped)


def find(directory: Path) -> Servers | None:
    """Return the servers that are up under ``directory`` or the nearest folder above it, None if none is."""
    found = folder(directory)
    return None if found is None else _servers(found / FOLDER)


def folder(directory: Path) -> Path | None:
    """Return ``directory`` or the nearest folder above it whose local servers are up, at least one of them."""
    start_at = directory.resolve()
    for each in (start_at, *start_at.parents):
        if _servers(each / FOLDER) != Servers(None, None):
            return each
    return None


def pids(directory: Path) -> dict[str, int]:
    """Return the pids of the servers that are up under ``directory``, by name."""
    home = directory.resolve() / FOLDER
    known = _read(home)
    return {name: known[name].pid for name in known if _up(home, name, known)}


def _made(directory: Path) -> Path:
    """Return the project's ``.headrace/``, made if it is missing and left out of the project's version control."""
    home = directory.resolve() / FOLDER
    home.mkdir(parents=True, exist_ok=True)
    (home / ".gitignore").write_text("*\n")
    return home


def _up(home: Path, name: str, known: Mapping[str, _Known]) -> bool:
    """Tell a server that was seen to answer from one whose start was cut short."""
    holder = processes.holder(home / name / "lock")
    return holder is not None and name in known and known[name].pid == holder


def _start_one(home: Path, name: str, *, last: _Known | None, jars: Path | None, lasting: bool) -> _Known:
    port = 0 if last is None else last.port
    if name == "redis":
        return _Known(*redis.start(home / name, port=port))
    jars = home / name / "jars" if jars is None else jars
    if not kafka.installed(jars):
        jars.parent.mkdir(parents=True, exist_ok=True)
        with processes.one_at_a_time(jars.with_name("jars.lock")):
            if not kafka.installed(jars):
                kafka.install(jars)
    return _Known(*kafka.start(home / name, jars=jars, port=port, lasting=lasting))


def _servers(home: Path) -> Servers:
    if (home / _BY_DOCKER).exists() and docker.up():
        return msgspec.json.decode((home / _BY_DOCKER).read_bytes(), type=Servers)
    known = _read(home)
    up = {name: known[name].address for name in known if _up(home, name, known)}
    return Servers(kafka=up.get("kafka"), redis=up.get("redis"))


def _read(home: Path) -> dict[str, _Known]:
    try:
        return msgspec.json.decode((home / "servers.json").read_bytes(), type=dict[str, _Known])
    except (FileNotFoundError, msgspec.DecodeError):
        return {}


def _write(home: Path, known: dict[str, _Known]) -> None:
    unfinished = home / "servers.json.new"
    unfinished.write_bytes(msgspec.json.encode(known))
    unfinished.replace(home / "servers.json")
