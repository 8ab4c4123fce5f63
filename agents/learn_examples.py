"""Lets one online learner of one model learn from its examples, test then train, and publishes what it has become."""

from __future__ import annotations

import logging
import time

import msgspec

from agents.advance_rows import FoldWriter
from agents.context import RoleContext
from agents.transport import Assigned
from definitions.declared import LearnerDefinition, ModelDefinition
from definitions.encoder import Encoder, Vector
from definitions.errors import HeadraceError
from definitions.values import Value
from online_models.errors import ArtefactRefused
from online_models.learners import Cut
from online_models.learners.river import RiverLearner
from online_models.progress import BinnedProgress
from streams.errors import ArtefactError, ChainBroken
from streams.messages import Example
from streams.records import Record, RecordBatch
from streams.store import OnlineStore, Pointer, Question

SNAPSHOT_EVERY = 1_000
"""A snapshot is cut at least every so many examples, and whenever the learner has caught up."""
PUBLISH_EVERY_S = 0.25
"""How long what was learned waits at most for its snapshot while examples come: it is no state, only when to save."""
PROGRESS = "@progress"
"""The cell of the learner's fold that holds how well it did on examples before it learned them."""

logger = logging.getLogger(__name__)


def fold(model_key: str, learner: str) -> str:
    """Return the name of the learner's fold: its row counts examples, its cell how well they were foretold."""
    return f"learner.{model_key}.{learner}"


def pointer_name(model_key: str, learner: str) -> str:
    """Return the name of the pointer to the learner's newest snapshot."""
    return f"model.{model_key}.{learner}"


class ProgressCodec:
    """Implements `streams.chain.StateCodec` for the progress cell."""

    def empty(self) -> BinnedProgress:
        """Return the progress of a learner that was never tested."""
        return BinnedProgress()

    def encode(self, state: BinnedProgress) -> bytes | None:
        """Return the state's bytes."""
        return msgspec.msgpack.encode(state)

    def decode(self, data: bytes) -> BinnedProgress:
        """Return the state that the bytes were made from."""
        return msgspec.msgpack.decode(data, type=BinnedProgress)


class ExampleLearner:
    """One learner on the one partition of its model's examples topic.

    Its state is in its newest snapshot: opened, it goes on from there, and learns again what came after. What it was
    tested on is in its row and cell, which stand further on and do not count those examples again. An example at or
    below the learner's own position in its outcomes partition is a copy and is skipped.

    What River takes of a vector does not depend on a training vocabulary, so no release has to be there to learn.
    """

    def __init__(
        self, model: ModelDefinition, definition: LearnerDefinition, context: RoleContext, given: Assigned
    ) -> None:
        self._model = model
        self._definition = definition
        self._context = context
        self._given = given
        self._encoder = Encoder(model.inputs)
        self._decoder = msgspec.json.Decoder(Example)
        self._rows: FoldWriter[BinnedProgress] = FoldWriter(
            context, fold(model.key, definition.name), given, ProgressCodec()
        )
        self._pointer_name = pointer_name(model.key, definition.name)
        self._since: list[tuple[Vector, Value]] = []
        """What was learned since the snapshot in force: enough to make the state again."""
        self._in_force = self._pointer()
        self._data: bytes | None = None
        self._positions: dict[str, tuple[int, int]] = {}
        self._generation = 0
        self._next = self._published_next = given.first
        self._published_s = time.monotonic()
        self._learner = self._restored()

    @property
    def position(self) -> int:
        """Offset of the first example that has to be read."""
        return self._given.end if self._learner is None else min(self._next, self._rows.row.next)

    async def apply(self, batch: RecordBatch) -> None:
        """Learn the batch's examples; publish a snapshot where enough was learned, or long enough ago.

        Raises:
            ChainBroken: another generation was published; the learner has to be opened anew, at its position.
        """
        self._require_newest()
        for record in batch.records:
            if self._learner is not None and record.offset() >= self.position:
                self._take(self._learner, record)
                if len(self._since) >= SNAPSHOT_EVERY:
                    self._publish(self._learner)
        if self._learner is not None:
            self._next = max(self._next, batch.next)
            self._commit(batch.next)
            if time.monotonic() - self._published_s >= PUBLISH_EVERY_S:
                self._publish(self._learner)

    async def reached_end(self, broker_ms: int) -> None:
        """Publish what was learned, and notice another generation where no examples come."""
        self._require_newest()
        if self._learner is not None:
            self._rows.reached_end(broker_ms)
            self._publish(self._learner)

    def _take(self, learner: RiverLearner, record: Record) -> None:
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
        self._rows.took(record)
        if score is not None and example is not None and isinstance(example.label, bool):
            self._rows.chain.load((PROGRESS,))[PROGRESS].state.add(score, example.label)

    def _learned(self, learner: RiverLearner, record: Record, example: Example) -> float | None:
        """Test, then train; return the score given before. None where the example cannot be learned."""
        # Boundary: an estimator is the author's, and may raise anything; the examples behind this one go on.
        try:
            [score] = learner.score_many([example.vector])
            learner.learn_one(example.vector, example.label)
        except Exception as error:  # noqa: BLE001
            logger.warning("skipped an example: %s@%d: %s", self._pointer_name, record.offset(), error)
            if not isinstance(error, HeadraceError):
                self._undo()
            return None
        self._since.append((example.vector, example.label))
        return score

    def _undo(self) -> None:
        """Make the state again that the learner had before an example it could not learn to the end."""
        learner = self._from_snapshot()
        for vector, label in self._since:
            learner.learn_one(vector, label)
        self._learner = learner

    def _publish(self, learner: RiverLearner) -> None:
        """Cut a snapshot and move the pointer to it, if that is forward. The row goes first: it never stands behind."""
        if self._next <= self._published_next:
            return
        self._commit(self._next)
        data = learner.snapshot(Cut(self._generation, self._next, self._positions))
        pointer = Pointer(self._generation, self._next, self._context.artefacts.put(data))
        if self._context.store.advance_pointer(self._pointer_name, pointer):
            self._context.metrics.count("snapshots_total", model=self._model.key, learner=learner.name)
        self._require_newest()
        self._in_force, self._data, self._published_next = pointer, data, self._next
        self._published_s = time.monotonic()
        self._since.clear()

    def _commit(self, after: int) -> None:
        if after > self._rows.row.next:
            before = self._rows.row.applied
            self._rows.chain.load((PROGRESS,))
            self._rows.commit(after, (PROGRESS,))
            learned = self._rows.row.applied - before
            self._context.metrics.count(
                "examples_learned_total", learned, model=self._model.key, learner=self._definition.name
            )

    def _require_newest(self) -> None:
        """Refuse to go on from a state that another generation replaced, or while one that was refused is mended."""
        found = self._pointer()
        is_replaced = found is not None and found.generation > self._generation
        if is_replaced or (self._learner is None and found != self._in_force):
            raise ChainBroken(
                f"cannot go on learning: {self._pointer_name}: another snapshot is in force; start from it"
            )

    def _pointer(self) -> Pointer | None:
        [found] = self._context.store.read(Question(pointers=[self._pointer_name])).pointers
        return found

    def _restored(self) -> RiverLearner | None:
        """Return the learner of the snapshot in force, a fresh one where there is none, None where it is refused."""
        if self._in_force is None:
            return RiverLearner(self._definition, self._encoder)
        try:
            self._data = self._context.artefacts.get(self._in_force.digest)
            learner, cut = RiverLearner.restore(
                self._definition, self._encoder, data=self._data, digest=self._in_force.digest
            )
        except (ArtefactError, ArtefactRefused) as error:
            self._context.metrics.count(
                "model_loads_total", model=self._model.key, learner=self._definition.name, result="refused"
            )
            logger.error("%s does not learn: %s", self._pointer_name, error)  # noqa: TRY400  # one line for people
            return None
        self._positions, self._generation = dict(cut.positions), cut.generation
        if self._given.first <= cut.examples_next <= self._given.end:
            self._next = self._published_next = cut.examples_next
        else:
            # The topic is another one than the snapshot's: what is published from here on has to replace it.
            self._generation += 1
        return learner

    def _from_snapshot(self) -> RiverLearner:
        if self._data is None or self._in_force is None:
            return RiverLearner(self._definition, self._encoder)
        digest = self._in_force.digest
        return RiverLearner.restore(self._definition, self._encoder, data=self._data, digest=digest)[0]

    def _decoded(self, record: Record) -> Example | None:
        try:
            return self._decoder.decode(record.value() or b"")
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            logger.warning("skipped an example: %s@%d: %s", self._pointer_name, record.offset(), error)
            return None


def read_progress(store: OnlineStore, model_key: str, learner: str) -> BinnedProgress:
    """Return how well a learner did, test then train, over everything it was tested on. For scoreboards.

    Raises:
        StoreUnavailable: the store did not answer.
    """
    [cells] = store.read(Question(cells=[(fold(model_key, learner), PROGRESS)])).cells
    progress = BinnedProgress()
    for cell in cells.values():
        progress = progress.merged(ProgressCodec().decode(cell.state))
    return progress
