"""Waits until every role has read its input logs to the end, by its rows against the logs' end offsets.

In the order in which records travel: events into features and labels into outcomes, outcomes into examples and counts,
examples into snapshots and counts into verdicts. Each end is asked for after the step before it was reached.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from agents import raise_alerts, route_labels
from agents.transport.in_process import InProcessLog
from definitions.declared import AppDefinition, ModelDefinition
from examples.flights.errors import DemoStuck
from examples.flights.stage import Stage
from online_models.learners.restoring import ONLINE
from streams import counts, joins, topics
from streams.pointers import learner_pointer
from streams.records import Partition
from streams.store import Answer, Pointer, Question, StoredRow

PATIENCE_S = 60.0
"""How long a role may stand still, with records to read, before it counts as stuck."""
_POLL_S = 0.002


@dataclass(frozen=True, slots=True)
class Reader:
    """A fold, or a pointer, that follows partitions of one kind."""

    name: str
    partitions: tuple[Partition, ...]
    is_pointer: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """Readers whose input does not come from one another."""

    readers: tuple[Reader, ...]

    @property
    def partitions(self) -> tuple[Partition, ...]:
        """What they read, each once."""
        return tuple(dict.fromkeys(each for reader in self.readers for each in reader.partitions))


class CatchUp:
    """Knows who reads what in one app. Made by `of`."""

    def __init__(self, stage: Stage, steps: Sequence[Step]) -> None:
        self._stage = stage
        self._steps = steps
        self._poll_s = 0.0 if isinstance(stage.session.log, InProcessLog) else _POLL_S

    @classmethod
    async def of(cls, stage: Stage) -> CatchUp:
        """Return what waits for the roles of ``stage``."""
        app, namespace, log = stage.session.app, stage.session.namespace, stage.session.log
        names = {event.topic for event in app.events}
        for model in app.models:
            names |= {topics.outcomes(namespace, model), topics.examples(namespace, model)}
        names.add(topics.ticks(namespace))
        partitions = {name: await log.partitions(name) for name in sorted(names)}
        return cls(stage, _steps(app, namespace, partitions))

    async def events(self) -> None:
        """Wait until every event published so far is in the features and every label in the outcomes."""
        await self._reach(self._steps[0])

    async def everything(self) -> None:
        """Wait until every role has read everything that is there.

        Raises:
            DemoStuck: a role stands still.
        """
        for step in self._steps:
            await self._reach(step)

    async def quiet(self) -> None:
        """Wait until every role has read everything and nothing more has come of it."""
        before: list[int] = []
        partitions = [each for step in self._steps for each in step.partitions]
        while (ends := await self._stage.session.log.ends(partitions)) != before:
            before = ends
            await self.everything()
            await asyncio.sleep(0.1)  # what a reply or a tick has just caused has arrived by then

    async def _reach(self, step: Step) -> None:
        partitions, store = step.partitions, self._stage.session.store
        ends = dict(zip(partitions, await self._stage.session.log.ends(partitions), strict=True))
        behind, seen = dict.fromkeys(step.readers, ""), dict[Reader, str]()
        until_s = time.monotonic() + PATIENCE_S
        while behind := _behind(list(behind), store.read(_question(behind)), ends):
            if behind != seen:
                seen, until_s = behind, time.monotonic() + PATIENCE_S
            elif time.monotonic() > until_s:
                raise DemoStuck(f"cannot go on: nothing moved for {PATIENCE_S:.0f} s: {'; '.join(behind.values())}")
            self._stage.check()
            await asyncio.sleep(self._poll_s)


def _steps(
    app: AppDefinition, namespace: str, partitions: Mapping[str, tuple[Partition, ...]]
) -> tuple[Step, Step, Step]:
    events = tuple(each for event in app.events for each in partitions[event.topic])
    sources = [source for view in app.views for source in view.sources]
    first = [Reader("intake", events), *(Reader(each.key, partitions[each.event.topic]) for each in sources)]
    second, third = [], [Reader(raise_alerts.FOLD, partitions[topics.ticks(namespace)])]
    for model in app.models:
        outcomes = partitions[topics.outcomes(namespace, model)]
        second.append(Reader(counts.fold(model.key), outcomes))
        if model.label is not None:
            first.append(Reader(route_labels.fold(model.key), partitions[model.label.event.topic]))
            second.append(Reader(joins.fold(model.key), outcomes))
        third += _learners(model, partitions[topics.examples(namespace, model)])
    return Step(tuple(first)), Step(tuple(second)), Step(tuple(third))


def _learners(model: ModelDefinition, examples: tuple[Partition, ...]) -> list[Reader]:
    online = [name for name, learner in model.learners.items() if learner.kind == ONLINE]
    return [Reader(learner_pointer(model.key, name), examples, is_pointer=True) for name in online]


def _question(readers: Iterable[Reader]) -> Question:
    """Return what to ask the store of readers."""
    return Question(
        folds=[each.name for each in readers if not each.is_pointer],
        pointers=[each.name for each in readers if each.is_pointer],
    )


def _behind(readers: Sequence[Reader], answer: Answer, ends: Mapping[Partition, int]) -> dict[Reader, str]:
    """Return who has not reached the end of what, for people; empty where everybody has."""
    rows, pointers = iter(answer.rows), iter(answer.pointers)
    behind = {}
    for reader in readers:
        lag = _pointer_lag(reader, next(pointers), ends) if reader.is_pointer else _row_lag(reader, next(rows), ends)
        if lag:
            behind[reader] = f"{reader.name} in {lag}"
    return behind


def _row_lag(reader: Reader, rows: Mapping[str, StoredRow], ends: Mapping[Partition, int]) -> str:
    for partition in reader.partitions:
        stored, end = rows.get(partition.field), ends[partition]
        if stored is None or stored.row.next < end:
            at = "not started" if stored is None else f"at {stored.row.next}"
            return f"{partition.topic}[{partition.index}] {at} of {end}"
    return ""


def _pointer_lag(reader: Reader, pointer: Pointer | None, ends: Mapping[Partition, int]) -> str:
    [partition] = reader.partitions
    at = 0 if pointer is None else pointer.position
    return f"{partition.topic} at {at} of {ends[partition]}" if at < ends[partition] else ""
