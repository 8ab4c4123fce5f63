"""Plays the story: publishes the past, trains, then lives through the days slot by slot.

A slot's questions go out when every role has read everything that happened before the slot began, and the next slot
begins when all replies are in. Nothing sleeps: time is the schedule's.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from agents.client import ScoringClient
from agents.transport import Producer
from batch.build_training_set import question_of
from batch.context import JobContext
from batch.train import TrainResult, train
from definitions.declared import ModelDefinition
from examples.flights.app import Departed, Late
from examples.flights.catch_up import CatchUp
from examples.flights.errors import DemoStuck
from examples.flights.measure import Observer, Replies
from examples.flights.scoreboard import Board, Scoreboard
from examples.flights.stage import Stage
from examples.flights.story import Story
from examples.flights.timeline import BAD_BYTES, Happening, Slot
from online_models.learners.restoring import ONLINE
from streams import topics
from streams.messages import ScoreRequest, encode

TIMEOUT_MS = 10_000
"""The budget of the demo's requests: far above what they take, so that a busy machine leaves none unanswered."""
_IN_FLIGHT = 5_000
_LOOK_S = 0.2
_READY_S = 60.0


@dataclass(slots=True)
class Play:
    """One run of the demo on a stage. ``replies`` and ``observer`` hold what was measured when it is over."""

    stage: Stage
    story: Story
    shown: Scoreboard
    catch_up: CatchUp
    observer: Observer
    replies: Replies = field(default_factory=Replies)
    _moment_ms: int = 0
    _done: int = 0
    _last: tuple[float, int] = (0.0, 0)

    @classmethod
    async def of(cls, stage: Stage, story: Story, shown: Scoreboard) -> Play:
        """Return a play that is ready to begin."""
        observer = await Observer.of(stage.session, _model(stage))
        return cls(stage, story, shown, await CatchUp.of(stage), observer)

    async def run(self) -> None:
        """Play it from beginning to end.

        Raises:
            DemoStuck: a role ended or stands still.
        """
        await self._publish_past()
        await self._train()
        await self._scoring_ready()
        gc.collect()
        gc.freeze()  # the story stays to the end: nothing to look through again and again
        namespace, log = self.stage.session.namespace, self.stage.session.log
        async with ScoringClient(namespace, log=log) as client:
            for slot in self.story.slots:
                await self._live_through(slot, client)
        await self.catch_up.quiet()
        await self._look(is_final=True)

    async def _publish_past(self) -> None:
        """Publish what happened before, at full speed, and wait until it is in the features and in the outcomes."""
        past = self.story.past
        for first in range(0, len(past), _IN_FLIGHT):
            await _publish(self.stage.session.log.producer(), past[first : first + _IN_FLIGHT])
            self.shown.stage("past published", min(first + _IN_FLIGHT, len(past)), len(past))
        read = asyncio.ensure_future(self.catch_up.events())
        try:
            while not read.done():
                await asyncio.wait({read}, timeout=_LOOK_S)
                row = self.observer.rows()["intake"]
                self.shown.stage("past in the features", row["applied"] + row["dead"], len(past))
            await read
        finally:
            read.cancel()

    async def _train(self) -> None:
        """Train both learners on the past, by the engine that serves, and put the release in force."""
        session, model = self.stage.session, _model(self.stage)
        names = [event.topic for event in session.app.events] + [topics.examples(session.namespace, model)]
        job = JobContext(session.namespace, await self.stage.history(names), session.store, session.artefacts)
        asked = [question_of(each, model, number) for number, each in enumerate(self.story.past_questions, start=1)]
        result = train(model, asked, job, now_ms=session.log.now_ms(), tell=self._tell)
        for line in _lines(result):
            self.shown.say(line)
        topic, deployment = topics.deployments(session.namespace), result.deployment
        await session.log.producer().produce(topic, encode(deployment), key=deployment.model.encode())

    def _tell(self, stage: str, done: int, total: int) -> None:
        task = asyncio.current_task()
        if task is not None and task.cancelling():  # Ctrl-C during work that never waits
            raise asyncio.CancelledError
        self.shown.stage(stage, done, total)

    async def _scoring_ready(self) -> None:
        """Wait until every request partition is served, by the new release: what came before would not be answered."""
        session, model = self.stage.session, _model(self.stage)
        wanted = len(await session.log.partitions(topics.requests(session.namespace, model)))
        until_s = time.monotonic() + _READY_S
        while time.monotonic() < until_s:
            self.stage.check()
            assigned = await self.stage.metric("scoring", "headrace_assigned_partitions", role="scoring")
            loaded = await self.stage.metric(
                "scoring", "headrace_model_loads_total", model=model.name, learner="release", result="loaded"
            )
            if assigned >= wanted and loaded >= 1:
                return
            await asyncio.sleep(_LOOK_S / 4)
        raise DemoStuck(f"cannot go on: scoring does not serve the release after {_READY_S:.0f} s; see its log")

    async def _live_through(self, slot: Slot, client: ScoringClient) -> None:
        """Publish what has happened, wait until all know it, ask, and wait for the answers."""
        producer = self.stage.session.log.producer()
        if self._done == 0:
            bad = [Happening(slot.start_ms, Departed.definition.topic, b"bad", value) for value in BAD_BYTES]
            await _publish(producer, bad)
        await _publish(producer, slot.happenings)
        await self.catch_up.everything()
        self.observer.look_at_verdict()
        await asyncio.gather(*(self._ask(client, question) for question in slot.questions))
        self._moment_ms, self._done = slot.start_ms, self._done + 1
        if self.shown.is_due:
            await self._look()

    async def _ask(self, client: ScoringClient, question: ScoreRequest) -> None:
        began_s = time.perf_counter()
        reply = await client.score(
            question.model,
            entities=question.entities,
            inputs=question.inputs,
            label_key=question.label_key,
            at=question.at,
            timeout_ms=TIMEOUT_MS,
        )
        self.replies.take(reply, (time.perf_counter() - began_s) * 1_000)

    async def _look(self, *, is_final: bool = False) -> None:
        """Read what the roles have done, and show it."""
        await self.observer.look()
        self.shown.stage("slots lived through", self._done, len(self.story.slots))
        self.shown.show(self._board(), is_final=is_final)

    def _board(self) -> Board:
        row, judged = self.observer.rows()["intake"], self.observer.judged
        (last_s, last_events), now_s = self._last, time.monotonic()
        self._last = (now_s, row["read"])
        days = sorted(self.observer.days.items())
        return Board(
            moment_ms=self._moment_ms,
            done=self._done,
            total=len(self.story.slots),
            events=row["read"],
            events_per_s=(row["read"] - last_events) / (now_s - last_s) if last_s else 0.0,
            dead_letters=row["dead"],
            requests=sum(self.replies.statuses.values()),
            statuses=dict(self.replies.statuses),
            p50_ms=self.replies.percentile_ms(50),
            p99_ms=self.replies.percentile_ms(99),
            examples=len(judged.labels),
            auc={learner: judged.auc(learner) for learner in _model(self.stage).learners},
            days=[(day, each.health.verdict, each.health.psi, each.health.total_variation) for day, each in days],
            incidents=len(self.observer.incidents),
        )


def online_learner(model: ModelDefinition) -> str:
    """Return the name of the model's learner that learns from each example."""
    return next(name for name, learner in model.learners.items() if learner.kind == ONLINE)


async def _publish(producer: Producer, told: Sequence[Happening]) -> None:
    """Publish in order; return when everything is acknowledged."""
    await asyncio.gather(*[producer.produce(each.topic, each.value, key=each.key) for each in told])


def _model(stage: Stage) -> ModelDefinition:
    return stage.session.app.model(Late.definition.name)


def _lines(result: TrainResult) -> list[str]:
    """Return what was trained, for people."""
    lines = [f"trained on {result.rows:,} of {result.asked:,} past flights (the others never arrived)"]
    for learner, measures in result.measures.items():
        shown = ", ".join(f"{name} {value:.4g}" for name, value in measures.items())
        lines.append(f"  {learner}: {shown}")
    return [*lines, f"release {result.release[:12]} is in force"]
