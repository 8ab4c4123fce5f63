"""Counts how well a model's learners do, by prediction time: predictions of its outcomes, scores of its examples.

Both are parts of one fold, and what they know of a bucket adds up when it is read. Nothing is joined here: the label
join has done that, and what it made lies in the examples topic.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import msgspec

from agents.advance_rows import FoldWriter
from agents.context import RoleContext
from agents.read_quality import export_quality, fold, layout_of
from agents.transport import Assigned
from definitions.declared import LabelDefinition, ModelDefinition
from online_models.quality.buckets import (
    REACH,
    Bucket,
    QualityCodec,
    QualityState,
    Reach,
    cell_of,
    count_example,
    count_prediction,
    count_revision,
    is_too_old,
    keep,
)
from streams.chain import Slot
from streams.messages import Example, Outcome, Prediction
from streams.records import Record, RecordBatch

FUTURE_MS = 5 * 60_000
"""A prediction further ahead of the broker's clock than this is not counted: it would age all others."""
EXPORT_EVERY_MS = 30_000
"""How often measures are put on the metrics port, by the broker's clock."""

Kind = TypeVar("Kind", Bucket, Reach)


class _Counter:
    """One partition's part of the fold.

    Its row counts what was counted as applied, copies as duplicate, what is from the future or older than every bucket
    that is kept as too_late, what has no scores or no key as no_entity, unreadable records as dead.
    """

    def __init__(self, model: ModelDefinition, label: LabelDefinition, context: RoleContext, given: Assigned) -> None:
        self._layout = layout_of(model, label)
        self._partition = given.partition
        self._rows: FoldWriter[QualityState] = FoldWriter(context, fold(model.key), given, QualityCodec())

    @property
    def position(self) -> int:
        """Offset of the first record that is not counted."""
        return self._rows.row.next

    async def apply(self, batch: RecordBatch) -> None:
        """Count the batch's records, in one link for each hundred buckets."""
        changed: dict[str, None] = {}
        for record in batch.records:
            fate, cells = self._take(record)
            self._rows.note(fate)
            self._rows.took(record)
            changed |= dict.fromkeys(cells)
        self._rows.commit(batch.next, changed)

    async def reached_end(self, broker_ms: int) -> None:
        """Say that everything the broker had is counted."""
        self._rows.reached_end(broker_ms)

    def _take(self, record: Record) -> tuple[str, Sequence[str]]:
        """Count one record; return its fate and the cells that changed."""
        raise NotImplementedError

    def _open(self, record: Record, at_ms: int) -> tuple[Bucket, list[str]] | None:
        """Return the bucket of a prediction's time and the cells that change with it; None where it is not counted."""
        reach, number = self._state(REACH, Reach), self._layout.bucket(at_ms)
        if at_ms > record.timestamp()[1] + FUTURE_MS or is_too_old(reach, number):
            return None
        gone = [cell_of(each) for each in keep(reach, number)]
        slots = self._rows.chain.load(gone)
        for cell in gone:
            slots[cell].state = None
        self._rows.saw(at_ms)
        return self._state(cell_of(number), Bucket), [cell_of(number), REACH, *gone]

    def _state(self, cell: str, kind: type[Kind]) -> Kind:
        slot: Slot[QualityState] = self._rows.chain.load((cell,))[cell]
        if slot.state is None:
            slot.state = kind()
        if not isinstance(slot.state, kind):
            raise TypeError(f"cannot count: {cell}: expected {kind.__name__}, got {type(slot.state).__name__}")
        return slot.state


class PredictionCounter(_Counter):
    """Counts the predictions of one outcomes partition: what the share of known labels is a share of."""

    def __init__(self, model: ModelDefinition, label: LabelDefinition, context: RoleContext, given: Assigned) -> None:
        super().__init__(model, label, context, given)
        self._decoder: msgspec.json.Decoder[Outcome] = msgspec.json.Decoder(Outcome)

    def _take(self, record: Record) -> tuple[str, Sequence[str]]:
        # Boundary: whatever one record's bytes are, the records behind it go on.
        try:
            outcome = self._decoder.decode(record.value() or b"")
        except (msgspec.DecodeError, UnicodeDecodeError):
            return "dead", ()
        if not isinstance(outcome, Prediction):
            return "applied", ()
        if outcome.label_key is None or not outcome.scores:
            return "no_entity", ()
        opened = self._open(record, outcome.at_ms)
        if opened is None:
            return "too_late", ()
        bucket, cells = opened
        count_prediction(self._layout, bucket, release=outcome.release, vector=outcome.vector, learners=outcome.scores)
        return "applied", cells


class ExampleJudge(_Counter):
    """Counts the scores of the examples beside their labels, and puts measures on the metrics port.

    A copy of an example is not counted again.
    """

    def __init__(self, model: ModelDefinition, label: LabelDefinition, context: RoleContext, given: Assigned) -> None:
        super().__init__(model, label, context, given)
        self._model = model
        self._context = context
        self._exported_ms = 0
        self._decoder = msgspec.json.Decoder(Example)

    async def reached_end(self, broker_ms: int) -> None:
        """Say that everything the broker had is counted, and what it comes to."""
        await super().reached_end(broker_ms)
        if broker_ms - self._exported_ms >= EXPORT_EVERY_MS:
            self._exported_ms = broker_ms
            await export_quality(self._context, self._model)

    def _take(self, record: Record) -> tuple[str, Sequence[str]]:
        # Boundary: whatever one record's bytes are, the records behind it go on.
        try:
            example = self._decoder.decode(record.value() or b"")
        except (msgspec.DecodeError, UnicodeDecodeError):
            return "dead", ()
        if not isinstance(example.label, bool | int | float) or not example.scores:
            return "no_entity", ()
        reach, position = self._state(REACH, Reach), (example.next, example.index)
        if position <= tuple(reach.positions.get(example.outcomes, (0, -1))):
            return "duplicate", ()
        reach.positions[example.outcomes] = position
        opened = self._open(record, example.at_ms)
        if opened is None:
            return "too_late", (REACH,)
        bucket, cells = opened
        if example.is_revision:
            self._revise(bucket, example, example.label)
            return "applied", cells
        took_ms = self._layout.within_ms if example.label_at_ms is None else example.label_at_ms - example.at_ms
        count_example(
            self._layout,
            bucket,
            release=example.release,
            vector=example.vector,
            scores=example.scores,
            label=example.label,
            delay_ms=took_ms,
        )
        return "applied", cells

    def _revise(self, bucket: Bucket, example: Example, label: float) -> None:
        replaces = example.replaces
        if replaces is None and isinstance(label, bool):
            replaces = not label  # of an older headrace: there is but one other
        if isinstance(replaces, bool | int | float):
            count_revision(
                self._layout,
                bucket,
                release=example.release,
                vector=example.vector,
                scores=example.scores,
                labels=(replaces, label),
            )
