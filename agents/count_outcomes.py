"""Counts what one outcomes partition shows: predictions on the baseline's bins by day, and what was served."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TypeVar
from zoneinfo import ZoneInfo

import msgspec

from agents.advance_rows import FoldWriter
from agents.context import RoleContext
from agents.transport import Assigned
from definitions.declared import ModelDefinition
from definitions.errors import HeadraceError
from definitions.values import Value
from online_models.baseline import Baseline, BaselineCounter, Counts
from online_models.releases import read_manifest
from streams import counts, topics
from streams.counts import CELLS, Days, Minutes, Monitor, MonitorCodec, MonitorState, Served
from streams.derived import position_header
from streams.messages import LabelSeen, Outcome, Prediction, Tick, encode
from streams.records import Record, RecordBatch

logger = logging.getLogger(__name__)

Kind = TypeVar("Kind", Days, Served, Minutes)


class ReleaseCounter:
    """A release's frozen bins. Implements `streams.counts.Counter`."""

    def __init__(self, baseline: Baseline, model: ModelDefinition) -> None:
        self._baseline = baseline
        self._counter = BaselineCounter(baseline, model.inputs)

    def empty(self) -> Counts:
        """Return counts of nothing."""
        return self._baseline.empty()

    def count(self, counts: Counts, vector: Sequence[Value], scores: Mapping[str, float]) -> None:
        """Add one prediction to ``counts``."""
        self._counter.count(counts, vector, scores)


class OutcomeCounter:
    """Follows one partition of a model's outcomes topic.

    A day's counts go out as a tick when event time is past its end, acknowledged before the row advances: sent again
    after a kill it is the same. Its row counts predictions, labels and progress as applied, predictions without a
    baseline as no_entity, those of days that are told already as too_late, unreadable records as dead.
    """

    def __init__(self, model: ModelDefinition, context: RoleContext, given: Assigned) -> None:
        self._model = model
        self._context = context
        self._partition = given.partition
        self._decoder: msgspec.json.Decoder[Outcome] = msgspec.json.Decoder(Outcome)
        self._rows: FoldWriter[MonitorState] = FoldWriter(context, counts.fold(model.key), given, MonitorCodec())
        self._rows.chain.load(CELLS)
        self._counters: dict[str, ReleaseCounter | None] = {"": None}
        self._monitor = Monitor(
            model=model.key,
            inputs=[each.name for each in model.inputs],
            zone=ZoneInfo(model.tz),
            outcomes=given.partition.field,
            partitions=0,
            counter_of=self._counter_of,
            days=self._state(counts.DAYS, Days),
            served=self._state(counts.SERVED, Served),
            minutes=self._state(counts.MINUTES, Minutes),
        )

    async def start(self) -> OutcomeCounter:
        """Learn how many outcomes partitions there are."""
        self._monitor.partitions = len(await self._context.log.partitions(self._partition.topic))
        return self

    @property
    def position(self) -> int:
        """Offset of the first outcome that is not counted."""
        return self._rows.row.next

    async def apply(self, batch: RecordBatch) -> None:
        """Count the batch's predictions, and tell the days that are over."""
        for record in batch.records:
            # One after the other: the tick that says a day is told must not overtake the day's counts.
            for index, tick in enumerate(self._take(record)):
                await self._send(tick, index)
            self._rows.took(record)
        self._rows.commit(batch.next, CELLS)

    async def reached_end(self, broker_ms: int) -> None:
        """Say that everything the broker had is counted."""
        self._rows.reached_end(broker_ms)

    async def _send(self, tick: Tick, index: int) -> None:
        header = position_header(self._partition, tick.next, index)
        topic = topics.ticks(self._context.namespace)
        await self._context.log.producer().produce(topic, encode(tick), key=tick.model.encode(), headers=[header])

    def _take(self, record: Record) -> list[Tick]:
        # Boundary: whatever one record's bytes are, the records behind it go on.
        try:
            outcome = self._decoder.decode(record.value() or b"")
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            logger.warning("skipped an outcome: %s@%d: %s", self._partition.topic, record.offset(), error)
            self._rows.note("dead")
            return []
        after = record.offset() + 1
        if isinstance(outcome, Prediction):
            fate, ticks = self._monitor.take(outcome, after=after, appended_ms=record.timestamp()[1])
            self._rows.note(fate)
            self._rows.saw(outcome.at_ms)
            return ticks
        self._rows.note("applied")
        return [] if isinstance(outcome, LabelSeen) else self._monitor.progress(outcome, after=after)

    def _counter_of(self, release: str) -> ReleaseCounter | None:
        if release not in self._counters:
            self._counters[release] = self._loaded(release)
        return self._counters[release]

    def _loaded(self, release: str) -> ReleaseCounter | None:
        fetch = self._context.artefacts.get
        try:
            manifest = read_manifest(release, fetch)
            if [name for name, _ in manifest.inputs] != [each.name for each in self._model.inputs]:
                logger.warning("not watched: %s: release %s has other inputs", self._model.key, release[:12])
                return None
            return ReleaseCounter(Baseline.from_json(fetch(manifest.baseline)), self._model)
        except HeadraceError as error:
            logger.warning("not watched: %s: %s", self._model.key, error)
            return None

    def _state(self, cell: str, kind: type[Kind]) -> Kind:
        slot = self._rows.chain.load((cell,))[cell]
        if slot.state is None:
            slot.state = kind()
        if not isinstance(slot.state, kind):
            raise TypeError(f"cannot count: {cell}: expected {kind.__name__}, got {type(slot.state).__name__}")
        return slot.state
