"""A small world of flights: a model, what was published, and the questions that were asked of it."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

from river import linear_model, preprocessing

from batch.build_training_set import Question, read_questions
from definitions.declared import ModelDefinition
from tests.builders import model_definition, river_learner, xgboost_learner
from tests.unit.batch.memory_history import MemoryHistory

START_MS = 1_357_000_000_000
MINUTE_MS = 60_000


def scaled_regression() -> object:
    """Return a fresh estimator."""
    return preprocessing.StandardScaler() | linear_model.LogisticRegression()


def flights_model(**changes: Any) -> ModelDefinition:
    """Return the model ``late`` with learners that can be trained."""
    learners = [xgboost_learner(parameters={"max_depth": 3}), river_learner(factory=scaled_regression)]
    return model_definition(learners=learners, **changes)


def departed(minute: float, *, origin: str = "JFK", delay_min: float = 0.0, flight: str = "f") -> bytes:
    """Return the bytes of a departure."""
    event = {
        "flight_id": flight,
        "origin": origin,
        "dest": "LAX",
        "carrier": "AA",
        "tail": None,
        "delay_min": delay_min,
        "seats": None,
        "departed_at": at_ms(minute),
    }
    return json.dumps(event).encode()


def arrived(minute: float, *, flight: str, delay_min: float) -> bytes:
    """Return the bytes of an arrival."""
    return json.dumps({"flight_id": flight, "delay_min": delay_min, "arrived_at": at_ms(minute)}).encode()


def asked(minute: float, *, flight: str, distance: float = 100.0, carrier: str | None = "AA", **changes: Any) -> bytes:
    """Return the line of a question."""
    body = {
        "model": "late",
        "entities": {"origin": "JFK"},
        "inputs": {"distance": distance, "carrier": carrier},
        "label_key": flight,
        "at": at_ms(minute),
    }
    return json.dumps({**body, **changes}).encode()


def at_ms(minute: float) -> int:
    """Return a time of this world."""
    return START_MS + round(minute * MINUTE_MS)


def questions_of(lines: Sequence[bytes], model: ModelDefinition | None = None) -> list[Question]:
    """Return the questions of a file's lines."""
    return list(read_questions(lines, model or flights_model()))


def world(flights: int, *, seed: int = 1) -> tuple[MemoryHistory, list[bytes]]:
    """Return the history and the questions of flights whose delay depends on distance and carrier."""
    chance = random.Random(seed)
    departures: list[list[bytes]] = [[], []]
    arrivals: list[list[bytes]] = [[], []]
    lines = []
    for number in range(flights):
        distance, carrier = chance.uniform(100, 1000), chance.choice(["AA", "UA", "DL"])
        late = (distance - 550) / 200 + (carrier == "UA") + chance.gauss(0, 0.5) > 0.3
        flight = f"f{number}"
        lines.append(asked(number, flight=flight, distance=distance, carrier=carrier))
        departures[number % 2].append(departed(number + 0.5, delay_min=20.0 * late, flight=flight))
        arrivals[number % 2].append(arrived(number + 60, flight=flight, delay_min=30.0 if late else 0.0))
    return MemoryHistory({"flights.departed": departures, "flights.arrived": arrivals}), lines
