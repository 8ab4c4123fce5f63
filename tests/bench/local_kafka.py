"""The Kafka that a benchmark measures on: ``HEADRACE_KAFKA``, or one started for it."""

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
    given = os.environ.get("HEADRACE_KAFKA")
    if given:
        yield given
        return
    with tempfile.TemporaryDirectory() as folder:
        say("starting kafka")
        started = servers.start(Path(folder), only=("kafka",), jars=_JARS)
        assert started.kafka is not None
        try:
            yield started.kafka
        finally:
            servers.stop(Path(folder))


def say(line: str) -> None:
    """Show progress on standard error."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
