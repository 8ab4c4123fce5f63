"""What a job on the past is given, and how it tells how far it has come."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from batch.history import History
from definitions.encoder import Vector
from online_models.learners import Remote
from streams.artefacts import ArtefactStore
from streams.codecs import Schemas
from streams.store import OnlineStore

Tell = Callable[[str, int, int], None]
"""Takes (stage, done, of how many), at most about a hundred times a stage."""


def tell_nobody(stage: str, done: int, total: int) -> None:
    """Tell nobody."""


AskServers = Callable[[Mapping[str, Remote], Sequence[Vector]], Mapping[str, Sequence[float]]]
"""Asks learners on servers for the scores of vectors. Who does not give all of them is left out."""


def ask_nobody(remotes: Mapping[str, Remote], vectors: Sequence[Vector]) -> Mapping[str, Sequence[float]]:
    """Ask no server."""
    del remotes, vectors
    return {}


@dataclass(frozen=True, slots=True)
class JobContext:
    """The world as a job sees it. Made by the front door."""

    namespace: str
    history: History
    store: OnlineStore
    artefacts: ArtefactStore
    schemas: Schemas | None = None
    """The schema registry, None where none is named: then every event is JSON."""
    ask_servers: AskServers = ask_nobody
