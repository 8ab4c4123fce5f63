"""The engines that ours is compared with, each in an environment of its own under ``.headrace/bench/``.

A peer is a folder: ``run.py`` folds a topic and says what `tests.bench.processes.run_measured` reads, and
``requirements.txt`` pins what it needs. One that cannot be had is reported with the reason, never guessed.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.local_kafka import say
from tests.bench.processes import Cost, run_measured

FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Peer:
    """How a peer is run. ``kinds`` are its variants: the arguments of each; ``bounded`` ones get seconds, once."""

    kinds: Mapping[str, Sequence[str]]
    bounded: bool = True


PEERS: Mapping[str, Peer] = {
    "floor": Peer({"floor": ()}, bounded=False),
}


def run_peer(
    name: str, kafka: str, topic: str, count: int, *, seconds: float, rounds: int
) -> tuple[dict[str, Cost], str | None]:
    """Return what each variant of a peer cost, and why one is missing."""
    peer, found, why = PEERS[name], dict[str, Cost](), None
    python = sys.executable
    for kind, extra in peer.kinds.items():
        limits = ["--seconds", str(seconds)] if peer.bounded else []
        command = [python, str(FOLDER / name / "run.py"), "--kafka", kafka, "--topic", topic, "--events", str(count)]
        costs: list[Cost] = []
        for round_ in range(1 if peer.bounded else rounds):
            with tempfile.TemporaryDirectory() as folder:
                costs.append(run_measured([*command, *limits, *extra], cwd=Path(folder)))
            say(f"{kind} {round_ + 1}: {costs[-1].per_s:,.0f}/s, {costs[-1].cpu_s_per_100k:.2f} CPU s per 100k")
        found[kind] = sorted(costs, key=lambda cost: cost.per_s)[len(costs) // 2]
    return found, why
