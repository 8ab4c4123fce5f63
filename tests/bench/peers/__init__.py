"""The engines that ours is compared with, each in an environment of its own under ``.headrace/bench/``.

A peer is a folder: ``run.py`` folds a topic and says what `tests.bench.processes.run_measured` reads, and
``requirements.txt`` pins what it needs. One that cannot be had is reported with the reason, never guessed.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.local_kafka import say
from tests.bench.processes import Cost, run_measured

FOLDER = Path(__file__).parent
ENVIRONMENTS = FOLDER.parents[2] / ".headrace" / "bench"

_INSTALL_S = 900.0


@dataclass(frozen=True, slots=True)
class Peer:
    """How a peer is run.

    ``kinds`` are its variants, each with its arguments. A bounded one gets its seconds once, another reads to the end,
    several times. ``owns`` an environment, or runs in ours.
    """

    kinds: Mapping[str, Sequence[str]]
    bounded: bool = True
    owns: bool = True


PEERS: Mapping[str, Peer] = {
    "floor": Peer({"floor": ()}, bounded=False, owns=False),
    "flink": Peer({"flink": ()}, bounded=False),
    "quix": Peer({"quix_final": ("--kind", "final"), "quix_current": ("--kind", "current")}),
    "bytewax": Peer({"bytewax": ()}),
    "faust": Peer({"faust": ()}),
}


class PeerMissing(Exception):  # noqa: N818  # named like `ServerMissing`
    """A peer cannot be run here."""


def run_peer(
    name: str, kafka: str, topic: str, count: int, *, seconds: float, rounds: int
) -> tuple[dict[str, Cost], str | None]:
    """Return what each variant of a peer cost, the round of median speed, and why one is missing."""
    peer, found = PEERS[name], dict[str, Cost]()
    told = ["--kafka", kafka, "--topic", topic, "--events", str(count)]
    limit = ["--seconds", str(seconds)] if peer.bounded else []
    try:
        python = str(environment(name)) if peer.owns else sys.executable
        for kind, extra in peer.kinds.items():
            command = [python, str(FOLDER / name / "run.py"), *told, *limit, *extra]
            costs = [_run(kind, command) for _ in range(1 if peer.bounded else rounds)]
            found[kind] = sorted(costs, key=lambda cost: cost.per_s)[len(costs) // 2]
    except (PeerMissing, RuntimeError) as error:
        say(str(error))
        return found, str(error)
    return found, None


def environment(name: str) -> Path:
    """Return the Python of a peer's environment, which is made if it is missing or asks for something else now.

    Raises:
        PeerMissing: it could not be made.
    """
    home, asked = ENVIRONMENTS / name, FOLDER / name
    python, mark = home / "bin" / "python", home / "ready"
    files = [asked / "requirements.txt", *asked.glob("pom.xml")]
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    if mark.is_file() and mark.read_text() == digest:
        return python
    say(f"making the environment of {name}: a minute or two, once")
    shutil.rmtree(home, ignore_errors=True)
    _made(name, [sys.executable, "-m", "venv", str(home)])
    _made(name, [str(python), "-m", "pip", "install", "--quiet", "--requirement", str(asked / "requirements.txt")])
    if (asked / "pom.xml").exists():
        copy = ["dependency:copy-dependencies", f"-DoutputDirectory={home / 'connector'}"]
        _made(name, ["mvn", "-q", "-B", "-f", str(asked / "pom.xml"), *copy])
    mark.write_text(digest)
    return python


def _run(kind: str, command: Sequence[str]) -> Cost:
    with tempfile.TemporaryDirectory() as folder:
        cost = run_measured(command, cwd=Path(folder), environment={"PYTHONPATH": str(FOLDER / "common")})
    counted = cost.said.get("counted", [])
    if any(count != cost.events for count in counted):
        raise RuntimeError(f"cannot trust {kind}: expected {cost.events} events in each window, got {counted}")
    say(f"{kind}: {cost.events:,} events, {cost.per_s:,.0f}/s, {cost.cpu_s_per_100k:.2f} CPU s per 100k")
    return cost


def _made(name: str, command: Sequence[str]) -> None:
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_INSTALL_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PeerMissing(f"cannot run {name}: {command[0]}: {error}") from error
    if said.returncode != 0:
        lines = (said.stderr or said.stdout).strip().splitlines()
        raise PeerMissing(f"cannot run {name}: {' '.join(command[:4])}: {lines[-1] if lines else said.returncode}")
