"""A simulated process: a role under its real runner, the partitions it believes to have, the points it may die at."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agents.context import RoleContext
from agents.runner import Runner
from agents.transport import Assigned, Role, Subscription
from streams.records import Partition, RecordBatch
from tests.simulation.connection import Broken, Connection
from tests.simulation.sending import SimulatedLog, SimulatedProducer
from tests.simulation.stepping import Steppable, can_pause, pause
from tests.simulation.store import TimeTravellingStore

if TYPE_CHECKING:
    from tests.simulation.world import World

AHEAD = 2
"""How many batches a member has fetched ahead."""


class Killed(BaseException):
    """kill -9: nothing that the process would still have done is done."""


@dataclass(frozen=True)
class Parts:
    """What a simulated process is made of. Mutants change one part."""

    role: Callable[[RoleContext], Role]
    runner: type[Runner] = Runner
    connection: type[Connection] = Connection
    producer: type[SimulatedProducer] = SimulatedProducer
    store: type[TimeTravellingStore] = TimeTravellingStore


@dataclass(frozen=True, eq=False)
class Point:
    """Where a task of a process stands, until the world lets it go on."""

    process: Process
    what: str
    go_on: asyncio.Future[None]
    broken: Broken | None

    @property
    def is_call(self) -> bool:
        """Whether this is within a call to the store."""
        return self.broken is not None


@dataclass
class _Reading:
    """Where a member stands in one of its partitions."""

    assignment: int
    position: int
    ahead: deque[RecordBatch] = field(default_factory=deque)
    told: tuple[int, int] = (-1, -1)


class Process:
    """A process of the group; a `agents.transport.Member` to its own runner."""

    def __init__(self, world: World, parts: Parts) -> None:
        self.world = world
        self.dead = False
        self.replaced = False
        """Whether its partitions were given to others while it was not looking."""
        log = SimulatedLog(self, parts.producer)
        context = RoleContext("ns", log, parts.connection(self), world.artefacts, world.metrics)
        role = parts.role(context)
        self.subscription: Subscription = role.subscription()
        self.runner = parts.runner(self, role, world.metrics, pause=lambda _: self.at("wait"))
        self._readings: dict[Partition, _Reading] = {}
        self._moving = asyncio.Lock()
        self.do(self._live())

    # -- points

    def point(self, what: str, broken: Broken = lambda: None) -> None:
        """Stand here until the world goes on, in synchronous code.

        Raises:
            Killed: the process died here.
            StoreUnavailable: the connection broke here.
        """
        if self.dead:
            raise Killed
        if self.world.stops_here() and can_pause():
            pause(self._stand(what, broken).go_on)

    async def at(self, what: str) -> None:
        """Stand here until the world goes on."""
        if self.dead:
            raise Killed
        await self._stand(what, None).go_on

    def _stand(self, what: str, broken: Broken | None) -> Point:
        point = Point(self, what, asyncio.get_running_loop().create_future(), broken)
        self.world.points.append(point)
        return point

    def do(self, work: Coroutine[Any, Any, Any]) -> asyncio.Future[None]:
        """Do something as a task of this process, until it ends or the process dies."""
        task = asyncio.ensure_future(self._done(work))
        self.world.tasks.append(task)
        return task

    async def _done(self, work: Coroutine[Any, Any, Any]) -> None:
        try:
            await Steppable(work)
        except Killed:
            pass
        except Exception as error:  # noqa: BLE001  # a process that ends by itself is a finding
            self.world.findings.append(f"a process ended: {type(error).__name__}: {error}")

    async def _live(self) -> None:
        while True:
            await self.at("idle")
            batch = self._next()
            if batch is not None:
                await self.runner.take(batch)
            else:
                await self._tell_ends()

    # -- partitions come and go

    async def take_on(self, partition: Partition) -> None:
        """Be given a partition. Moves come one after the other, as the thread of a real member asks for them."""
        async with self._moving:
            if not self.world.owns(self, partition):
                return
            number = self.world.next_assignment()
            self._readings[partition] = reading = _Reading(number, -1)
            given = Assigned(partition, number, 0, self.world.end(partition), self.world.committed.get(partition))
            position = await self.runner.assigned(given)
            if reading.position < 0 and position is not None:
                reading.position = position

    async def give_up(self, partition: Partition) -> None:
        """Finish with a partition, and forget it."""
        async with self._moving:
            await self.runner.revoked(partition)
            self._readings.pop(partition, None)

    @property
    def partitions(self) -> list[Partition]:
        """The partitions that it believes to have."""
        return list(self._readings)

    # -- the member, as the runner sees it

    async def start(self, listener: Any) -> None:
        """Do nothing: partitions are given by the world."""

    async def poll(self, timeout_s: float) -> RecordBatch | None:  # noqa: ARG002  # a `Member`
        """Return the next batch."""
        return self._next()

    def assignment(self, partition: Partition) -> int | None:
        """Return the partition's assignment number."""
        reading = self._readings.get(partition)
        return None if reading is None else reading.assignment

    def seek(self, partition: Partition, position: int) -> None:
        """Rewind; batches fetched ahead become stale, and are handed over all the same."""
        reading = self._readings.get(partition)
        if reading is not None:
            reading.assignment, reading.position = self.world.next_assignment(), position
            reading.told = (-1, -1)

    def hold(self, partition: Partition) -> None:
        """Read nothing of the partition until the next seek."""
        reading = self._readings.get(partition)
        if reading is not None:
            reading.assignment, reading.position = self.world.next_assignment(), -1

    def commit(self, partition: Partition, position: int) -> None:
        """Send the hint: one of a replaced process is refused by the broker."""
        self.point("commit")
        if partition in self._readings and not self.replaced:
            self.world.committed[partition] = position
        self.point("committed")

    async def stop(self, drain_s: float) -> None:  # noqa: ARG002  # a `Member`
        """Give everything up."""
        for partition in self.partitions:
            await self.give_up(partition)

    # -- what it reads

    def _next(self) -> RecordBatch | None:
        for reading in self._readings.values():
            while len(reading.ahead) < AHEAD and (batch := self._fetched(reading)) is not None:
                reading.ahead.append(batch)
        full = [reading for reading in self._readings.values() if reading.ahead]
        return self.world.chance.choice(full).ahead.popleft() if full else None

    def _fetched(self, reading: _Reading) -> RecordBatch | None:
        """Return the batch at the reading's position; now and then the one before again, or the one after it first."""
        partition = next(each for each, held in self._readings.items() if held is reading)
        if reading.position < 0:
            return None
        chance, faulty = self.world.chance, self.world.faulty
        end = self.world.end(partition)
        if faulty and chance.random() < 0.05:
            reading.position = max(0, min(end - 1, reading.position + chance.randrange(-3, 4)))
        first = reading.position
        if first >= end:
            return None
        reading.position = min(end, first + chance.randrange(1, 6))
        records = self.world.log.kept(partition).records[first : reading.position]
        return RecordBatch(partition, reading.assignment, first, reading.position, records)

    async def _tell_ends(self) -> None:
        for partition, reading in list(self._readings.items()):
            end, now_ms = self.world.end(partition), self.world.clock()
            if reading.position == end and (reading.told[0] != end or now_ms - reading.told[1] >= 1_000):
                reading.told = (end, now_ms)
                await self.runner.reached_end(partition, end, now_ms)
