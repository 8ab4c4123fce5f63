"""Scoring processes are killed while labels come: the examples are those of the outcomes log that the run left.

A killed scorer may lose predictions that it had answered but not logged: nothing is promised of them. What it logged is
joined as a plain join does it, each once, and the model learns exactly that.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from agents.client import ScoringClient
from agents.transport.kafka import KafkaLog
from streams import joins, topics
from streams.artefacts import ArtefactStore
from streams.messages import encode
from streams.store import Question
from tests.bench.learned_project import FEATURES, MODEL, Learned, learned_project
from tests.canonical import digest_of
from tests.chaos.learning_truth import (
    Joined,
    Position,
    as_joined,
    ends_of,
    in_order,
    joined_log,
    joined_plainly,
    position_of,
    replayed,
)
from tests.chaos.scoring import Executors
from tests.chaos.stage import DEADLINE_S, ChaosError, serve
from tests.chaos.truth import records
from tests.releases import deployment, release

RATE = 60.0
LABELLED = 0.85
_TIMEOUT_MS = 1_000
_QUIET_S = 1.5


@dataclass
class Scored:
    """What became of the questions and their labels."""

    asked: int = 0
    answered: int = 0
    kills: int = 0
    predictions: int = 0
    examples: int = 0
    copies: int = 0
    lost: int = 0
    learned_twice: int = 0
    chain_breaks: int = 0
    digests_equal: bool = False
    problems: list[str] = field(default_factory=list)

    @property
    def events(self) -> int:
        """What was played: predictions."""
        return self.predictions


def score_and_label(home: Path, *, seed: int, kills: int, seconds: float) -> Scored:
    """Play the scenario on the servers of ``home``, which are started if they are not up, and judge what is left."""
    at, found = serve(home), Scored()
    assert at.kafka is not None
    assert at.redis is not None
    with learned_project(f"asked-{uuid.uuid4().hex[:8]}", kafka=at.kafka, redis_url=at.redis) as made:
        asyncio.run(made.create_topics())
        with _executors(made) as executors, made.running("learning"):
            asyncio.run(_ask(made, executors, found, random.Random(seed), kills, seconds))
            _until_learned(made)
        _judge(made, found)
    return found


@contextmanager
def _executors(made: Learned) -> Iterator[Executors]:
    executors = Executors(made)  # type: ignore[arg-type]  # its folder and environment are all that is needed
    try:
        for _ in range(2):
            executors.start()
        yield executors
    finally:
        executors.end()


async def _ask(
    made: Learned, executors: Executors, found: Scored, chance: random.Random, kills: int, seconds: float
) -> None:
    """Ask at a steady rate and label most of it, while executors are killed."""
    log = KafkaLog(made.kafka)
    digest = release(made.model, ArtefactStore(made.artefacts_folder))
    await log.producer().produce(topics.deployments(made.name), encode(deployment(made.model, digest)), key=b"fraud")
    moments = sorted(chance.uniform(0.1, 0.9) * seconds for _ in range(kills))
    async with ScoringClient(made.name, log=log) as client, asyncio.TaskGroup() as asking:
        begun_s = time.monotonic()
        while (now_s := time.monotonic() - begun_s) < seconds or found.kills < kills:
            if found.kills < kills and now_s >= moments[found.kills]:
                await asyncio.to_thread(_replace, executors, chance)
                found.kills += 1
            found.asked += 1
            asking.create_task(_question(client, log, made.name, found, f"q{found.asked}", chance.random()))
            await asyncio.sleep(1 / RATE)
    await log.close()


def _replace(executors: Executors, chance: random.Random) -> None:
    executors.kill(chance.randrange(len(executors.running)))
    executors.start()


async def _question(client: ScoringClient, log: KafkaLog, name: str, found: Scored, key: str, luck: float) -> None:
    inputs = {f"x{number:02d}": luck * number for number in range(FEATURES)}
    if luck < LABELLED:
        body = {"payment": key, "fraud": luck < LABELLED / 3, "at": time.time_ns() // 1_000_000}
        await log.producer().produce(f"{name}.settled", json.dumps(body).encode(), key=key.encode())
    reply = await client.score(MODEL, inputs=inputs, label_key=key, timeout_ms=_TIMEOUT_MS)
    found.answered += reply.status in ("ok", "degraded")


def _until_learned(made: Learned) -> None:
    """Wait until all is joined and learned, and nothing more comes."""
    until_s, before = time.monotonic() + DEADLINE_S, (-1, -1)
    with made.store() as store:
        while True:
            [rows] = store.read(Question(folds=[joins.fold(made.model.key)]), timeout_ms=5_000).rows
            joined = sum(stored.row.next for stored in rows.values())
            ends = [ends_of(made.kafka, topic(made.name, made.model)) for topic in (topics.outcomes, topics.examples)]
            reached = (joined, made.snapshot_at(store))
            if reached == tuple(map(sum, ends)) and reached == before:
                return
            if time.monotonic() > until_s:
                raise ChaosError(
                    f"{made.name}: expected {ends} joined and learned, got {reached}: {made.said()[-500:]}"
                )
            before = reached
            time.sleep(_QUIET_S)


def _judge(made: Learned, found: Scored) -> None:
    log = [message.value() or b"" for message in records(made.kafka, topics.examples(made.name, made.model))]
    kept = {position_of(value): value for value in log}
    expected, plain = dict[Position, bytes](), Joined()
    with made.store() as store:
        outcomes = joined_log(made.kafka, store, made.name, made.model)
        estimator = made.estimator(store)
    for partition, values in outcomes.items():
        found.predictions += sum(b'"kind":"prediction"' in value for value in values)
        expected |= replayed(made.model, partition, values)
        plain += joined_plainly(made.model, partition.index, values)
    found.examples, found.copies = len(kept), len(log) - len(kept)
    found.lost = len(expected.keys() - kept.keys())
    if kept != expected or as_joined(kept.values()) != plain:
        found.problems.append(
            f"examples: expected {len(expected)} by a replay, {plain.total()} plainly, got {len(kept)}"
        )
    found.digests_equal = digest_of(estimator) == digest_of(made.replayed(list(in_order(log))))
    if not found.digests_equal:
        found.problems.append("model: expected the one that learned the examples without interruption, got another")
