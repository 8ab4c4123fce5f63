"""Lets one online learner of one model learn from its examples, test then train, and publishes what it has become."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from agents.advance_rows import FoldWriter
from agents.context import RoleContext
from agents.keep_snapshots import SnapshotKeeper
from agents.quarantine_examples import UNREADABLE, ExampleQuarantine, reason_of
from agents.read_progress import PROGRESS, ProgressCodec, fold
from agents.transport import Assigned
from definitions.declared import LearnerDefinition, ModelDefinition
from definitions.encoder import Encoder
from online_models.errors import ArtefactRefused
from online_models.learners import Cut
from online_models.learners.taught import Taught
from online_models.progress import BinnedProgress
from streams.errors import ArtefactError, ChainBroken
from streams.messages import Example
from streams.pointers import learner_pointer
from streams.records import LOG_APPEND_TIME, Record, RecordBatch
from streams.store import Pointer

SNAPSHOT_EVERY = 4_000
"""A snapshot is due after so many examples, and whenever the learner has caught up."""
MOST_SINCE = 10_000
"""After so many examples one is cut, whatever part of the time that takes: all of them are in memory."""

logger = logging.getLogger(__name__)


class ExampleLearner:
    """One learner on the one partition of its model's examples topic.

    Its state is in its newest snapshot: opened, it goes on from there, and learns again what came after. What it was
    tested on is in its row and cell, which stand further on and do not count those examples again. An example at or
    below the learner's own position in its outcomes partition is a copy and is skipped.

    Paused by command, it stands still where it is, and takes nothing until it is resumed.

    What River takes of a vector does not depend on a training vocabulary, so no release has to be there to learn.
    """

    def __init__(
        self, model: ModelDefinition, definition: LearnerDefinition, context: RoleContext, given: Assigned
    ) -> None:
        self._definition = definition
        self._context = context
        self._given = given
        self._encoder = Encoder(model.inputs)
        self._decoder = msgspec.json.Decoder(Example)
        self._rows: FoldWriter[BinnedProgress] = FoldWriter(
            context, fold(model.key, definition.name), given, ProgressCodec()
        )
        self._progress = self._rows.chain.load((PROGRESS,))
        self._snapshots = SnapshotKeeper(context, model.key, definition.name, given)
        self._quarantine = ExampleQuarantine(context, model, definition.name, given.partition)
        self._labels = {"model": model.key, "learner": definition.name}
        self._name = learner_pointer(model.key, definition.name)
        self._positions: dict[str, tuple[int, int]] = {}
        self._through_ms: int | None = None
        self._generation = 0
        self._next = self._published_next = given.first
        self._end = given.end
        self._is_sound = True
        self._turn = asyncio.Lock()
        self._resting: asyncio.Task[None] | None = None
        self._failure: Exception | None = None
        told = self._snapshots.told()
        self._in_force, self._is_paused = told.pointer, told.is_paused
        self._learner = self._restored()
        self._show()

    @property
    def position(self) -> int:
        """Offset of the first example that has to be read."""
        stands = self._learner is None or self._is_paused
        return self._given.end if stands else min(self._next, self._rows.row.next)

    async def apply(self, batch: RecordBatch) -> None:
        """Learn the batch's examples; publish a snapshot where enough was learned, or nothing more is there.

        Raises:
            ChainBroken: another generation was published, or the learner was resumed: it has to be opened anew, at its
                position.
        """
        self._end = max(self._end, batch.next)
        async with self._sound():
            await self._look()
            if self._learner is not None and not self._is_paused:
                await self._learn(batch)
        self._show()

    async def reached_end(self, broker_ms: int) -> None:
        """Publish what was learned, and notice commands and another generation where no examples come."""
        async with self._sound():
            await self._look()
            if self._learner is not None and not self._is_paused:
                self._rows.reached_end(broker_ms)
                await self._publish(self._learner, only_if_due=True)
        self._show()

    async def close(self) -> None:
        """Publish what was learned since the last snapshot, so that whoever goes on need not learn it again."""
        if self._resting is not None:
            self._resting.cancel()
        if self._learner is not None and not self._is_paused and self._is_sound:
            await self._publish(self._learner)

    async def _learn(self, batch: RecordBatch) -> None:
        first, learner = self.position, self._learner
        for record in batch.records:
            if learner is not None and record.offset() >= first:
                self._take(learner, record)
                if learner.since >= SNAPSHOT_EVERY:
                    await self._publish(learner, only_if_due=learner.since < MOST_SINCE)
        self._next = max(self._next, batch.next)
        if batch.records:
            self._rows.took(batch.records[-1])
        await self._commit(batch.next)
        if self._learner is not None and await self._is_at_end():
            await self._publish(self._learner, only_if_due=True)
            if self._next > self._published_next and (self._resting is None or self._resting.done()):
                self._resting = asyncio.create_task(self._publish_rested(self._learner))

    async def _publish_rested(self, learner: Taught) -> None:
        """Publish as soon as the rest behind the last snapshot is over: the log tells its end only once a second."""
        try:
            while self._next > self._published_next and not self._is_paused:
                await asyncio.sleep(self._snapshots.rest_ms / 1_000)
                async with self._sound():
                    await self._publish(learner, only_if_due=True)
        except Exception as error:  # noqa: BLE001  # nobody awaits this: it is raised to whoever calls next
            self._failure = error

    def _take(self, learner: Taught, record: Record) -> None:
        """Learn from one record, unless the snapshot contains it; count it, unless the row does."""
        offset = record.offset()
        fate, score, example = "duplicate", None, None
        if offset >= self._next:
            example = self._decoded(record)
            fate = "dead" if example is None else "duplicate"
            if example is not None and (example.next, example.index) > self._positions.get(example.outcomes, (0, -1)):
                self._positions[example.outcomes] = (example.next, example.index)
                score = self._learned(learner, record, example)
                fate = "dead" if score is None else "applied"
            self._next = offset + 1
        if offset < self._rows.row.next:
            return
        self._rows.note(fate)
        if score is not None and example is not None and isinstance(example.label, bool):
            self._progress[PROGRESS].state.add(score, example.label)

    def _learned(self, learner: Taught, record: Record, example: Example) -> float | None:
        """Test, then train; return the score given before. None where the example cannot be learned."""
        # Boundary: an estimator is the author's, and may raise anything; the examples behind this one go on.
        try:
            score = learner.test_then_train(example.vector, example.label)
        except Exception as error:  # noqa: BLE001
            self._set_aside(record, reason_of(error), f"{type(error).__name__}: {error}")
            return None
        kind, at_ms = record.timestamp()
        if kind == LOG_APPEND_TIME:
            self._through_ms = at_ms
        return score

    def _set_aside(self, record: Record, reason: str, message: str) -> None:
        """Send the example to the dead letters, unless the row contains it: then it was acknowledged there."""
        if record.offset() >= self._rows.row.next:
            logger.warning("set an example aside: %s@%d: %s", self._name, record.offset(), message)
            self._quarantine.send(record, reason, message)

    async def _publish(self, learner: Taught, *, only_if_due: bool = False) -> None:
        """Cut a snapshot and move the pointer to it, if that is forward. The row goes first: it never stands behind."""
        if self._next <= self._published_next or (only_if_due and not self._snapshots.is_due):
            return
        began_s = time.perf_counter()
        await self._commit(self._next)
        cut = self._cut()
        data = learner.snapshot(cut)
        pointer, is_forward = self._snapshots.publish(data, cut, learner.learner.learned, began_s=began_s)
        if is_forward:
            self._context.metrics.count("snapshots_total", 1, **self._labels)
            self._context.metrics.observe("publish_seconds", time.perf_counter() - began_s, **self._labels)
        self._require_newest(self._snapshots.told().pointer)
        self._in_force, self._published_next = pointer, self._next

    async def _commit(self, after: int) -> None:
        """Let the dead letters arrive, then advance the row and the progress cell in one link."""
        await self._quarantine.arrived()
        if after > self._rows.row.next:
            before = self._rows.row.applied
            self._rows.commit(after, (PROGRESS,))
            self._context.metrics.count("examples_learned_total", self._rows.row.applied - before, **self._labels)

    async def _look(self) -> None:
        """Take up what people commanded since the last look.

        Raises:
            ChainBroken: the learner has to be opened anew.
        """
        told = self._snapshots.told()
        self._require_newest(told.pointer)
        if self._is_paused and not told.is_paused:
            raise ChainBroken(f"cannot go on from here: {self._name}: resumed; read on from its own position")
        if told.is_paused and not self._is_paused:
            if self._learner is not None:
                await self._publish(self._learner)
            self._is_paused = True
            logger.warning("paused: %s: learns nothing until `headrace models resume`", self._name)

    def _require_newest(self, found: Pointer | None) -> None:
        """Refuse to go on from a state that another generation replaced, or while one that was refused is mended."""
        is_replaced = found is not None and found.generation > self._generation
        if is_replaced or (self._learner is None and found != self._in_force):
            raise ChainBroken(f"cannot go on learning: {self._name}: another snapshot is in force; start from it")

    @asynccontextmanager
    async def _sound(self) -> AsyncIterator[None]:
        """Take a turn; note that what is in memory is not to be published any more, if the block fails."""
        async with self._turn:
            if self._failure is not None:
                raise self._failure
            self._is_sound, was = False, self._is_sound
            yield
            self._is_sound = was

    def _cut(self) -> Cut:
        return Cut(self._generation, self._next, self._positions, self._through_ms)

    def _restored(self) -> Taught | None:
        """Return the learner of the snapshot in force, a fresh one where there is none, None where it is refused."""
        if self._in_force is None:
            return Taught(self._definition, self._encoder)
        digest = self._in_force.digest
        try:
            learner = Taught(self._definition, self._encoder, (self._context.artefacts.get(digest), digest))
        except (ArtefactError, ArtefactRefused) as error:
            self._context.metrics.count("model_loads_total", 1, **self._labels, result="refused")
            logger.error("%s does not learn: %s", self._name, error)  # noqa: TRY400  # one line for people
            return None
        cut = learner.cut
        self._positions, self._generation, self._through_ms = dict(cut.positions), cut.generation, cut.through_ms
        self._snapshots.remember(self._in_force, cut, learner.learner.learned, is_own=False)
        if self._given.first <= cut.examples_next <= self._given.end:
            self._next = self._published_next = cut.examples_next
        else:
            # The topic is another one than the snapshot's: what is published from here on has to replace it.
            self._generation += 1
        return learner

    async def _is_at_end(self) -> bool:
        if self._next < self._end:
            return False
        [end] = await self._context.log.ends([self._given.partition])
        self._end = max(self._end, end)
        return self._next >= end

    def _decoded(self, record: Record) -> Example | None:
        try:
            return self._decoder.decode(record.value() or b"")
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            self._set_aside(record, UNREADABLE, str(error))
            return None

    def _show(self) -> None:
        metrics = self._context.metrics
        metrics.set("learner_lag_records", max(0, self._end - self._next), **self._labels)
        waiting = 0 if self._learner is None else self._learner.learner.waiting
        metrics.set("learner_waiting_examples", waiting, **self._labels)
        metrics.set("learner_paused", self._is_paused, **self._labels)
