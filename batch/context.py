"""What a job on the past is given, and how it tells how far it has come."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from batch.history import History
from streams.artefacts import ArtefactStore
from streams.codecs import Schemas
from streams.store import OnlineStore

Tell = Callable[[str, int, int], None]
"""Takes (stage, done, of how many), at most about a hundred times a stage."""


def tell_nobody(stage: str, done: int, total: int) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True)
class JobContext:
    """The world as a job sees it. Made by the front door."""

    namespace: str
    history: History
    store: OnlineStore
    artefacts: ArtefactStore
    schemas: Schemas | None = None
    """The schema registry, None where none is named: then every event is JSON."""
