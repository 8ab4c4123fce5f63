"""Lets one personal learner of one model learn from its examples, test then train; its state is cells in the store.

Unlike a global learner it has no snapshots: scoring reads the cells of a request's entities with its features.
"""

from __future__ import annotations

import logging

import msgspec

from agents.advance_rows import FoldWriter
from agents.context import RoleContext
from agents.personal_cells import LEARNED, POPULATION, PROGRESS, Learned, PersonalCodec, PersonalState, fold, named
from agents.transport import Assigned
from definitions.declared import LearnerDefinition, ModelDefinition
from definitions.encoder import Encoder
from definitions.errors import HeadraceError
from online_models.errors import LearnerUnusable
from online_models.learners.restoring import ONLINE
from online_models.personal import Evidence, Instance, PersonalModel, Population
from online_models.progress import BinnedProgress
from streams.chain import CELLS_A_LINK, Slot
from streams.messages import Example
from streams.records import Record, RecordBatch
from streams.store import OnlineStore, Question

_SHARED = (POPULATION, PROGRESS, LEARNED)

logger = logging.getLogger(__name__)


class PersonalLearner:
    """One personal learner on the one partition of its model's examples topic.

    Every commit is one link: an example's entities, the population that they moved, and the row. Its row counts learned
    examples as applied, copies as duplicate, those that name none of its entities as no_entity, those scored by a
    trained version that was replaced as too_late where evidence began anew since, all others as dead.
    """

    def __init__(
        self, model: ModelDefinition, definition: LearnerDefinition, context: RoleContext, given: Assigned
    ) -> None:
        self._model = model
        self._definition = definition
        self._context = context
        self._personal = PersonalModel(definition, model.inputs)
        offset = model.learners[self._personal.offset]
        self._has_versions = offset.kind != ONLINE
        self._check = Encoder(model.inputs).check
        self._decoder = msgspec.json.Decoder(Example)
        self._rows: FoldWriter[PersonalState] = FoldWriter(context, fold(model, definition), given, PersonalCodec())
        self._changed: dict[str, None] = {}

    @property
    def position(self) -> int:
        """Offset of the first example that was not learned."""
        return self._rows.row.next

    async def apply(self, batch: RecordBatch) -> None:
        """Learn the batch's examples.

        Raises:
            ChainBroken, StoreUnavailable: the learner has to be opened anew.
        """
        read = [(record, self._decoded(record)) for record in batch.records if record.offset() >= self.position]
        cells = {record.offset(): self._cells(example) for record, example in read}
        self._rows.chain.load([*_SHARED, *(name for each in cells.values() for name in each if name is not None)])
        for record, example in read:
            wanted = [name for name in cells[record.offset()] if name is not None]
            if len(self._changed | dict.fromkeys([*wanted, *_SHARED])) > CELLS_A_LINK:
                self._commit(record.offset())
            fate = "dead" if example is None else self._take(record, example, cells[record.offset()])
            if fate == "applied":
                self._changed |= dict.fromkeys(wanted)
            self._rows.note(fate)
            self._rows.took(record)
        self._commit(batch.next)

    async def reached_end(self, broker_ms: int) -> None:
        """Say that everything the broker had is learned."""
        self._rows.reached_end(broker_ms)

    def _take(self, record: Record, example: Example, cells: list[str | None]) -> str:
        """Learn one example; return what became of it."""
        loaded = self._rows.chain.load([*_SHARED, *(name for name in cells if name is not None)])
        at, learned = (example.next, example.index), _learned(loaded[LEARNED])
        if at <= learned.positions.get(example.outcomes, (0, -1)):
            return "duplicate"
        learned.positions[example.outcomes] = at
        if not any(cells):
            return "no_entity"
        population = self._population(loaded[POPULATION])
        evidence = [None if name is None else self._evidence(loaded[name], population) for name in cells]
        # Boundary: whatever one example is like, the examples behind it go on.
        try:
            self._check(example.vector)
            score = self._personal.learn(self._instance(example), evidence, population)
        except HeadraceError as error:
            logger.warning("skipped an example: %s@%d: %s", self._definition.name, record.offset(), error)
            return "dead"
        if score is None:
            return "too_late"
        if isinstance(example.label, bool):
            _progress(loaded[PROGRESS]).add(score, example.label)
        return "applied"

    def _instance(self, example: Example) -> Instance:
        offset = self._personal.offset
        if offset not in example.scores:
            raise LearnerUnusable(f"cannot learn: {self._definition.name}: expected a score of {offset}, got none")
        digest = example.versions.get(offset, "") if self._has_versions else ""
        return Instance(example.vector, example.scores[offset], digest, example.label, example.at_ms)

    def _commit(self, after: int) -> None:
        if after <= self._rows.row.next:
            return
        before = self._rows.row.applied
        self._rows.commit(after, [*self._changed, *_SHARED])
        self._changed.clear()
        labels = {"model": self._model.key, "learner": self._definition.name}
        self._context.metrics.count("examples_learned_total", self._rows.row.applied - before, **labels)
        population = self._population(self._rows.chain.load((POPULATION,))[POPULATION])
        for kind, each in zip(self._personal.kinds, population.kinds, strict=True):
            self._context.metrics.set("personal_entities", each.begun, **labels, kind=kind)
            self._context.metrics.set("personal_forgetting", each.forgetting.rate, **labels, kind=kind)

    def _cells(self, example: Example | None) -> list[str | None]:
        return [] if example is None else named(self._definition, example.entities)

    def _decoded(self, record: Record) -> Example | None:
        try:
            return self._decoder.decode(record.value() or b"")
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            logger.warning("skipped an example: %s@%d: %s", self._definition.name, record.offset(), error)
            return None

    def _population(self, slot: Slot[PersonalState]) -> Population:
        if slot.state is None:
            slot.state = self._personal.population()
        assert isinstance(slot.state, Population)  # noqa: S101  # the codec tells by the cell's own kind
        return slot.state

    def _evidence(self, slot: Slot[PersonalState], population: Population) -> Evidence:
        if slot.state is None:
            slot.state = self._personal.fresh(population)
        assert isinstance(slot.state, Evidence)  # noqa: S101
        return slot.state


def read_personal_progress(store: OnlineStore, model: ModelDefinition, learner: LearnerDefinition) -> BinnedProgress:
    """Return how well a personal learner did, test then train, over everything it learned. For scoreboards.

    Raises:
        StoreUnavailable: the store did not answer.
    """
    [cells] = store.read(Question(cells=[(fold(model, learner), PROGRESS)])).cells
    progress, codec = BinnedProgress(), PersonalCodec()
    for cell in cells.values():
        state = codec.decode(cell.state)
        progress = progress.merged(state) if isinstance(state, BinnedProgress) else progress
    return progress


def _learned(slot: Slot[PersonalState]) -> Learned:
    if slot.state is None:
        slot.state = Learned()
    assert isinstance(slot.state, Learned)  # noqa: S101
    return slot.state


def _progress(slot: Slot[PersonalState]) -> BinnedProgress:
    if slot.state is None:
        slot.state = BinnedProgress()
    assert isinstance(slot.state, BinnedProgress)  # noqa: S101
    return slot.state
