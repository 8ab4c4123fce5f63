"""What every role is given: the namespace, the log, the store, the artefacts and the metrics of its process."""

from __future__ import annotations

from dataclasses import dataclass

from agents.metrics import Metrics
from agents.transport import Log
from streams.artefacts import ArtefactStore
from streams.codecs import Schemas
from streams.store import OnlineStore


@dataclass(frozen=True, slots=True)
class RoleContext:
    """The world as a role sees it. Made once per process, by the front door."""

    namespace: str
    log: Log
    store: OnlineStore
    artefacts: ArtefactStore
    metrics: Metrics
    schemas: Schemas | None = None
    """The schema registry, None where none is named: then every event is JSON."""
