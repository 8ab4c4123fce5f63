"""A label that cannot be a prediction's truth: a clear record of it each time, and nothing learned from it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from agents.featurize import FeaturesRole
from agents.join_labels import read_tally
from agents.learn import LearningRole
from agents.read_progress import fold as learner_fold
from agents.route_labels import fold as router_fold
from definitions.values import ValueType
from streams import topics
from streams.joins import Tally, fold
from streams.messages import LabelSeen, Progress, encode
from tests.builders import label_definition, river_learner
from tests.learning import HOUR_MS, START_MS, World, prediction, row_of, small_model
from tests.releases import linear

MODEL = small_model(label=label_definition(type=ValueType.BOOL))
OUTCOMES = topics.outcomes("demo", MODEL)
DEAD = topics.dead_outcomes(OUTCOMES)


async def asked(directory: Path, **changes: object) -> World:
    """Return a world in which one prediction of flight F1 waits."""
    model = small_model(label=label_definition(type=ValueType.BOOL, **changes))
    world = await World(directory, model).create_topics()
    await world.predict(1, "F1", START_MS)
    return world


async def work(world: World) -> Tally:
    """Let the learning role do all that there is to do; return what became of everything."""
    await world.drain(LearningRole(world.app, world.context))
    return read_tally(world.store, world.model.key)


def learned(world: World) -> int:
    """Return how many examples the learner took."""
    return row_of(world.store, learner_fold(world.model.key, "online"))["applied"]


async def pass_time(world: World, hours: int) -> None:
    """Let both label partitions come so far."""
    for partition in await world.log.partitions("flights.arrived"):
        body = {"flight_id": f"P{partition.index}", "delay_min": 0.0, "arrived_at": START_MS + hours * HOUR_MS}
        await world.log.producer().produce("flights.arrived", json.dumps(body).encode(), partition=partition.index)


async def test_a_label_for_an_unknown_prediction_is_counted_and_teaches_nothing(tmp_path: Path) -> None:
    world = await asked(tmp_path)
    await world.arrive("F2", START_MS + HOUR_MS, 30.0)
    await pass_time(world, 72)

    tally = await work(world)

    assert (tally.unknown, tally.matched, tally.timed_out, tally.imbalance) == (1, 0, 1, 0)
    assert learned(world) == 0


async def test_a_label_after_the_horizon_is_counted_and_teaches_nothing(tmp_path: Path) -> None:
    world = await asked(tmp_path)
    await pass_time(world, 48)
    await work(world)
    await world.arrive("F1", START_MS + 40 * HOUR_MS, 30.0)

    tally = await work(world)

    assert (tally.label_late, tally.unknown, tally.matched, tally.timed_out) == (1, 0, 0, 1)
    assert learned(world) == 0


@pytest.mark.parametrize(("per_key", "examples"), [("all", 2), ("first", 1)])
async def test_a_label_key_reused_for_another_prediction_is_counted(
    tmp_path: Path, per_key: str, examples: int
) -> None:
    """Every request with the key is an example, unless the author says that only the first one is."""
    world = await asked(tmp_path, per_key=per_key)
    await world.predict(2, "F1", START_MS + 1)
    await world.arrive("F1", START_MS + HOUR_MS, 30.0)

    tally = await work(world)

    assert (tally.reused, tally.matched, tally.imbalance) == (1, examples, 0)
    assert learned(world) == examples


@pytest.mark.parametrize(
    ("delay", "reason"),
    [("NaN", "not_finite"), ('"late"', "wrong_type"), ("true", "wrong_type"), ("null", "wrong_type")],
)
async def test_a_label_event_of_another_type_or_without_a_number_is_a_dead_letter_and_teaches_nothing(
    tmp_path: Path, delay: str, reason: str
) -> None:
    """The features role writes the letter; the router counts it."""
    world = await asked(tmp_path)
    value = f'{{"flight_id": "F1", "delay_min": {delay}, "arrived_at": {START_MS + HOUR_MS}}}'.encode()
    await world.log.producer().produce("flights.arrived", value, key=b"F1")

    tally = await work(world)
    app = replace(world.app, events=(MODEL.label.event,) if MODEL.label else ())
    await world.drain(FeaturesRole(app, world.context))

    [letter] = await world.records(topics.dead_letters("demo", "flights.arrived"))
    assert (letter.value(), dict(letter.headers() or ())["dlq.reason"].decode()) == (value, reason)
    assert row_of(world.store, router_fold(MODEL.key))["dead"] == 1
    assert (tally.labels, tally.pending) == (0, 1)
    assert learned(world) == 0


GOOD = LabelSeen(label_key="F1", at_ms=START_MS + HOUR_MS, label=True, source="t/0@7")
_SOUND = encode(GOOD)


@pytest.mark.parametrize(
    ("value", "reason", "path"),
    [
        (None, "empty_value", "$"),
        (b"", "empty_value", "$"),
        (b"\xff\xfe", "not_utf8", "$"),
        (_SOUND[:-1], "bad_json", "$"),
        (b"[" * 100_000, "wrong_type", "$"),
        (_SOUND[:-1] + b',"more":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "bad_json", "$"),
        (b'{"kind": "truth"}', "wrong_type", "$.kind"),
        (_SOUND.replace(b"true", b"NaN"), "not_finite", "$"),
        (_SOUND.replace(b"true", b'"yes"'), "wrong_type", "$.label"),
        (_SOUND.replace(b"true", b"1"), "wrong_type", "$.label"),
        (_SOUND.replace(b"true", b"null"), "wrong_type", "$.label"),
        (_SOUND.replace(b"t/0@7", b"seven"), "wrong_type", "$.source"),
        (_SOUND.replace(b"t/0@7", b"t/0@-7"), "wrong_type", "$.source"),
        (_SOUND.replace(b"t/0@7", b"t/0@" + b"7" * 5_000), "wrong_type", "$.source"),
        (_SOUND.replace(str(GOOD.at_ms).encode(), b"-1"), "out_of_range", "$.at_ms"),
        (_SOUND.replace(str(GOOD.at_ms).encode(), b"999999999999999"), "out_of_range", "$.at_ms"),
        (_SOUND.replace(b'"label_key"', b'"key"'), "missing_field", "$.label_key"),
        (encode(Progress(source="t/0", partitions=1, newest_ms=-1)), "out_of_range", "$.newest_ms"),
        (
            encode(prediction(MODEL, 2, "F1", START_MS)).replace(b'"vector":[', b'"vector":[1e999,'),
            "not_finite",
            "$.vector[0]",
        ),
    ],
)
async def test_what_is_no_outcome_is_one_dead_letter_and_the_next_one_is_joined(
    tmp_path: Path, value: bytes | None, reason: str, path: str
) -> None:
    world = await asked(tmp_path)
    producer = world.log.producer()
    await producer.produce(OUTCOMES, value, key=b"F1", headers=[("source", b"x")])
    await producer.produce(OUTCOMES, encode(GOOD), key=b"F1")

    tally = await work(world)

    [letter] = await world.records(DEAD)
    headers = dict(letter.headers() or ())
    [source] = [each for each in await world.records(OUTCOMES) if each.value() == value]
    assert (letter.value(), letter.key()) == (value, b"F1")
    assert (headers["dlq.reason"].decode(), headers["dlq.path"].decode()) == (reason, path), headers["dlq.message"]
    assert (headers["dlq.topic"], headers["source"]) == (OUTCOMES.encode(), b"x")
    assert int(headers["dlq.offset"]) == source.offset()
    assert row_of(world.store, fold(MODEL.key))["dead"] == 1
    assert (tally.matched, tally.labels) == (1, 1)
    assert learned(world) == 1


async def test_a_revised_label_is_learned_once_more_where_that_was_declared(tmp_path: Path) -> None:
    for revised, taken in (("ignore", 1), ("replace", 2)):
        world = await asked(tmp_path, revised=revised)
        for delay in (30.0, 30.0, 0.0):
            await world.arrive("F1", START_MS + HOUR_MS, delay)

        tally = await work(world)

        assert (tally.matched, tally.revised, tally.replaced, tally.label_duplicate) == (1, 1, taken - 1, 1)
        assert [each.is_revision for each in (await world.examples()).values()] == [False, True][:taken]
        assert learned(world) == taken


async def test_every_learner_of_a_model_takes_the_same_examples(tmp_path: Path) -> None:
    learners = [river_learner(name, linear) for name in ("online", "other", "third")]
    world = await World(tmp_path, small_model(learners=learners)).create_topics()
    for number in range(12):
        await world.predict(number, f"F{number}", START_MS)
        await world.arrive(f"F{number}", START_MS + HOUR_MS, 30.0 * (number % 2))

    await world.drain(LearningRole(world.app, world.context))

    rows = [row_of(world.store, learner_fold(world.model.key, each.name)) for each in learners]
    assert rows == [rows[0]] * 3
    assert rows[0]["applied"] == len(await world.examples()) == 12
