"""A log, a store and the roles behind scoring, for tests that let them work, kill them, and look at what is left."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import msgspec

from agents.context import RoleContext
from agents.metrics import Metrics
from agents.runner import Runner
from agents.transport import Role
from agents.transport.clock import ManualClock
from agents.transport.in_process import InProcessLog
from definitions.declared import AppDefinition, ModelDefinition
from definitions.values import Value
from streams import topics
from streams.artefacts import ArtefactStore
from streams.errors import StoreUnavailable
from streams.messages import Example, Prediction, encode
from streams.records import Record
from streams.store import Link, OnlineStore, Pointer, Question
from streams.store.memory import MemoryStore
from tests.builders import app_definition, label_definition, model_definition, request_input, river_learner
from tests.releases import linear

NOW_MS = 1_360_000_000_000
START_MS = 1_359_676_800_000
"""2013-02-01T00:00:00Z: event time in these tests, behind the broker's clock."""
HOUR_MS = 3_600_000

Answered = TypeVar("Answered")


class UnsteadyStore(MemoryStore):
    """A store that stops answering after so many writes, once, the last of them written or not."""

    def __init__(self) -> None:
        super().__init__()
        self.writes_left = -1
        self.last_is_written = False

    def write(self, links: Sequence[Link]) -> None:
        """Write, unless it is time not to answer."""
        self._unsteady(lambda: super(UnsteadyStore, self).write(links))

    def advance_pointer(self, name: str, pointer: Pointer) -> bool:
        """Advance, unless it is time not to answer."""
        return self._unsteady(lambda: super(UnsteadyStore, self).advance_pointer(name, pointer))

    def forget(self, fold: str) -> None:
        """Lose a fold's rows and cells, as a store that was wiped."""
        self._rows.pop(fold, None)
        self._cells.pop(fold, None)

    def _unsteady(self, call: Callable[[], Answered]) -> Answered:
        self.writes_left -= 1
        if self.writes_left == 0:
            if self.last_is_written:
                call()
            raise StoreUnavailable("cannot write: the test took the store away")
        return call()


def small_model(**changes: object) -> ModelDefinition:
    """Return a model of one request input with one online learner and a label due within a day."""
    given: dict[str, object] = {
        "views": [],
        "inputs": [request_input("distance")],
        "learners": [river_learner(factory=linear)],
        "label": label_definition(),
    }
    return model_definition(**(given | changes))  # type: ignore[arg-type]  # changes are the builder's own


class World:
    """Everything that outlives a role, and the role that is driven by hand."""

    def __init__(self, directory: Path, model: ModelDefinition, *, partitions: int = 2) -> None:
        self.model = model
        self.clock = ManualClock(NOW_MS)
        self.log = InProcessLog(self.clock, max_batch=7)
        self.store = UnsteadyStore()
        self.app: AppDefinition = app_definition(models=(model,), views=model.views)
        self.context = RoleContext("demo", self.log, self.store, ArtefactStore(directory), Metrics("demo"))
        self._partitions = partitions

    def use(self, store: UnsteadyStore) -> None:
        """Take another store, before anything is in this one."""
        self.store = store
        self.context = replace(self.context, store=store)

    async def create_topics(self) -> World:
        """Create every topic of the app, with few partitions."""
        configs = topics.declared(self.app, "demo")
        await self.log.create_topics(
            [topics.TopicConfig(each.name, min(each.partitions, self._partitions), each.config) for each in configs]
        )
        return self

    async def arrive(self, flight: str, at_ms: int, delay_min: float) -> None:
        """Publish a label event."""
        body = {"flight_id": flight, "delay_min": delay_min, "arrived_at": at_ms}
        await self.log.producer().produce("flights.arrived", json.dumps(body).encode(), key=flight.encode())

    async def predict(self, number: int, flight: str | None, at_ms: int, **changes: object) -> Prediction:
        """Log a prediction, as the scoring role does."""
        asked = prediction(self.model, number, flight, at_ms, **changes)
        key = None if flight is None else flight.encode()
        await self.log.producer().produce(topics.outcomes("demo", self.model), encode(asked), key=key)
        return asked

    async def drain(self, role: Role) -> None:
        """Let a new member work until nothing is left, and leave."""
        member = self.log.member(role.subscription())
        runner = Runner(member, role, self.context.metrics)
        try:
            await member.start(runner)
            while (batch := await member.poll(0)) is not None:
                await runner.take(batch)
            await member.stop(1.0)
        except BaseException:
            await member.crash()
            raise

    async def drain_but_kill(self, role: Role, *, when: Callable[[int], bool]) -> int:
        """Kill the role at the await where ``when`` holds, given the turns of the loop so far; return the turns."""
        task = asyncio.ensure_future(self.drain(role))
        turns = 0
        while not task.done() and not when(turns):
            turns += 1
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return turns

    async def records(self, topic: str) -> list[Record]:
        """Return every record of a topic, by partition."""
        found: list[Record] = []
        for partition in await self.log.partitions(topic):
            found += self.log.kept(partition).records
        return found

    async def examples(self) -> dict[tuple[str, int, int], Example]:
        """Return the examples by position; two at one position have to be equal."""
        found: dict[tuple[str, int, int], Example] = {}
        for record in await self.records(topics.examples("demo", self.model)):
            example = msgspec.json.decode(record.value() or b"", type=Example)
            assert found.setdefault((example.outcomes, example.next, example.index), example) == example
        return found


def prediction(model: ModelDefinition, number: int, flight: str | None, at_ms: int, **changes: object) -> Prediction:
    """Return a prediction as the scoring role logs it."""
    asked = Prediction(
        request_id=f"requests/0@{number}",
        model=model.key,
        release="",
        label_key=flight,
        at_ms=at_ms,
        vector=[_noise(number)],
        scores={"online": 0.5},
        versions=[],
        champion="online",
        status="ok",
        positions={},
        features_as_of=None,
    )
    return msgspec.structs.replace(asked, **changes)


def row_of(store: OnlineStore, fold: str) -> dict[str, int]:
    """Return the sums of a fold's tallies over its partitions."""
    rows = store.read(Question(folds=[fold])).rows[0].values()
    names = ("applied", "duplicate", "too_late", "no_entity", "dead", "read")
    return {name: sum(getattr(each.row, name) for each in rows) for name in names}


def _noise(number: int) -> Value:
    return float(number * 37 % 101)
