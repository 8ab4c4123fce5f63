"""Stock Faust that scores by ``agent.ask``: features of one pipeline of Redis, the same XGBoost model, one at a time.

``--kind serve`` is the worker, ``--kind ask`` the caller: Faust's own client, an open loop, times from when a request
was due. Kind to it: features are plain numbers in three hashes, read by a synchronous client with hiredis; nothing is
checked, logged or swapped, no deadline is kept.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
import time

import faust
import numpy as np
import redis
import xgboost

PARTITIONS = 4
FEATURES = {
    "card": ("n_10m", "n_1h", "n_24h", "spent_1h", "spent_24h"),
    "merchant": ("n_10m", "n_1h", "spent_1h"),
    "country": ("n_1h", "spent_1h"),
}
COUNTRIES = ("DE", "FR", "NL", "SE")
WARM_S = 3.0


class Question(faust.Record, serializer="json"):
    """What is asked."""

    card: str
    merchant: str
    country: str
    amount: float
    items: int


parser = argparse.ArgumentParser()
parser.add_argument("--kind", choices=["serve", "ask"], required=True)
parser.add_argument("--kafka", required=True)
parser.add_argument("--redis", required=True)
parser.add_argument("--name", required=True)
parser.add_argument("--model", required=True)
parser.add_argument("--rate", type=float, default=200.0)
parser.add_argument("--seconds", type=float, default=20.0)
parser.add_argument("--cards", type=int, default=20_000)
asked = parser.parse_args()

app = faust.App(
    asked.name,
    broker=f"kafka://{asked.kafka}",
    store="memory://",
    web_enabled=False,
    topic_disable_leader=True,
    topic_partitions=PARTITIONS,
    datadir=tempfile.mkdtemp(),
    reply_create_topic=True,
)
store = redis.Redis.from_url(asked.redis)
booster = xgboost.Booster(model_file=asked.model)
booster.set_param({"nthread": 1})


@app.agent(app.topic(f"{asked.name}-requests", value_type=Question, partitions=PARTITIONS))
async def score(questions: faust.StreamT[Question]) -> None:
    """Answer each question."""
    async for question in questions:
        pipeline = store.pipeline(transaction=False)
        for kind, names in FEATURES.items():
            pipeline.hmget(f"{asked.name}:{kind}:{getattr(question, kind)}", names)
        values = [float(value or 0) for found in pipeline.execute() for value in found]
        row = np.array([[*values, question.amount, question.items]], dtype=np.float32)
        yield float(booster.inplace_predict(row)[0])


def fill() -> None:
    """Write plausible features of every entity."""
    chance = random.Random(1)
    entities = {
        "card": [f"c{number:05d}" for number in range(asked.cards)],
        "merchant": [f"m{number:03d}" for number in range(1_000)],
        "country": COUNTRIES,
    }
    pipeline = store.pipeline(transaction=False)
    for kind, names in entities.items():
        for entity in names:
            pipeline.hset(
                f"{asked.name}:{kind}:{entity}", mapping={each: chance.randrange(500) for each in FEATURES[kind]}
            )
    pipeline.execute()


async def ask() -> None:
    """Ask at the rate, say what came of it, and end."""
    await app.start_client()
    chance, latencies_ms = random.Random(2), list[float]()

    async def one(due_s: float, *, counts: bool) -> None:
        question = Question(
            card=f"c{chance.randrange(asked.cards):05d}",
            merchant=f"m{chance.randrange(1_000):03d}",
            country=chance.choice(COUNTRIES),
            amount=chance.random() * 1_000,
            items=chance.randrange(1, 9),
        )
        await score.ask(question, key=question.card)
        if counts:
            latencies_ms.append((time.perf_counter() - due_s) * 1_000)

    await asyncio.wait_for(one(0.0, counts=False), 60)
    begun_s, count, warm = time.perf_counter(), int(asked.rate * (asked.seconds + WARM_S)), int(asked.rate * WARM_S)
    tasks = []
    for number in range(count):
        due_s = begun_s + number / asked.rate
        if (left_s := due_s - time.perf_counter()) > 0:
            await asyncio.sleep(left_s)
        tasks.append(asyncio.ensure_future(one(due_s, counts=number >= warm)))
    done, pending = await asyncio.wait(tasks, timeout=30)
    failed = sum(task.exception() is not None for task in done)
    told = {"latencies_ms": latencies_ms, "asked": count - warm, "unanswered": len(pending) + failed}
    os.write(1, f"\n{json.dumps(told)}\n".encode())
    os._exit(0)


if __name__ == "__main__":
    if asked.kind == "ask":
        asyncio.new_event_loop().run_until_complete(ask())
    fill()
    app.finalize()
    sys.argv[1:] = []
    faust.Worker(app, loglevel="error").execute_from_commandline()
