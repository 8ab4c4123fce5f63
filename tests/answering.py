"""A scoring role that answers on a log in memory, for those who ask: the client, the door, and who sends nonsense."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from agents.context import RoleContext
from agents.host import host
from agents.metrics import Metrics
from agents.score import ScoringRole
from agents.transport.in_process import InProcessLog
from definitions.declared import ModelDefinition
from streams import topics
from streams.artefacts import ArtefactStore
from streams.messages import encode
from streams.store.memory import MemoryStore
from tests.builders import app_definition
from tests.releases import deployment, release

NAMESPACE = "demo"
DEADLINE_S = 60.0


@dataclass(frozen=True)
class Answering:
    """A role that answers; what it counts is in the metrics."""

    log: InProcessLog
    metrics: Metrics

    def count(self, name: str, **labels: str) -> float:
        """Return a counter's value."""
        given = {"namespace": NAMESPACE, **labels}
        return self.metrics.registry.get_sample_value(f"headrace_{name}_total", given) or 0.0


@asynccontextmanager
async def answering(model: ModelDefinition, directory: Path, *, released: bool = True) -> AsyncIterator[Answering]:
    """Answer the model's requests for as long as the block lasts, by a release that is in force unless told."""
    log, artefacts, metrics = InProcessLog(), ArtefactStore(directory), Metrics(NAMESPACE)
    context = RoleContext(NAMESPACE, log, MemoryStore(), artefacts, metrics)
    events = {source.event.name: source.event for view in model.views for source in view.sources}
    app = app_definition(models=(model,), views=model.views, events=tuple(events.values()))
    await log.create_topics(topics.declared(app, NAMESPACE))
    if released:
        await log.producer().produce(
            topics.deployments(NAMESPACE), encode(deployment(model, release(model, artefacts)))
        )
    stop = asyncio.Event()
    hosted = asyncio.create_task(host(log, ScoringRole(app, context), stop=stop, metrics=metrics))
    try:
        partitions = len(await log.partitions(topics.requests(NAMESPACE, model)))
        async with asyncio.timeout(DEADLINE_S):
            while _assigned(metrics) < partitions:  # noqa: ASYNC110  # what is waited for sets no event
                await asyncio.sleep(0.001)
        yield Answering(log, metrics)
    finally:
        stop.set()
        await hosted


def _assigned(metrics: Metrics) -> float:
    labels = {"namespace": NAMESPACE, "role": "scoring"}
    return metrics.registry.get_sample_value("headrace_assigned_partitions", labels) or 0.0
