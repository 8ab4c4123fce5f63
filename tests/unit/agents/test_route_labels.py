"""Labels reach the outcomes topic in source order, with where they come from, and say how far event time has come."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import msgspec

from agents.learn import LearningRole
from agents.route_labels import IDLE_MS, SETTLED_MS, fold
from agents.runner import Runner
from agents.transport import Member
from streams import topics
from streams.codecs import Schema
from streams.codecs.writing import encoder_of
from streams.derived import POSITION_HEADER
from streams.joins import step_ms
from streams.messages import LabelSeen, Outcome, Prediction, Progress
from tests.builders import label_definition, label_event_definition
from tests.learning import HOUR_MS, START_MS, World, row_of, small_model
from tests.registry import avro_schema

MODEL = small_model()
STEP_MS = step_ms(24 * HOUR_MS)


async def outcomes_of(world: World) -> list[Outcome]:
    """Return everything in the outcomes topic, by partition."""
    records = await world.records(topics.outcomes("demo", MODEL))
    return [msgspec.json.decode(each.value() or b"", type=Prediction | LabelSeen | Progress) for each in records]


async def progress_of(world: World) -> list[Progress]:
    """Return what the outcomes partitions were told of event time."""
    return [each for each in await outcomes_of(world) if isinstance(each, Progress)]


async def work(runner: Runner, member: Member) -> None:
    """Let a role work until nothing is left."""
    while (batch := await member.poll(0)) is not None:
        await runner.take(batch)


async def test_labels_are_evaluated_and_keyed_and_carry_their_source(tmp_path: Path) -> None:
    world = await World(tmp_path, MODEL).create_topics()
    await world.arrive("F1", START_MS, 16.0)
    await world.arrive("F2", START_MS + 1, 15.0)

    await world.drain(LearningRole(world.app, world.context))

    labels = {each.label_key: each for each in await outcomes_of(world) if isinstance(each, LabelSeen)}
    assert {key: (each.label, each.at_ms) for key, each in labels.items()} == {
        "F1": (True, START_MS),
        "F2": (False, START_MS + 1),
    }
    records = [each for each in await world.records(topics.outcomes("demo", MODEL)) if each.key() is not None]
    for record in records:
        label = msgspec.json.decode(record.value() or b"", type=LabelSeen)
        [(name, position)] = record.headers() or []
        topic, index, after, place = msgspec.json.decode(position)
        source, _, offset = label.source.rpartition("@")
        assert record.key() == label.label_key.encode()
        assert (name, topic, place) == (POSITION_HEADER, "flights.arrived", 0)
        assert (int(source.rpartition("/")[2]), int(offset)) == (index, after - 1)


async def test_labels_of_an_avro_topic_are_routed_as_those_of_json(tmp_path: Path) -> None:
    event = label_event_definition(codec="avro")
    schema = Schema("AVRO", json.dumps(avro_schema(event)))
    world = await World(tmp_path, small_model(label=label_definition(event=event))).create_topics()
    line = json.dumps({"flight_id": "F1", "delay_min": 16.0, "arrived_at": START_MS}).encode()
    for value in (encoder_of(event, schema, 3)(line), line):
        await world.log.producer().produce(event.topic, value, key=b"F1")

    await world.drain(LearningRole(world.app, replace(world.context, schemas={3: schema}.get)))

    [label] = [each for each in await outcomes_of(world) if isinstance(each, LabelSeen)]
    assert (label.label_key, label.label, label.at_ms) == ("F1", True, START_MS)
    assert row_of(world.store, fold(world.model.key))["dead"] == 1


async def test_a_label_meets_its_prediction_in_one_partition(tmp_path: Path) -> None:
    world = await World(tmp_path, MODEL).create_topics()
    for number in range(20):
        await world.predict(number, f"F{number}", START_MS)
        await world.arrive(f"F{number}", START_MS + 1, 0.0)

    await world.drain(LearningRole(world.app, world.context))

    assert len(await world.examples()) == 20


async def test_records_without_a_label_are_counted_by_what_they_lack(tmp_path: Path) -> None:
    """The features role alone writes dead letters: here they are only counted."""
    world = await World(tmp_path, MODEL).create_topics()
    await world.arrive("F1", START_MS, 16.0)
    producer = world.log.producer()
    for value in (b"", b"\xff", b"{}", b'{"flight_id": "F2", "delay_min": NaN, "arrived_at": 1}'):
        await producer.produce("flights.arrived", value, key=b"F2")

    await world.drain(LearningRole(world.app, world.context))

    row = row_of(world.store, fold(MODEL.key))
    assert (row["applied"], row["dead"], row["read"]) == (1, 4, 5)
    assert await world.records("demo.flights.arrived.dlq") == []


async def test_every_outcomes_partition_is_told_when_event_time_comes_a_step_further(tmp_path: Path) -> None:
    world = await World(tmp_path, MODEL).create_topics()
    role = LearningRole(world.app, world.context)
    member = world.log.member(role.subscription())
    runner = Runner(member, role, world.context.metrics)
    await member.start(runner)
    told = []
    for at_ms in (START_MS, START_MS + STEP_MS - 1, START_MS + STEP_MS):
        await world.arrive("F1", at_ms, 0.0)
        await work(runner, member)
        told.append(sorted({each.newest_ms for each in await progress_of(world)}))
    await member.stop(1.0)

    assert told[-1][0] == START_MS
    assert told[-1][-1] == START_MS + STEP_MS
    progress = [each for each in await progress_of(world) if each.newest_ms == START_MS + STEP_MS]
    assert len(progress) == 2
    assert {each.partitions for each in progress} == {2}


async def test_less_than_a_step_is_told_once_nothing_more_comes(tmp_path: Path) -> None:
    """Else the last horizons of a stream that pauses would never pass."""
    world = await World(tmp_path, MODEL).create_topics()
    role = LearningRole(world.app, world.context)
    member = world.log.member(role.subscription())
    runner = Runner(member, role, world.context.metrics)
    await member.start(runner)
    for at_ms in (START_MS, START_MS + 1):
        await world.arrive("F1", at_ms, 0.0)
        await work(runner, member)
    at_once = {each.newest_ms for each in await progress_of(world)}

    world.clock.advance(SETTLED_MS)
    await work(runner, member)
    await member.stop(1.0)

    assert at_once == {START_MS}
    assert {each.newest_ms for each in await progress_of(world)} == {START_MS, START_MS + 1}


async def test_a_silent_label_partition_is_idle_after_a_minute_and_no_more_when_it_speaks(tmp_path: Path) -> None:
    """The router may look at the broker's clock, because what it decides is a record of the log."""
    world = await World(tmp_path, MODEL).create_topics()
    role = LearningRole(world.app, world.context)
    member = world.log.member(role.subscription())
    runner = Runner(member, role, world.context.metrics)
    await member.start(runner)
    await world.arrive("F1", START_MS, 0.0)
    await work(runner, member)
    assert not any(each.idle for each in await progress_of(world))

    world.clock.advance(IDLE_MS)
    await work(runner, member)
    idle = [each for each in await progress_of(world) if each.idle]
    await world.arrive("F1", START_MS + 1, 0.0)
    await work(runner, member)
    await member.stop(1.0)

    assert len({each.source for each in idle}) == 2
    assert len(idle) == 4
    newest = [each for each in await progress_of(world) if each.newest_ms == START_MS + 1]
    assert newest
    assert not any(each.idle for each in newest)


async def test_labels_sent_again_have_the_same_source_in_the_same_order(tmp_path: Path) -> None:
    """A store that forgot: the join drops what it has seen by exactly this."""
    world = await World(tmp_path, MODEL).create_topics()
    for number in range(5):
        await world.arrive("F1", START_MS + number, float(number))
    await world.drain(LearningRole(world.app, world.context))
    world.store.forget(fold(MODEL.key))

    await world.drain(LearningRole(world.app, world.context))

    sources = [each.source for each in await outcomes_of(world) if isinstance(each, LabelSeen)]
    assert sources[:5] == sources[5:]
    assert [int(each.rpartition("@")[2]) for each in sources[:5]] == [0, 1, 2, 3, 4]
    assert row_of(world.store, f"join.{MODEL.key}")["duplicate"] == 5
