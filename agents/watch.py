"""The monitoring role: counts live traffic on the baseline's bins, judges each complete day, and raises alerts.

Evidence runs in log order: every outcomes partition tells its days as ticks (`agents.count_outcomes`), and one
evaluator folds the ticks of all partitions (`agents.raise_alerts`). How well the learners do is counted from the
outcomes and examples of models that have a label (`agents.measure_quality`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from agents.context import RoleContext
from agents.count_outcomes import OutcomeCounter
from agents.measure_quality import ExampleJudge, PredictionCounter
from agents.raise_alerts import TickEvaluator
from agents.transport import Assigned, CommitPolicy, StartAt, Subscription
from definitions.declared import AppDefinition, LabelDefinition, ModelDefinition
from streams import topics
from streams.records import Partition, RecordBatch


class _Part(Protocol):
    """What is done with one partition."""

    @property
    def position(self) -> int: ...

    async def apply(self, batch: RecordBatch) -> None: ...

    async def reached_end(self, broker_ms: int) -> None: ...


PATIENCE_MS = 20
"""How far apart batches are at least: each asks the store twice, however short it is."""

_Open = Callable[[Assigned], Awaitable[_Part]]


class MonitoringRole:
    """Watches every model of an app. Implements `agents.transport.Role`.

    Two parts follow each outcomes partition: each has its own row, and takes of a batch only what its row does not
    contain yet.
    """

    name = "monitoring"

    def __init__(self, app: AppDefinition, context: RoleContext) -> None:
        self._context = context
        self._openers: dict[str, list[_Open]] = {}
        self._parts: dict[Partition, list[_Part]] = {}
        for model in app.models:
            self._follow(topics.outcomes(context.namespace, model), self._outcomes(model))
            if model.label is not None:
                self._measure(model, model.label)
        self._follow(topics.ticks(context.namespace), self._ticks)

    def subscription(self) -> Subscription:
        """Return what the role reads: every model's outcomes and examples, and the ticks that come of them."""
        group = f"{self._context.namespace}.monitoring"
        return Subscription(group, tuple(self._openers), CommitPolicy.AFTER_DURABLE, StartAt.FIRST, PATIENCE_MS)

    async def open(self, given: Assigned) -> int:
        """Open every part that follows the partition; return where the first of them goes on."""
        parts = [await opener(given) for opener in self._openers[given.partition.topic]]
        self._parts[given.partition] = parts
        return min(part.position for part in parts)

    async def apply(self, batch: RecordBatch) -> None:
        """Let each part take what it does not contain yet."""
        for part in self._parts[batch.partition]:
            if part.position < batch.next:
                await part.apply(batch)

    async def reached_end(self, partition: Partition, end: int, broker_ms: int) -> None:
        """Tell each part."""
        del end
        for part in self._parts[partition]:
            await part.reached_end(broker_ms)

    async def close(self, partition: Partition) -> None:
        """Forget the partition: everything that counts is in the store and in the log."""
        self._parts.pop(partition, None)

    def _follow(self, topic: str, opener: _Open) -> None:
        self._openers.setdefault(topic, []).append(opener)

    def _measure(self, model: ModelDefinition, label: LabelDefinition) -> None:
        async def predictions(given: Assigned) -> _Part:
            return PredictionCounter(model, label, self._context, given)

        async def examples(given: Assigned) -> _Part:
            return ExampleJudge(model, label, self._context, given)

        self._follow(topics.outcomes(self._context.namespace, model), predictions)
        self._follow(topics.examples(self._context.namespace, model), examples)

    def _outcomes(self, model: ModelDefinition) -> _Open:
        async def opener(given: Assigned) -> _Part:
            return await OutcomeCounter(model, self._context, given).start()

        return opener

    async def _ticks(self, given: Assigned) -> _Part:
        return TickEvaluator(self._context, given)
