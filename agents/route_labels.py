"""Copies labels from their event topic into a model's outcomes topic, where predictions wait for them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from agents.advance_rows import FoldWriter, NoCells
from agents.await_sent import arrived
from agents.context import RoleContext
from agents.transport import Assigned
from definitions.declared import LabelDefinition, ModelDefinition
from definitions.expressions import evaluator
from streams import topics
from streams.codecs import Event
from streams.derived import position_header
from streams.intake import DecodedBatch, Intake
from streams.joins import step_ms
from streams.messages import LabelSeen, Progress, encode
from streams.records import Partition, RecordBatch

SETTLED_MS = 1_000
"""How long of the broker's time a label partition is read to its end before less than a step further is told."""
IDLE_MS = 60_000
"""How long of the broker's time a label partition is read to its end before it holds no horizon back."""


def fold(model_key: str) -> str:
    """Return the name of the model's label router in the store."""
    return f"router.{model_key}"


class LabelRouter:
    """Routes one partition of a label's event topic for one model.

    Labels go out in source order and are acknowledged before the row advances; what is sent twice after a failure has
    the same source position, by which the join drops it. Its row counts: applied labels, events without a key or a
    label as no_entity, undecodable ones as dead (the features role alone writes dead letters).
    """

    def __init__(self, model: ModelDefinition, label: LabelDefinition, context: RoleContext, given: Assigned) -> None:
        self._model = model
        self._label = label
        self._context = context
        self._partition = given.partition
        self._topic = topics.outcomes(context.namespace, model)
        self._intake = Intake(label.event, context.schemas)
        self._rows = FoldWriter(context, fold(model.key), given, NoCells())
        self._label_of = evaluator(label.value)
        self._step_ms = step_ms(label.within_ms)
        self._sources = 0
        self._outcomes: tuple[Partition, ...] = ()
        self._told_ms: int | None = None
        self._end_since_ms: int | None = None
        self._is_idle = False

    async def start(self) -> LabelRouter:
        """Learn how many partitions there are on both sides."""
        self._sources = len(await self._context.log.partitions(self._partition.topic))
        self._outcomes = await self._context.log.partitions(self._topic)
        return self

    @property
    def position(self) -> int:
        """Offset of the first label event that is not routed."""
        return self._rows.row.next

    async def apply(self, batch: RecordBatch) -> None:
        """Route the batch's labels, and tell the outcomes partitions when event time has come a step further."""
        decoded = self._intake.read(batch).between(self.position, batch.next)
        self._end_since_ms = None
        await arrived(self._send_labels(decoded))
        if batch.records:
            self._rows.took(batch.records[-1])
        if self._is_a_step_further() or (self._is_idle and decoded.events):
            await self._tell(self._rows.newest_ms or 0, idle=False)
        self._rows.commit(batch.next)

    async def reached_end(self, broker_ms: int) -> None:
        """Tell the last part of a step once nothing more comes, and after a minute that nothing is held back."""
        self._rows.reached_end(broker_ms)
        if self._end_since_ms is None:
            self._end_since_ms = broker_ms
        waited_ms, newest = broker_ms - self._end_since_ms, self._rows.newest_ms
        if waited_ms >= IDLE_MS and not self._is_idle:
            await self._tell(newest or 0, idle=True)
        elif waited_ms >= SETTLED_MS and newest is not None and newest != self._told_ms:
            await self._tell(newest, idle=False)

    def _is_a_step_further(self) -> bool:
        before, newest = self._rows.row.newest_ms, self._rows.newest_ms
        return newest is not None and (before is None or newest // self._step_ms > before // self._step_ms)

    def _send_labels(self, decoded: DecodedBatch) -> list[Awaitable[int]]:
        self._rows.note("dead", len(decoded.dead))
        sent = []
        for offset, event, at_ms in zip(decoded.offsets, decoded.events, decoded.times_ms, strict=True):
            self._rows.saw(at_ms)
            seen = self._seen(offset, event, at_ms)
            self._rows.note("no_entity" if seen is None else "applied")
            if seen is not None:
                header = position_header(self._partition, offset + 1)
                sent.append(
                    self._context.log.producer().produce(
                        self._topic, encode(seen), key=seen.label_key.encode(), headers=[header]
                    )
                )
        self._context.metrics.count("labels_routed_total", len(sent), model=self._model.key)
        return sent

    def _seen(self, offset: int, event: Event, at_ms: int) -> LabelSeen | None:
        row = self._intake.decoder.row(event)
        key, label = row.get(self._label.key), self._label_of.one(row)
        if key is None or label is None:
            return None
        return LabelSeen(label_key=str(key), at_ms=at_ms, label=label, source=f"{self._partition.field}@{offset}")

    async def _tell(self, newest_ms: int, *, idle: bool) -> None:
        progress = encode(
            Progress(source=self._partition.field, partitions=self._sources, newest_ms=newest_ms, idle=idle)
        )
        producer = self._context.log.producer()
        await asyncio.gather(
            *(producer.produce(self._topic, progress, partition=each.index) for each in self._outcomes)
        )
        self._told_ms, self._is_idle = newest_ms, idle
