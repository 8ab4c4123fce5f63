"""The learning role: routes labels, joins them with predictions, and lets the online learners learn.

Three steps over three kinds of topics, each a function of the log before it: label events to outcomes
(`agents.route_labels`), outcomes to examples (`agents.join_labels`), examples to snapshots (`agents.learn_examples`) or
to what is known of single entities (`agents.learn_personal`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Protocol

from agents.context import RoleContext
from agents.join_labels import LabelJoiner
from agents.learn_examples import ExampleLearner
from agents.learn_personal import PersonalLearner
from agents.route_labels import LabelRouter
from agents.transport import Assigned, CommitPolicy, StartAt, Subscription
from definitions.declared import AppDefinition, LabelDefinition, LearnerDefinition, ModelDefinition
from online_models.learners.restoring import ONLINE
from streams import topics
from streams.records import Partition, RecordBatch


class _Part(Protocol):
    """What one step does with one partition for one model."""

    @property
    def position(self) -> int: ...

    async def apply(self, batch: RecordBatch) -> None: ...

    async def reached_end(self, broker_ms: int) -> None: ...


PATIENCE_MS = 10
"""How far apart batches are at least: each asks the store twice, however short it is."""

_Open = Callable[[Assigned], Awaitable[_Part]]


class LearningRole:
    """Learns for every model of an app that has a label. Implements `agents.transport.Role`.

    Several steps may follow one partition, such as the routers of two models with the same label event: each has its
    own row, and takes of a batch only what its row does not contain yet.
    """

    name = "learning"

    def __init__(self, app: AppDefinition, context: RoleContext) -> None:
        self._context = context
        self._openers: dict[str, list[_Open]] = {}
        self._parts: dict[Partition, list[_Part]] = {}
        for model in app.models:
            if model.label is not None:
                self._follow(model, model.label)

    def subscription(self) -> Subscription:
        """Return what the role reads: label events, outcomes and examples."""
        group = f"{self._context.namespace}.learning"
        return Subscription(group, tuple(self._openers), CommitPolicy.AFTER_DURABLE, StartAt.FIRST, PATIENCE_MS)

    async def open(self, given: Assigned) -> int:
        """Open every step that follows the partition; return where the first of them goes on."""
        [(first, end)] = await self._context.log.bounds([given.partition])
        known = replace(given, first=first, end=end)
        parts = [await opener(known) for opener in self._openers[given.partition.topic]]
        self._parts[given.partition] = parts
        return min(part.position for part in parts)

    async def apply(self, batch: RecordBatch) -> None:
        """Let each step take what it does not contain yet."""
        for part in self._parts[batch.partition]:
            if part.position < batch.next:
                await part.apply(batch)

    async def reached_end(self, partition: Partition, end: int, broker_ms: int) -> None:
        """Tell each step."""
        del end
        for part in self._parts[partition]:
            await part.reached_end(broker_ms)

    async def close(self, partition: Partition) -> None:
        """Let each learner publish what it has learned, and forget the partition: the rest is in store and log."""
        for part in self._parts.pop(partition, []):
            if isinstance(part, ExampleLearner):
                await part.close()

    def _follow(self, model: ModelDefinition, label: LabelDefinition) -> None:
        context, namespace = self._context, self._context.namespace

        async def router(given: Assigned) -> _Part:
            return await LabelRouter(model, label, context, given).start()

        async def joiner(given: Assigned) -> _Part:
            return LabelJoiner(model, label, context, given)

        self._openers.setdefault(label.event.topic, []).append(router)
        self._openers.setdefault(topics.outcomes(namespace, model), []).append(joiner)
        for learner in model.learners.values():
            if learner.kind == ONLINE or learner.personal is not None:
                self._openers.setdefault(topics.examples(namespace, model), []).append(self._learner(model, learner))

    def _learner(self, model: ModelDefinition, learner: LearnerDefinition) -> _Open:
        async def opener(given: Assigned) -> _Part:
            kind = ExampleLearner if learner.personal is None else PersonalLearner
            return kind(model, learner, self._context, given)

        return opener
