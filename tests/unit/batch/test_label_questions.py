"""Questions of history become the examples that the live join makes of the same log of predictions and labels."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from agents.learn import LearningRole
from batch.build_training_set import Question, build_training_set
from definitions.declared import ModelDefinition
from tests.builders import label_definition, label_event_definition
from tests.learning import HOUR_MS, START_MS, World, prediction, small_model
from tests.unit.batch.memory_history import MemoryHistory

MINUTE_MS = 60_000


def model_of(**changes: Any) -> ModelDefinition:
    """Return a model whose labels are due within four hours, and may come ten minutes out of order."""
    event = label_event_definition(disorder_ms=10 * MINUTE_MS)
    return small_model(label=label_definition(event=event, within_ms=4 * HOUR_MS, **changes))


async def streamed(
    folder: Path, model: ModelDefinition, chance: random.Random
) -> tuple[Counter[tuple[Any, ...]], list[Question], MemoryHistory]:
    """Let predictions and labels of few keys come as they happen; return the examples, the questions, the labels."""
    world = await World(folder, model).create_topics()
    role, asked = LearningRole(world.app, world.context), list[Question]()
    for number in range(90):
        at_ms, flight = START_MS + number * 17 * MINUTE_MS, f"F{chance.randrange(6)}"
        if chance.random() < 0.6:
            made = await world.predict(number, flight, at_ms)
            asked.append(Question(at_ms, flight, {}, {"distance": made.vector[0]}))
        else:
            await world.arrive(flight, at_ms, chance.choice((0.0, 30.0)))
        await world.drain(role)
    world.clock.advance(200 * HOUR_MS)
    for flight in range(40):  # of no prediction: they move both partitions' clocks past every horizon
        await world.arrive(f"P{flight}", START_MS + 100 * HOUR_MS, 0.0)
    await world.drain(role)
    kept = [world.log.kept(each).records for each in await world.log.partitions("flights.arrived")]
    history = MemoryHistory({"flights.arrived": [[record.value() for record in records] for records in kept]})
    found = Counter((each.at_ms, *each.vector, each.label) for each in (await world.examples()).values())
    return found, asked, history


POLICIES: Mapping[str, Mapping[str, Any]] = {
    "all": {},
    "first": {"per_key": "first"},
    "first, and others are given one": {"per_key": "first", "otherwise": False},
    "given": {"otherwise": True},
}


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("seed", range(2))
async def test_the_examples_of_history_are_those_of_the_stream(policy: str, seed: int, tmp_path: Path) -> None:
    model = model_of(**POLICIES[policy])
    examples, asked, history = await streamed(tmp_path, model, random.Random(seed))

    training = build_training_set(model, asked, history)

    rows = zip(training.times_ms, training.vectors, training.labels, strict=True)
    assert Counter((at_ms, *vector, label) for at_ms, vector, label in rows) == examples
    assert training.rows > 10
    assert (training.rows < len(asked)) is (policy != "given")


def test_only_the_first_question_of_a_key_is_an_example_where_the_label_says_so() -> None:
    model = model_of(per_key="first")
    [distance] = prediction(model, 0, "F1", START_MS).vector
    asked = [Question(START_MS + hour * HOUR_MS, "F1", {}, {"distance": distance}) for hour in (0, 1, 2)]
    label = b'{"flight_id": "F1", "delay_min": 30.0, "arrived_at": %d}' % (START_MS + 3 * HOUR_MS)

    training = build_training_set(model, asked, MemoryHistory({"flights.arrived": [[label]]}))

    assert (training.times_ms, training.labels, training.asked) == ([START_MS], [True], 3)
