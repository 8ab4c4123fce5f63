"""What learning one example of one entity costs, and what an entity takes in Redis.

``python -m tests.bench.personal_update [--entities N]``. An entity of 30 diagonal coefficients (29 features and the
intercept): CPU time of `PersonalModel.learn`, the best of several rounds, with the part of it that is the update of the
coefficients, and one numpy addition of 30 numbers beside it, for on a busy machine all of them are slower. Then N
entities are written into a real Redis as the learning role writes them, and their memory is read from it: per entity,
the growth of ``used_memory`` by N; of some, ``MEMORY USAGE``. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable

import numpy as np
import redis

from agents.personal_cells import PersonalCodec
from definitions.declared import Input, LearnerDefinition, PersonalDefinition
from definitions.values import ValueType
from online_models.personal import Evidence, Instance, PersonalModel
from online_models.personal.believing import Covariates, believe, take_in
from online_models.personal.population import MEASURED
from streams.chain import CELLS_A_LINK
from streams.records import Partition
from streams.store import Cell, Link, Row, RowKey, fresh_mark
from streams.store.redis import RedisStore
from tests.bench.local_kafka import local_redis, say

FEATURES = 29
ROUNDS, CALLS = 40, 300
PROBED = 500


def best_us(call: Callable[[int], object]) -> float:
    """Return the least CPU time of a call, in us."""
    found = []
    for _ in range(ROUNDS):
        began = time.process_time()
        for number in range(CALLS):
            call(number)
        found.append((time.process_time() - began) / CALLS)
    return round(min(found) * 1e6, 2)


def update_costs() -> dict[str, float]:
    """Return what an update of 30 coefficients costs, all of it and its parts."""
    inputs = tuple(Input(f"f{number}", ValueType.FLOAT) for number in range(FEATURES))
    told = PersonalDefinition(by=(("user",),), features=tuple(each.name for each in inputs))
    model = PersonalModel(LearnerDefinition("own", "personal", members={"offline": 1.0}, personal=told), inputs)
    chance, population = np.random.default_rng(1), model.population()
    vectors = chance.normal(size=(CALLS, FEATURES)).tolist()
    evidence = model.fresh(population)
    made = [Instance(vector, 0.4, "v1", index % 3 == 0, 1) for index, vector in enumerate(vectors)]
    for each in made[: MEASURED + 1]:
        model.learn(each, [evidence], population)
    covariates = [Covariates.of(np.array([1.0, *vector])) for vector in vectors]
    precisions, left, right = np.full(FEATURES + 1, 20.0), np.ones(FEATURES + 1), np.ones(FEATURES + 1)

    def update(number: int) -> None:
        belief = believe(evidence, precisions, covariates[number])
        take_in(
            evidence, belief, covariates[number],
            gradient=0.3, curvature=0.2, variance=belief.variance, rate=0.0,
        )  # fmt: skip

    return {
        "learn_us": best_us(lambda number: model.learn(made[number], [evidence], population)),
        "update_us": best_us(update),
        "recall_us": best_us(lambda number: model.recall(vectors[number], [evidence], population, "v1")),
        "numpy_add_us": best_us(lambda _: left + right),
    }


def redis_costs(url: str, entities: int) -> dict[str, float]:
    """Return what entities of 30 coefficients take in Redis."""
    client, codec = redis.Redis.from_url(url), PersonalCodec()
    store = RedisStore(url, "bench")
    key = RowKey("personal.late.v1.own.0123456789ab", Partition("bench.late.v1.examples", 0, "kOjH0p2bQYuZ7Lr9yS1Txw"))
    mark = store.create_row(key, Row(next=0, first=0)).mark
    chance = np.random.default_rng(2)
    before = client.info("memory")["used_memory"]
    for low in range(0, entities, CELLS_A_LINK):
        cells: dict[str, Cell | None] = {}
        for number in range(low, min(entities, low + CELLS_A_LINK)):
            numbers = chance.random((2, FEATURES + 1), dtype=np.float32)
            state = codec.encode(Evidence(numbers[0], numbers[1], n=number + 1))
            cells[f"user/u{number:09d}"] = Cell(number + 1, state or b"")
        fresh = fresh_mark()
        store.write([Link(key, mark, fresh, cells, None)])
        mark = fresh
    grown = client.info("memory")["used_memory"] - before
    names = [f"bench:cell:{key.fold}:user/u{number:09d}" for number in range(0, entities, max(1, entities // PROBED))]
    usage = [int(client.memory_usage(name) or 0) for name in names]
    return {
        "entities": entities,
        "redis_bytes_per_entity": round(grown / entities, 1),
        "memory_usage_bytes": max(usage),
        "state_bytes": len(state or b""),
        "million_entities_mb": round(grown / entities, 1),
    }


def main() -> None:
    """Measure, tell, and print the figures as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--entities", type=int, default=100_000)
    given = parser.parse_args()
    line: dict[str, float] = update_costs()
    say(f"an update of {FEATURES + 1} coefficients: {line['update_us']} us; all of learning: {line['learn_us']} us")
    with local_redis() as url:
        line |= redis_costs(url, given.entities)
    sys.stdout.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
