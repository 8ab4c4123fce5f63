"""Joins the predictions and labels of one outcomes partition into examples."""

from __future__ import annotations

import logging
from collections.abc import Awaitable

import msgspec

from agents.advance_rows import FoldWriter
from agents.await_sent import arrived
from agents.context import RoleContext
from agents.dead_letters import DeadOutcomes
from agents.transport import Assigned
from definitions.declared import LabelDefinition, ModelDefinition
from streams import joins, topics
from streams.chain import CELLS_A_LINK
from streams.derived import position_header
from streams.errors import DecodeError
from streams.joins import TALLY, JoinCodec, JoinRule, JoinState, Tally
from streams.joins.matching import CELLS_A_STEP, CELLS_AN_OUTCOME, Join, Step
from streams.joins.reading import OutcomeReader
from streams.messages import Outcome, Progress, encode
from streams.records import Record, RecordBatch
from streams.store import OnlineStore, Question

# Every commit is one link, whole or not at all: it is cut before the next step could be too much for it.
_CELLS_BEFORE_STEP = CELLS_A_LINK - CELLS_A_STEP
_CELLS_BEFORE_OUTCOME = CELLS_A_LINK - CELLS_AN_OUTCOME
_SENT_BEFORE_WRITE = 10_000
"""How many examples are on their way at most before what they rest on is written."""

logger = logging.getLogger(__name__)


class LabelJoiner:
    """Works off one partition of a model's outcomes topic.

    A batch is cut into commits of one link each, which are written in one round trip once every example of theirs is
    acknowledged: a kill in between sends them again, equal and at the same positions. Its row counts predictions,
    labels and progress as applied, what was seen before as duplicate, what came after its own horizon as too_late,
    predictions without label key as no_entity, unreadable records as dead: those are dead letters too.
    """

    def __init__(self, model: ModelDefinition, label: LabelDefinition, context: RoleContext, given: Assigned) -> None:
        self._model = model
        self._context = context
        self._partition = given.partition
        self._topic = topics.examples(context.namespace, model)
        self._rows: FoldWriter[JoinState] = FoldWriter(context, joins.fold(model.key), given, JoinCodec())
        chain = self._rows.chain
        self._join = Join(JoinRule.of(model.key, label), given.partition.field, chain.load, chain.begin)
        self._reader = OutcomeReader(label.type)
        self._dead = DeadOutcomes(model.key, context)
        self._produce = context.log.producer().produce
        self._sent: list[Awaitable[int]] = []
        self._changed: dict[str, None] = {}
        self._counted = self._tally()
        self._show(self._counted)

    @property
    def position(self) -> int:
        """Offset of the first outcome that is not joined."""
        return self._rows.row.next

    async def apply(self, batch: RecordBatch) -> None:
        """Join the batch's outcomes with what waits. Cost: 15 us an outcome."""
        outcomes = [self._read(batch, record) for record in batch.records]
        self._rows.chain.load([joins.cell_of(key) for each in outcomes if (key := _key_of(each)) is not None])
        for record, outcome in zip(batch.records, outcomes, strict=True):
            if outcome is None:
                self._rows.note("dead")
                continue
            offset, most = record.offset(), _CELLS_BEFORE_OUTCOME
            if isinstance(outcome, Progress):
                most = _CELLS_BEFORE_STEP
            if len(self._changed) > most:
                self._cut(offset)
            if not isinstance(outcome, Progress):
                self._rows.saw(outcome.at_ms)
            for step in self._join.apply(offset, outcome):
                self._take(step)
                after = offset + (step.fate is not None)
                if len(self._sent) >= _SENT_BEFORE_WRITE:
                    await self._write(after)
                elif len(self._changed) > most:
                    self._cut(after)
        if batch.records:
            self._rows.took(batch.records[-1])
        await self._write(batch.next)

    async def reached_end(self, broker_ms: int) -> None:
        """Say that everything the broker had is joined."""
        self._rows.reached_end(broker_ms)

    def _take(self, step: Step) -> None:
        for example in step.examples:
            header = position_header(self._partition, example.next, example.index)
            key = example.label_key.encode()
            self._sent.append(self._produce(self._topic, encode(example), key=key, headers=[header]))
        for cell in step.changed:
            self._changed[cell] = None
        if step.fate is not None:
            self._rows.note(step.fate)

    def _cut(self, after: int) -> None:
        self._rows.cut(after, self._changed)
        self._changed.clear()

    async def _write(self, after: int) -> None:
        """Write everything below ``after``, once what was sent for it has arrived."""
        self._cut(after)
        await arrived(self._sent)
        self._rows.write()
        self._sent.clear()
        self._count(self._tally())

    def _read(self, batch: RecordBatch, record: Record) -> Outcome | None:
        # Boundary: whatever one record's bytes are, the records behind it go on.
        try:
            return self._reader.read(record.value())
        except DecodeError as error:
            logger.warning("skipped an outcome: %s@%d: %s", self._partition.topic, record.offset(), error)
            self._sent.append(self._dead.send(batch, record, error))
            return None

    def _tally(self) -> Tally:
        state = self._rows.chain.load((TALLY,))[TALLY].state
        return msgspec.structs.replace(state) if isinstance(state, Tally) else Tally()

    def _count(self, tally: Tally) -> None:
        before, self._counted = msgspec.structs.asdict(self._counted), tally
        for outcome, count in msgspec.structs.asdict(tally).items():
            if count > before[outcome] and outcome != "pending":
                self._context.metrics.count(
                    "labels_joined_total", count - before[outcome], model=self._model.key, outcome=outcome
                )
        self._show(tally)

    def _show(self, tally: Tally) -> None:
        self._context.metrics.set(
            "predictions_pending", tally.pending, model=self._model.key, partition=str(self._partition.index)
        )


def _key_of(outcome: Outcome | None) -> str | None:
    return None if outcome is None or isinstance(outcome, Progress) else outcome.label_key


def read_tally(store: OnlineStore, model_key: str) -> Tally:
    """Return what became of a model's predictions and labels, over all outcomes partitions. For scoreboards.

    Raises:
        StoreUnavailable: the store did not answer.
    """
    [cells] = store.read(Question(cells=[(joins.fold(model_key), TALLY)])).cells
    total, codec = Tally(), JoinCodec()
    for cell in cells.values():
        state = codec.decode(cell.state)
        total = total.plus(state) if isinstance(state, Tally) else total
    return total
