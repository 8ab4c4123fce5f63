"""A schedule: who acts next, what breaks, and at every rest the question whether all is as the log says.

Several rounds of trouble, each followed by a rest: the faults stop, whoever has the partitions now comes to the end of
the log, and the subject's oracle looks. Dead processes stay dead, frozen ones frozen, late links late: they go on in
the next round.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from agents.context import RoleContext
from agents.transport import Role
from agents.transport.clock import ManualClock
from agents.transport.in_process import InProcessLog
from streams.artefacts import ArtefactStore
from streams.errors import ChainBroken, StoreUnavailable
from streams.records import Partition
from streams.store import Link, RowKey
from streams.topics import TopicConfig
from tests.simulation.process import Killed, Parts, Point, Process
from tests.simulation.sending import Send
from tests.simulation.unmeasured import Unmeasured

NOW_MS = 1_700_000_000_000
MOST_PROCESSES = 3
MOST_RECORDS = 60
"""So that each can have a bit of its own in a sum."""

ROUNDS, STEPS = 2, 45
RESTING_ROUNDS = 3
"""How often a partition is seen to rest at its end before it counts: the second look notices a store gone back."""


class Subject(Protocol):
    """What is simulated: a role, what it reads, and what must be true of it whenever it rests."""

    topic: str
    reads: Sequence[str]
    """What the role reads: the topic, and those that it fills itself."""

    def topics(self) -> Sequence[TopicConfig]:
        """Return every topic that the role needs."""
        ...

    def role(self, context: RoleContext) -> Role:
        """Return a new process's role."""
        ...

    def record(self, chance: random.Random, number: int, now_ms: int) -> tuple[bytes | None, bytes]:
        """Return the value and the key of the next record."""
        ...

    def rows(self, partition: Partition) -> Sequence[RowKey]:
        """Return the keys of the rows that the role keeps."""
        ...

    async def findings(self, world: World) -> list[str]:
        """Return what is not as the log says, now that the role rests."""
        ...


@dataclass
class LateLinks:
    """Links that left a process whose connection broke behind them."""

    world: World
    links: list[Link]

    @property
    def lane(self) -> object:
        """Come by themselves."""
        return self

    def arrive(self) -> bool:
        """Let the first of them reach the store; return whether there are more."""
        with contextlib.suppress(ChainBroken):
            self.world.store.take(self.links.pop(0))
        return bool(self.links)


class World:
    """One schedule of one subject."""

    def __init__(self, chance: random.Random, subject: Subject, parts: Parts, shared: Shared) -> None:
        self.chance = chance
        self.subject = subject
        self.store = parts.store()
        self.clock = ManualClock(NOW_MS)
        self.log = InProcessLog(self.clock)
        self.artefacts, self.metrics = shared.artefacts, shared.metrics
        self.committed: dict[Partition, int] = {}
        self.points: list[Point] = []
        self.under_way: list[Send | LateLinks] = []
        self.tasks: list[asyncio.Future[None]] = []
        self.findings: list[str] = []
        self.faulty = False
        self._parts = parts
        self._partitions: tuple[Partition, ...] = ()
        self._processes: list[Process] = []
        self._owners: dict[Partition, Process] = {}
        self._moves: dict[Partition, object] = {}
        self._assignment = self._published = 0
        self._stops = self.chance.choice((0.15, 0.4, 1.0))
        self._goes_back = self.chance.random() < 0.6

    # -- asked by processes

    def stops_here(self) -> bool:
        """Return whether the next point is one at which others act."""
        return self.faulty and self.chance.random() < self._stops

    def end(self, partition: Partition) -> int:
        """Return the offset that the partition's next record gets."""
        return len(self.log.kept(partition).records)

    def owns(self, process: Process, partition: Partition) -> bool:
        """Return whether the group thinks that the partition is the process's."""
        return self._owners.get(partition) is process

    def next_assignment(self) -> int:
        """Return a number greater than every one before."""
        self._assignment += 1
        return self._assignment

    def break_off(self, links: Sequence[Link]) -> None:
        """Take the links that a broken connection had still to send: some may be in the network already."""
        sent = self.chance.randrange(len(links) + 1)
        if sent:
            self.under_way.append(LateLinks(self, list(links[:sent])))

    @property
    def partitions(self) -> tuple[Partition, ...]:
        """The partitions of the topics that the subject reads."""
        return self._partitions

    # -- a schedule

    async def run(self) -> list[str]:
        """Play the schedule; return what was found, nothing if all was right."""
        await self.log.create_topics(self.subject.topics())
        self._partitions = tuple([each for topic in self.subject.reads for each in await self.log.partitions(topic)])
        try:
            await self._rest()
            self.store.begin(remembers=self._goes_back)
            for _ in range(ROUNDS):
                await self._publish(self.chance.randrange(3, 10))
                await self._trouble()
                await self._rest()
                self.findings += await self.subject.findings(self)
                if self.findings:
                    break
        finally:
            await self._end()
        return self.findings

    async def _trouble(self) -> None:
        self.faulty = True
        acts: Sequence[tuple[Callable[[], None], float]] = (
            (self._go_on, 60),
            (self._arrive, 8),
            (self._break, 4),
            (self._kill, 3),
            (self._go_back, 4 if self._goes_back else 0),
            (self._rebalance, 3),
            (self._replace_silently, 3),
            (self._wake, 2),
            (self._replace_dead, 6),
            (lambda: self.clock.advance(self.chance.choice((10, 1_000, 70_000))), 2),
        )
        chosen = self.chance.choices([act for act, _ in acts], [weight for _, weight in acts], k=STEPS)
        for act in chosen:
            act()
            await self._quiet()
            if self.chance.random() < 0.03:
                await self._publish(self.chance.randrange(1, 4))
        self.faulty = False

    def _go_on(self) -> None:
        if self.points:
            self._release(self.chance.choice(self.points))

    def _release(self, point: Point) -> None:
        self.points.remove(point)
        point.go_on.set_result(None)

    def _arrive(self) -> None:
        if self.under_way:
            chosen = self.chance.choice(self.under_way)
            # What one process sends to one partition arrives in order.
            self._arrive_one(next(each for each in self.under_way if each.lane == chosen.lane))

    def _arrive_one(self, item: Send | LateLinks) -> None:
        if isinstance(item, LateLinks):
            if not item.arrive():
                self.under_way.remove(item)
            return
        self.under_way.remove(item)
        dice = self.chance.random() if self.faulty else 0.0
        if dice < 0.8:
            item.arrive()
        elif dice < 0.9:
            item.arrive(answered=False)
        else:
            item.fail()

    def _break(self) -> None:
        calls = [point for point in self.points if point.broken is not None]
        if calls:
            point = self.chance.choice(calls)
            self.points.remove(point)
            assert point.broken is not None
            point.broken()
            point.go_on.set_exception(StoreUnavailable("cannot use the online store: it did not answer; is it up?"))

    def _kill(self) -> None:
        alive = [process for process in self._processes if not process.dead]
        if alive:
            self._end_process(self.chance.choice(alive))

    def _end_process(self, process: Process) -> None:
        process.dead = True
        self._processes.remove(process)
        for point in [point for point in self.points if point.process is process]:
            self.points.remove(point)
            if point.broken is not None:
                point.broken()
            point.go_on.set_exception(Killed())

    def _go_back(self) -> None:
        self.store.go_back(self.chance.randrange(1, 13))

    def _rebalance(self) -> None:
        partition = self.chance.choice(self._partitions)
        self._move(partition, self._heir(self._owners.get(partition)))

    def _replace_silently(self) -> None:
        owners = [owner for owner in dict.fromkeys(self._owners.values()) if not owner.dead]
        if owners:
            owner = self.chance.choice(owners)
            owner.replaced = True
            heir = self._heir(owner)
            for partition in [each for each, held in self._owners.items() if held is owner]:
                self._move(partition, heir, told=False)

    def _wake(self) -> None:
        """Tell a process what happened while it was not looking; it may be given partitions again."""
        frozen = [process for process in self._processes if process.replaced]
        if frozen:
            process = self.chance.choice(frozen)
            process.replaced = False
            for partition in process.partitions:
                if not self.owns(process, partition):
                    process.do(process.give_up(partition))

    def _replace_dead(self) -> None:
        for partition in self._partitions:
            owner = self._owners.get(partition)
            if owner is None or owner.dead or owner.replaced:
                self._move(partition, self._heir(owner), told=False)

    def _heir(self, but: Process | None) -> Process:
        free = [process for process in self._processes if process is not but and not process.replaced]
        if len(self._processes) < MOST_PROCESSES and (not free or self.chance.random() < 0.3):
            free = [Process(self, self._parts)]
            self._processes += free
        elif not free:  # all others are frozen: one of them dies and is replaced
            self._end_process(next(process for process in self._processes if process is not but))
            return self._heir(but)
        return self.chance.choice(free)

    def _move(self, partition: Partition, heir: Process, *, told: bool = True) -> None:
        """Give a partition to another: when its owner has given it up, or at once where the owner is not asked."""
        if partition not in heir.partitions and not (told and partition in self._moves):
            move = self._moves[partition] = object()
            self.tasks.append(asyncio.ensure_future(self._moved(partition, heir, move, told=told)))

    async def _moved(self, partition: Partition, heir: Process, move: object, *, told: bool) -> None:
        owner = self._owners.get(partition)
        if owner is not None and told and not owner.dead:
            await owner.do(owner.give_up(partition))
        if self._moves.get(partition) is not move:
            return
        self._owners[partition] = heir
        if owner is not None and not told and not owner.dead and not owner.replaced:
            owner.do(owner.give_up(partition))  # late, but it was looking
        if not heir.dead:
            await heir.do(heir.take_on(partition))
        if self._moves.get(partition) is move:
            del self._moves[partition]

    async def _publish(self, count: int) -> None:
        for _ in range(min(count, MOST_RECORDS - self._published)):
            value, key = self.subject.record(self.chance, self._published, self.clock())
            self._published += 1
            index = self.chance.randrange(sum(each.topic == self.subject.topic for each in self._partitions))
            for _ in range(2 if self.chance.random() < 0.03 else 1):  # a producer may send a record twice
                await self.log.producer().produce(self.subject.topic, value, key=key, partition=index)
            self.clock.advance(self.chance.choice((0, 0, 500, 4_000)))

    # -- rest

    async def _rest(self) -> None:
        """Let the owners come to the end of the log, without further faults."""
        rested = 0
        for _ in range(400):
            self._replace_dead()
            await self._quiet()
            mine = [point for point in self.points if not point.process.replaced]
            sends = [each for each in self.under_way if isinstance(each, Send) and not each.process.replaced]
            busy = sends or self._moves or any(point.what != "idle" for point in mine)
            rested = 0 if busy or not self._at_end() else rested + 1
            if rested == RESTING_ROUNDS or self.findings:
                return
            if not busy:
                self.clock.advance(1_000)
            for each in sends:
                self._arrive_one(each)
            for point in mine:
                self._release(point)
            await self._quiet()
        self.findings.append(f"no rest: {sorted(point.what for point in self.points)}")

    def _at_end(self) -> bool:
        for partition in self._partitions:
            rows = self.store.read_rows(self.subject.rows(partition))
            if any(stored is None or stored.row.next < self.end(partition) for stored in rows):
                return False
        return True

    async def _quiet(self) -> None:
        """Let everybody run who can, until all wait for the world."""
        ready = asyncio.get_running_loop()._ready  # type: ignore[attr-defined]
        while ready:  # noqa: ASYNC110  # nobody tells when all wait
            await asyncio.sleep(0)

    async def _end(self) -> None:
        self.faulty = False
        for process in list(self._processes):
            self._end_process(process)
        await self._quiet()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


@dataclass(frozen=True)
class Shared:
    """What worlds share because it holds nothing that they look at."""

    artefacts: ArtefactStore
    metrics: Unmeasured
