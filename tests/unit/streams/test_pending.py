"""What waits in a join, as its cells say, whatever the join does meanwhile."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from agents.learn import LearningRole
from streams.joins import TALLY, JoinCodec, JoinRule, Tally, fold
from streams.joins.pending import PartitionPending, read_pending
from streams.store import Answer, Cell, Question
from streams.store.memory import MemoryStore
from tests.learning import HOUR_MS, START_MS, UnsteadyStore, World, small_model

MODEL = small_model()
WAITING = 7


async def joined(directory: Path, store: UnsteadyStore | None = None) -> World:
    """Return a world in which every third of 21 predictions waits, the oldest for two hours."""
    world = World(directory, MODEL)
    if store is not None:
        world.use(store)
    await world.create_topics()
    for number in range(3 * WAITING):
        await world.predict(number, f"F{number}", START_MS + number)
    for number in range(3 * WAITING):
        if number % 3:
            await world.arrive(f"F{number}", START_MS + 2 * HOUR_MS, 30.0)
    await world.drain(LearningRole(world.app, world.context))
    return world


def changed(store: MemoryStore, tally: Tally, field: str) -> None:
    """Write a tally into the store that is not the join's own."""
    cells = store._cells[fold(MODEL.key)][TALLY]  # nobody else may write it
    cells[field] = Cell(cells[field].position, JoinCodec().encode(tally) or b"")


async def test_predictions_that_wait_are_counted_in_the_cells(tmp_path: Path) -> None:
    world = await joined(tmp_path)

    found = read_pending(world.store, MODEL.key)

    assert sum(each.counted or 0 for each in found) == sum(each.tally.pending for each in found) == WAITING
    assert sum(each.keys or 0 for each in found) == 3 * WAITING
    assert [each.problem for each in found] == [None, None]
    oldest = [each.oldest_age_ms for each in found]
    assert max(each or 0 for each in oldest) in range(2 * HOUR_MS - 3 * WAITING, 2 * HOUR_MS + 1)


async def test_it_is_said_how_far_the_horizon_is_and_who_holds_it(tmp_path: Path) -> None:
    world = await joined(tmp_path)
    assert MODEL.label is not None
    rule = JoinRule.of(MODEL.key, MODEL.label)
    labels = {each.field for each in await world.log.partitions("flights.arrived")}

    for each in read_pending(world.store, MODEL.key):
        assert each.held_by in labels
        assert each.passed_ms(rule) <= START_MS + 2 * HOUR_MS - rule.within_ms


async def test_a_prediction_that_is_lost_is_a_problem(tmp_path: Path) -> None:
    """A tally that adds up and cells that do not hold what it says, and a tally that does not add up."""
    world = await joined(tmp_path)
    [first, _] = read_pending(world.store, MODEL.key)

    lost = msgspec.structs.replace(
        first.tally, predictions=first.tally.predictions + 1, pending=first.tally.pending + 1
    )
    changed(world.store, lost, first.partition)
    [uncounted, _] = read_pending(world.store, MODEL.key)
    changed(world.store, msgspec.structs.replace(first.tally, matched=0), first.partition)
    [unbalanced, _] = read_pending(world.store, MODEL.key)

    assert "waiting predictions, got" in (uncounted.problem or "")
    assert "expected predictions = matched + timed out + pending" in (unbalanced.problem or "")


async def test_a_join_that_has_not_started_has_no_partitions() -> None:
    assert read_pending(MemoryStore(), MODEL.key) == []


class BusyStore(UnsteadyStore):
    """A store in which the join moves on whenever cells are read, so many times."""

    moves = 0

    def read(self, question: Question, *, timeout_ms: float | None = None) -> Answer:
        """Move on, then read."""
        if self.moves and any(cell != TALLY for _, cell in question.cells):
            self.moves -= 1
            for field, cell in [*self._cells[fold(MODEL.key)][TALLY].items()]:
                tally = JoinCodec().decode(cell.state)
                assert isinstance(tally, Tally)
                changed(self, msgspec.structs.replace(tally, labels=tally.labels + 1), field)
        return super().read(question, timeout_ms=timeout_ms)


@pytest.mark.parametrize(("moves", "is_counted"), [(3, True), (1_000, False)])
async def test_what_moves_is_counted_again_and_at_last_not_at_all(
    tmp_path: Path, moves: int, *, is_counted: bool
) -> None:
    """Its own tally, which is one cell, has to add up all the same."""
    store = BusyStore()
    world = await joined(tmp_path, store)
    store.moves = moves

    found: list[PartitionPending] = read_pending(world.store, MODEL.key)

    assert [each.counted is not None for each in found] == [is_counted] * 2
    assert [each.problem for each in found] == [None, None]
    assert sum(each.tally.pending for each in found) == WAITING
