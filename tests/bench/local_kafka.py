"""The servers that a benchmark measures on: ``HEADRACE_KAFKA`` and ``HEADRACE_REDIS``, or ones started for it."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from headrace import servers

_JARS = Path(__file__).resolve().parents[2] / servers.FOLDER / "kafka" / "jars"


@contextmanager
def local_kafka() -> Iterator[str]:
    """Yield the bootstrap address; a broker that was started is stopped at the end."""
    with _local("kafka") as address:
        yield address


@contextmanager
def local_redis() -> Iterator[str]:
    """Yield the URL; a server that was started is stopped at the end."""
    with _local("redis") as address:
        yield address


@contextmanager
def _local(name: str) -> Iterator[str]:
    given = os.environ.get(f"HEADRACE_{name.upper()}")
    if given:
        yield given
        return
    with tempfile.TemporaryDirectory() as folder:
        say(f"starting {name}")
        started = servers.start(Path(folder), only=(name,), jars=_JARS, lasting=True)
        address = {"kafka": started.kafka, "redis": started.redis}[name]
        assert address is not None
        try:
            yield address
        finally:
            servers.stop(Path(folder))


def say(line: str) -> None:
    """Show progress on standard error."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
