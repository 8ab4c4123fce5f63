"""The join's writer: examples are acknowledged before the row advances, and every commit is whole."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import msgspec
import pytest

from agents.join_labels import read_tally
from agents.learn import LearningRole
from streams import topics
from streams.chain import CELLS_A_LINK
from streams.derived import position_header
from streams.joins import Tally, fold
from streams.messages import Example, LabelSeen, Progress, encode
from streams.store import Cell, Link, RowKey
from tests.builders import label_definition
from tests.learning import HOUR_MS, START_MS, UnsteadyStore, World, row_of, small_model

MODEL = small_model(label=label_definition(otherwise=False))
OUTCOMES = topics.outcomes("demo", MODEL)
FLIGHTS = 150


async def fill(world: World) -> None:
    """Write an outcomes log with matches, copies, a revision, time-outs and bytes that are no outcome."""
    producer = world.log.producer()
    for number in range(FLIGHTS):
        await world.predict(number, f"F{number}", START_MS + number)
        if number % 3 == 0:
            await world.predict(number, f"F{number}", START_MS + number)
    await world.predict(FLIGHTS, None, START_MS)
    await producer.produce(OUTCOMES, b"not an outcome", partition=0)
    for number in range(0, FLIGHTS, 2):
        label = LabelSeen(label_key=f"F{number}", at_ms=START_MS + HOUR_MS, label=True, source=f"t/0@{number}")
        for _ in range(2):
            await producer.produce(OUTCOMES, encode(label), key=label.label_key.encode())
    revision = LabelSeen(label_key="F0", at_ms=START_MS + HOUR_MS, label=False, source="t/0@1000")
    await producer.produce(OUTCOMES, encode(revision), key=b"F0")
    for index in range(2):
        progress = Progress(source="t/0", partitions=1, newest_ms=START_MS + 72 * HOUR_MS)
        await producer.produce(OUTCOMES, encode(progress), partition=index)


class CountedReads(UnsteadyStore):
    """Remembers which cells were asked for, and whether they were there every time."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: dict[str, bool] = {}

    def read_cells(self, key: RowKey, entities: Sequence[str], *, expected: bytes | None = None) -> list[Cell | None]:
        """Read them."""
        found = super().read_cells(key, entities, expected=expected)
        for entity, cell in zip(entities, found, strict=True):
            self.asked[entity] = self.asked.get(entity, True) and cell is not None
        return found


async def copied(source: World, directory: Path) -> World:
    """Return another world with the same outcomes log."""
    world = await World(directory, MODEL).create_topics()
    for partition in await source.log.partitions(OUTCOMES):
        for record in source.log.kept(partition).records:
            await world.log.producer().produce(OUTCOMES, record.value(), key=record.key(), partition=partition.index)
    return world


async def found_in(world: World) -> list[tuple[int, int, int, str, object]]:
    """Return the examples: partition, position, index, key and label, topic ids left out."""
    examples: dict[tuple[str, int, int], Example] = await world.examples()
    return sorted(
        (int(each.outcomes.rpartition("/")[2]), each.next, each.index, each.label_key, each.label)
        for each in examples.values()
    )


async def test_every_record_of_the_outcomes_is_in_exactly_one_tally(tmp_path: Path) -> None:
    world = await World(tmp_path, MODEL).create_topics()
    await fill(world)

    await world.drain(LearningRole(world.app, world.context))

    row = row_of(world.store, fold(MODEL.key))
    assert row["read"] == len(await world.records(OUTCOMES))
    assert (row["duplicate"], row["no_entity"], row["dead"]) == (50 + 75, 1, 1)
    expected = Tally(
        predictions=150, matched=75, timed_out=75, given=75, labels=76, revised=1, duplicate=125, label_duplicate=75
    )
    assert read_tally(world.store, MODEL.key) == expected
    assert len(await world.examples()) == FLIGHTS


@pytest.mark.parametrize("kills", [*((turns,) for turns in range(1, 60, 12)), (9, 9, 9, 9), (30, 5, 44)])
async def test_a_killed_join_gives_the_examples_and_tallies_of_an_uninterrupted_one(
    tmp_path: Path, kills: tuple[int, ...]
) -> None:
    """Killed at any await: equal examples at equal positions, and counts that redelivery did not inflate."""
    smooth = await World(tmp_path, MODEL).create_topics()
    await fill(smooth)
    world = await copied(smooth, tmp_path)
    await smooth.drain(LearningRole(smooth.app, smooth.context))

    for turns in kills:
        await world.drain_but_kill(LearningRole(world.app, world.context), when=partial(operator.le, turns))
    await world.drain(LearningRole(world.app, world.context))

    assert await found_in(world) == await found_in(smooth)
    assert read_tally(world.store, MODEL.key) == read_tally(smooth.store, MODEL.key)
    assert row_of(world.store, fold(MODEL.key)) == row_of(smooth.store, fold(MODEL.key))


@pytest.mark.parametrize("writes", range(1, 64, 16))
@pytest.mark.parametrize("is_written", [True, False])
async def test_a_store_that_fails_at_any_write_changes_no_example(
    tmp_path: Path, writes: int, *, is_written: bool
) -> None:
    """The write may have happened or not: the row tells."""
    smooth = await World(tmp_path, MODEL).create_topics()
    await fill(smooth)
    world = await copied(smooth, tmp_path)
    await smooth.drain(LearningRole(smooth.app, smooth.context))
    world.store.writes_left, world.store.last_is_written = writes, is_written

    await world.drain(LearningRole(world.app, world.context))

    assert await found_in(world) == await found_in(smooth)
    assert read_tally(world.store, MODEL.key) == read_tally(smooth.store, MODEL.key)


class WatchedStore(UnsteadyStore):
    """A store that remembers how large its writes were."""

    largest = 0
    without_row = 0

    def write(self, links: Sequence[Link]) -> None:
        """Write, and remember."""
        self.largest = max(self.largest, *(len(link.cells) for link in links))
        self.without_row += sum(link.row is None for link in links)
        super().write(links)


async def test_every_commit_is_one_link(tmp_path: Path) -> None:
    """Cells of a join depend on each other: a commit in two links could be cut between them.

    Several commits go in one round trip, each with its row.
    """
    world = World(tmp_path, MODEL)
    world.store = store = WatchedStore()
    world.context = replace(world.context, store=store)
    await world.create_topics()
    await fill(world)

    await world.drain(LearningRole(world.app, world.context))

    assert store.without_row == 0
    assert CELLS_A_LINK // 2 < store.largest <= CELLS_A_LINK


async def test_an_example_names_its_position_in_a_header(tmp_path: Path) -> None:
    world = await World(tmp_path, MODEL).create_topics()
    await fill(world)

    await world.drain(LearningRole(world.app, world.context))

    partitions = {each.field: each for each in await world.log.partitions(OUTCOMES)}
    for record in await world.records(topics.examples("demo", MODEL)):
        example = msgspec.json.decode(record.value() or b"", type=Example)
        expected = position_header(partitions[example.outcomes], example.next, example.index)
        assert record.headers() == [expected]


async def test_keys_are_registered_without_asking_the_store_for_what_cannot_be_there(tmp_path: Path) -> None:
    world = await World(tmp_path, MODEL).create_topics()
    store = CountedReads()
    world.use(store)
    await fill(world)

    await world.drain(LearningRole(world.app, world.context))

    assert read_tally(store, MODEL.key).timed_out == 75
    assert not [name for name, was_there in store.asked.items() if name.startswith("@expiry/") and not was_there]
