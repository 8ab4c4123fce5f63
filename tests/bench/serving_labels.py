"""How soon after a label the weights that contain it serve: from its publication to a reply that names such weights.

Callers ask all the while, and note which trained version each reply names, and by its snapshot up to where in the
examples it reaches: at once, for a snapshot is only kept for a while. Afterwards the examples say where each label is.
A label's time runs until the first reply that arrived and rests on a version which contains it; how often callers look
is a part of it.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from agents.client import ScoringClient
from agents.transport.kafka import KafkaLog
from online_models.errors import ArtefactRefused
from online_models.snapshots import unseal
from streams import topics
from streams.messages import encode
from tests.bench.learned_project import FEATURES, LEARNER, MODEL, Learned
from tests.releases import deployment, release

LABELS_A_S, LOOKS_A_S = 4.0, 20.0
LABEL_AFTER_S = 1.0
"""How long after its prediction a label is published."""

_TIMEOUT_MS = 2_000
_READY_S, _LAST_S = 120.0, 10.0


@dataclass
class Noted:
    """What was seen."""

    published_s: dict[str, float] = field(default_factory=dict)
    """Label key to when its label was sent."""
    served: list[tuple[float, str]] = field(default_factory=list)
    """When a reply arrived, and the digest that it named."""
    reach: dict[str, int] = field(default_factory=dict)
    """How many examples each trained version contains, by the first 12 digits of its digest."""


def measure_serving(made: Learned, *, labels: int) -> dict[str, Any]:
    """Return percentiles over the labels, with scoring and learning up.

    Raises:
        TimeoutError: nothing is served after two minutes.
    """
    asyncio.run(made.create_topics())
    digest = release(made.model, made.artefacts)
    with made.running("scoring", "learning"):
        noted = asyncio.run(_watch(made, digest, labels))
    took_s = lags_s(made, noted)
    cuts = statistics.quantiles(took_s, n=100) if len(took_s) > 1 else [None] * 99
    return {
        "label_to_serving_p50_s": _rounded(cuts[49]),
        "label_to_serving_p99_s": _rounded(cuts[98]),
        "label_to_serving_labels": labels,
        "label_to_serving_unseen": labels - len(took_s),
    }


def lags_s(made: Learned, noted: Noted) -> list[float]:
    """Return how long each label took that was seen to serve."""
    place = {each.label_key: number for number, each in enumerate(made.examples())}
    took = []
    for key, sent_s in noted.published_s.items():
        seen = [at_s for at_s, digest in noted.served if at_s >= sent_s and noted.reach.get(digest, 0) > place[key]]
        took += [min(seen) - sent_s] if seen else []
    return took


def _reach_of(made: Learned, digest: str) -> int:
    """Return how many examples the trained version contains whose digest begins so."""
    [path] = made.artefacts_folder.rglob(f"{digest}*")
    try:
        return unseal(path.read_bytes(), path.name).examples_next
    except ArtefactRefused:  # the release's own, which contains none
        return 0


async def _watch(made: Learned, digest: str, labels: int) -> Noted:
    noted, log = Noted(), KafkaLog(made.kafka)
    await log.producer().produce(topics.deployments(made.name), encode(deployment(made.model, digest)), key=b"fraud")
    async with ScoringClient(made.name, log=log) as client:
        await _ready(client)
        looking = asyncio.create_task(_look(made, client, noted))
        async with asyncio.TaskGroup() as labelling:
            for number in range(labels):
                labelling.create_task(_label(client, log, f"{made.name}.settled", noted, f"e{number}"))
                await asyncio.sleep(1 / LABELS_A_S)
        await asyncio.sleep(_LAST_S)
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
    await log.close()
    return noted


async def _ready(client: ScoringClient) -> None:
    async with asyncio.timeout(_READY_S):
        while (await _ask(client, "first")) is None:  # noqa: ASYNC110  # what is waited for sets no event
            await asyncio.sleep(0.2)


async def _look(made: Learned, client: ScoringClient, noted: Noted) -> None:
    number = 0
    while True:
        number += 1
        digest = await _ask(client, f"look-{number}")
        if digest is not None:
            noted.served.append((time.perf_counter(), digest))
            if digest not in noted.reach:
                noted.reach[digest] = _reach_of(made, digest)
        await asyncio.sleep(1 / LOOKS_A_S)


async def _label(client: ScoringClient, log: KafkaLog, topic: str, noted: Noted, key: str) -> None:
    """Have a prediction made, and publish its label later."""
    await _ask(client, key)
    await asyncio.sleep(LABEL_AFTER_S)
    body = {"payment": key, "fraud": len(noted.published_s) % 3 == 0, "at": time.time_ns() // 1_000_000}
    noted.published_s[key] = time.perf_counter()
    await log.producer().produce(topic, json.dumps(body).encode(), key=key.encode())


async def _ask(client: ScoringClient, key: str) -> str | None:
    inputs = {f"x{number:02d}": float(number) for number in range(FEATURES)}
    reply = await client.score(MODEL, inputs=inputs, label_key=key, timeout_ms=_TIMEOUT_MS)
    named: Sequence[str] = [each.digest for each in reply.versions if each.learner == LEARNER]
    return named[0] if named else None


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
