"""Joins the predictions and labels of one outcomes partition into examples."""

from __future__ import annotations

import logging

import msgspec

from agents.advance_rows import FoldWriter
from agents.context import RoleContext
from agents.transport import Assigned
from definitions.declared import LabelDefinition, ModelDefinition
from streams import joins, topics
from streams.chain import CELLS_A_LINK
from streams.derived import position_header
from streams.joins import TALLY, JoinCodec, JoinRule, JoinState, Tally
from streams.joins.matching import KEYS_A_CHUNK, Join, Step
from streams.messages import Example, Outcome, Progress, encode
from streams.records import Record, RecordBatch
from streams.store import OnlineStore, Question

# A step changes at most a chunk of keys and the cells around it: every commit is one link, whole or not at all. Those
# of a batch are written together, behind the acknowledgement of all their examples.
_CELLS_BEFORE_COMMIT = CELLS_A_LINK - KEYS_A_CHUNK - 4
_LINKS_AT_ONCE = 64
"""A horizon that passes for a million keys is written in parts as well."""

logger = logging.getLogger(__name__)


class LabelJoiner:
    """Works off one partition of a model's outcomes topic.

    The examples of a commit are acknowledged before it: a kill in between sends them again, equal and at the same
    positions. Its row counts predictions, labels and progress as applied, what was seen before as duplicate, what came
    after its own horizon as too_late, predictions without label key as no_entity, unreadable records as dead.
    """

    def __init__(self, model: ModelDefinition, label: LabelDefinition, context: RoleContext, given: Assigned) -> None:
        self._model = model
        self._context = context
        self._partition = given.partition
        self._topic = topics.examples(context.namespace, model)
        self._rows: FoldWriter[JoinState] = FoldWriter(context, joins.fold(model.key), given, JoinCodec())
        rule = JoinRule(model.key, label.within_ms, label.event.disorder_ms, label.otherwise)
        self._join = Join(rule, given.partition.field, self._rows.chain.load)
        self._decoder: msgspec.json.Decoder[Outcome] = msgspec.json.Decoder(Outcome)
        self._examples: list[Example] = []
        self._changed: dict[str, None] = {}
        self._staged = 0
        self._counted = self._tally()

    @property
    def position(self) -> int:
        """Offset of the first outcome that is not joined."""
        return self._rows.row.next

    async def apply(self, batch: RecordBatch) -> None:
        """Join the batch's outcomes with what waits."""
        read = [(record, self._decoded(record)) for record in batch.records]
        self._rows.chain.load(
            joins.cell_of(outcome.label_key)
            for _, outcome in read
            if outcome is not None and not isinstance(outcome, Progress) and outcome.label_key is not None
        )
        for record, outcome in read:
            if outcome is None:
                self._rows.note("dead")
                continue
            for step in self._join.apply(record.offset(), outcome):
                await self._take(record, step)
            if not isinstance(outcome, Progress):
                self._rows.saw(outcome.at_ms)
            self._rows.took(record)
        self._stage(batch.next)
        await self._commit()

    async def reached_end(self, broker_ms: int) -> None:
        """Say that everything the broker had is joined."""
        self._rows.reached_end(broker_ms)

    async def _take(self, record: Record, step: Step) -> None:
        self._examples += step.examples
        self._changed |= dict.fromkeys(step.changed)
        if step.fate is not None:
            self._rows.note(step.fate)
        if len(self._changed) > _CELLS_BEFORE_COMMIT:
            self._stage(record.offset() + (step.fate is not None))
            if self._staged == _LINKS_AT_ONCE:
                await self._commit()

    def _stage(self, after: int) -> None:
        self._rows.stage(after, self._changed)
        self._changed.clear()
        self._staged += 1

    async def _commit(self) -> None:
        producer = self._context.log.producer()
        sent = [
            producer.produce(
                self._topic,
                encode(example),
                key=example.label_key.encode(),
                headers=[position_header(self._partition, example.next, example.index)],
            )
            for example in self._examples
        ]
        for each in sent:
            await each
        tally = self._tally()
        self._rows.flush()
        self._count(tally)
        self._examples.clear()
        self._staged = 0

    def _decoded(self, record: Record) -> Outcome | None:
        # Boundary: whatever one record's bytes are, the records behind it go on.
        try:
            return self._decoder.decode(record.value() or b"")
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            logger.warning("skipped an outcome: %s@%d: %s", self._partition.topic, record.offset(), error)
            return None

    def _tally(self) -> Tally:
        state = self._rows.chain.load((TALLY,))[TALLY].state
        return msgspec.structs.replace(state) if isinstance(state, Tally) else Tally()

    def _count(self, tally: Tally) -> None:
        before, self._counted = msgspec.structs.asdict(self._counted), tally
        for outcome, count in msgspec.structs.asdict(tally).items():
            if count > before[outcome]:
                self._context.metrics.count(
                    "labels_joined_total", count - before[outcome], model=self._model.key, outcome=outcome
                )


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
