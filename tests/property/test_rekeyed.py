"""A rekeyed view equals the plain one, whatever befell the copiers: refused sends, deaths, zombies, interleaving."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from agents import copy_events
from agents.copy_events import CopyRole
from agents.featurize import FeaturesRole
from agents.transport import LogUnavailable
from batch.audit_log import audit_log
from headrace.history import InProcessHistory
from streams.engine import Engine
from streams.errors import ChainBroken, StoreUnavailable
from streams.intake import Intake
from streams.records import Partition, RecordBatch
from streams.replay import Remembered
from tests.records import cut
from tests.rekeyed import APP, COPY, EVENT, NOW_MS, PLAIN, REKEYED, USERS, World, visit

PARTITIONS = 2
_REFUSALS = (LogUnavailable, StoreUnavailable, ChainBroken)


@dataclass(frozen=True)
class Step:
    """One copier, one of two of a source partition, goes on for some records, with what befalls it."""

    partition: int
    copier: int
    records: int
    refused: frozenset[int]
    dies: str | None
    opens: bool
    """Whether it begins anew, from the row, as after a rebalance; else it goes on from what it holds, a zombie."""


steps = st.builds(
    Step,
    partition=st.integers(0, PARTITIONS - 1),
    copier=st.integers(0, 1),
    records=st.integers(1, 6),
    refused=st.frozensets(st.integers(0, 5), max_size=2) | st.just(frozenset[int]()),
    dies=st.sampled_from([None, None, "before", "behind"]),
    opens=st.booleans(),
)
users = st.lists(st.sampled_from([*USERS, None]), max_size=10)
logs = st.tuples(*[users] * PARTITIONS)


class Copiers:
    """Two copiers of each source partition, each with what it believes to be its position."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._roles = [CopyRole(APP, world.context) for _ in range(2)]
        self._next: dict[tuple[int, int], int] = {}

    async def go_on(self, step: Step, sources: Sequence[Partition]) -> None:
        """Take one step, whatever comes of it."""
        world, role, place = self._world, self._roles[step.copier], (step.copier, step.partition)
        source = sources[step.partition]
        if step.opens or place not in self._next:
            self._next[place] = await role.open(await world.given(source))
        first = self._next[place]
        end = min(first + step.records, world.log.kept(source).end)
        if first >= end:
            return
        world.log.sender.refuse(step.refused)
        world.store.dies = step.dies
        try:
            await role.apply(world.batch(source, first, end))
            self._next[place] = end
        except _REFUSALS:
            self._next.pop(place)
        finally:
            world.log.sender.refuse(frozenset())
            world.store.dies = None


async def world_after(folder: Path, log: Sequence[Sequence[str | None]], schedule: Sequence[Step]) -> World:
    """Return the world behind a schedule, everything copied and read in the end."""
    world = await World(folder).create(PARTITIONS)
    number = 0
    for partition, of_partition in enumerate(log):
        for user in of_partition:
            await world.publish(visit(number, user, NOW_MS - number * 1_000), partition=partition)
            number += 1
    await world.run(FeaturesRole)
    copiers, sources = Copiers(world), await world.partitions(EVENT.topic)
    for step in schedule:
        await copiers.go_on(step, sources)
    await world.settle()
    return world


@settings(max_examples=200, deadline=None)
@given(logs, st.lists(steps, max_size=14), st.integers(1, 4))
def test_a_rekeyed_view_equals_the_plain_one(log: list[list[str | None]], schedule: list[Step], step: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        before, copy_events.STEP_RECORDS = copy_events.STEP_RECORDS, step
        try:
            world = asyncio.run(world_after(Path(folder), log, schedule))
            history = asyncio.run(InProcessHistory.of(world.log, (EVENT.topic, COPY.topic)))
        finally:
            copy_events.STEP_RECORDS = before
    for user in USERS:
        assert world.values(REKEYED, user) == world.values(PLAIN, user)
    audit = audit_log(APP, history, world.store)
    assert (audit.problems, audit.lost, audit.counted_twice) == ([], 0, 0)
    named = sum(user is not None for of_partition in log for user in of_partition)
    assert sum(each.row.applied for each in audit.views if each.topic == COPY.topic) == named


@settings(max_examples=100, deadline=None)
@given(logs, st.lists(steps, max_size=10), st.lists(st.integers(1, 20), max_size=5))
def test_a_copys_state_is_a_function_of_its_prefix(
    log: list[list[str | None]], schedule: list[Step], places: list[int]
) -> None:
    """However it is cut into batches: rows and cells are equal, byte for byte."""
    with tempfile.TemporaryDirectory() as folder:
        world = asyncio.run(world_after(Path(folder), log, schedule))
    source = REKEYED.sources[0]
    for partition in asyncio.run(world.partitions(COPY.topic)):
        records = world.log.kept(partition).records
        if records:
            whole, parts = (_replayed(cut(partition, records, each)) for each in ([], places))
            assert whole.row == parts.row
            codec = Engine(source).codec
            assert {name: codec.encode(slot.state) for name, slot in whole.slots.items()} == {
                name: codec.encode(slot.state) for name, slot in parts.slots.items()
            }


def _replayed(batches: Sequence[RecordBatch]) -> Remembered:
    remembered, intake = Remembered(Engine(REKEYED.sources[0]), 0), Intake(COPY)
    for batch in batches:
        remembered.apply(intake.read(batch))
    return remembered
