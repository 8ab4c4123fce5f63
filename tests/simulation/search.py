"""Schedules by seed: one of them again, or many in search of one that goes wrong."""

from __future__ import annotations

import asyncio
import logging
import random
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from unittest import mock

from agents import copy_events
from streams import chain
from streams.artefacts import ArtefactStore
from tests.simulation import mutants
from tests.simulation.balances import Balances
from tests.simulation.features import Features
from tests.simulation.process import Parts
from tests.simulation.rekeyed import Rekeyed
from tests.simulation.unmeasured import Unmeasured
from tests.simulation.world import Shared, Subject, World

MUTANTS: Mapping[str, Mapping[str, Callable[[Parts], Parts]]] = {
    "features": mutants.FEATURES,
    "balances": mutants.FOLDS,
    "rekeyed": mutants.COPIES,
}
"""Which mutants which subject has to show."""


@dataclass(frozen=True)
class Wrong:
    """A schedule that went wrong, and the command that plays it again."""

    subject: str
    seed: int
    mutant: str | None
    findings: Sequence[str]

    def __str__(self) -> str:
        """Return the command and what it will show."""
        mutant = "" if self.mutant is None else f" --mutant '{self.mutant}'"
        command = f"python -m tests.simulation {self.subject} --seed {self.seed}{mutant}"
        return "\n  ".join([command, *self.findings])


@cache
def subjects(name: str) -> Sequence[Subject]:
    """Return the worlds of one kind, with one partition and with two."""
    if name == "features":
        return [Features(1), Features(2)]
    return [Rekeyed(1), Rekeyed(2)] if name == "rekeyed" else [Balances(1), Balances(2)]


def search(
    subject: str,
    seeds: Sequence[int],
    *,
    mutant: str | None = None,
    most: int = 3,
    tell: Callable[[int], None] = lambda _: None,
) -> list[Wrong]:
    """Play the schedules of the seeds; return those that went wrong, at most so many."""
    found: list[Wrong] = []
    with _stage() as shared:
        for played, seed in enumerate(seeds, 1):
            findings = asyncio.run(_play(subject, random.Random(seed), seed, mutant, shared))
            if findings:
                found.append(Wrong(subject, seed, mutant, findings))
            if len(found) == most:
                break
            tell(played)
    return found


def play(subject: str, chance: random.Random, *, partitions: int) -> list[str]:
    """Play one schedule by whatever decides, and return what was found."""
    with _stage() as shared:
        return asyncio.run(_play(subject, chance, partitions - 1, None, shared))


async def _play(subject: str, chance: random.Random, which: int, mutant: str | None, shared: Shared) -> list[str]:
    kinds = subjects(subject)
    chosen = kinds[which % len(kinds)]
    parts = Parts(chosen.role)
    return await World(chance, chosen, parts if mutant is None else MUTANTS[subject][mutant](parts), shared).run()


@contextmanager
def _stage() -> Iterator[Shared]:
    """Let links and steps carry little, so that there is much between, and nobody say what goes wrong on purpose."""
    silent = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        little = mock.patch.object(chain, "CELLS_A_LINK", 1), mock.patch.object(copy_events, "STEP_RECORDS", 2)
        with little[0], little[1], tempfile.TemporaryDirectory() as folder:
            yield Shared(ArtefactStore(Path(folder)), Unmeasured("ns"))
    finally:
        logging.disable(silent)


def say(line: str) -> None:
    """Tell a person."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201  # the simulation's own command
