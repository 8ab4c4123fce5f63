"""The monitoring role: counts live traffic on the baseline's bins, judges each complete day, and raises alerts.

Evidence runs in log order: every outcomes partition tells its days as ticks (`agents.count_outcomes`), and one
evaluator folds the ticks of all partitions (`agents.raise_alerts`).
"""

from __future__ import annotations

from agents.context import RoleContext
from agents.count_outcomes import OutcomeCounter
from agents.raise_alerts import TickEvaluator
from agents.transport import Assigned, CommitPolicy, StartAt, Subscription
from definitions.declared import AppDefinition
from streams import topics
from streams.records import Partition, RecordBatch


class MonitoringRole:
    """Watches every model of an app. Implements `agents.transport.Role`."""

    name = "monitoring"

    def __init__(self, app: AppDefinition, context: RoleContext) -> None:
        self._context = context
        self._models = {topics.outcomes(context.namespace, model): model for model in app.models}
        self._parts: dict[Partition, OutcomeCounter | TickEvaluator] = {}

    def subscription(self) -> Subscription:
        """Return what the role reads: every model's outcomes, and the ticks that come of them."""
        namespace = self._context.namespace
        read = (*self._models, topics.ticks(namespace))
        return Subscription(f"{namespace}.monitoring", read, CommitPolicy.AFTER_DURABLE, StartAt.FIRST)

    async def open(self, given: Assigned) -> int:
        """Go on where the partition's row says."""
        model = self._models.get(given.partition.topic)
        if model is None:
            part: OutcomeCounter | TickEvaluator = TickEvaluator(self._context, given)
        else:
            part = await OutcomeCounter(model, self._context, given).start()
        self._parts[given.partition] = part
        return part.position

    async def apply(self, batch: RecordBatch) -> None:
        """Count or judge the batch."""
        part = self._parts[batch.partition]
        if part.position < batch.next:
            await part.apply(batch)

    async def reached_end(self, partition: Partition, end: int, broker_ms: int) -> None:
        """Tell the partition's part."""
        del end
        await self._parts[partition].reached_end(broker_ms)

    async def close(self, partition: Partition) -> None:
        """Forget the partition: everything that counts is in the store and in the log."""
        self._parts.pop(partition, None)
