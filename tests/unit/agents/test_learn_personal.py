"""A personal learner end to end on a log in memory: its cells do not depend on how often it was killed."""

from __future__ import annotations

import copy
import operator
import random
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agents.learn import LearningRole
from agents.learn_personal import read_personal_progress
from agents.personal_cells import LEARNED, POPULATION, PersonalCodec, fold
from definitions.declared import LearnerDefinition, ModelDefinition
from definitions.values import Value, ValueType
from online_models.personal import Evidence, Population
from streams import topics
from streams.messages import Example, Version, encode
from streams.store import Question
from tests.builders import personal_learner, request_input, xgboost_learner
from tests.learning import HOUR_MS, START_MS, World, row_of, small_model

CARRIERS = ("AA", "UA", "B6", "DL")
KEPT = 12


def model_of(learner: LearnerDefinition) -> ModelDefinition:
    """Return a model of three request inputs with a personal learner on top of an offline one."""
    inputs = [request_input("distance"), *(request_input(name, ValueType.CATEGORY) for name in ("carrier", "origin"))]
    return small_model(inputs=inputs, learners=[xgboost_learner(), learner])


OWN = personal_learner(by=(("carrier",), ("origin", "carrier")))
MODEL = model_of(OWN)
FOLD = fold(MODEL, OWN)
EXAMPLES = topics.examples("demo", MODEL)


def example(number: int, **changes: Any) -> Example:
    """Return an example as the join writes it: UA is late more often than the offline model thinks."""
    chance = random.Random(number)
    carrier, origin = chance.choice(CARRIERS), chance.choice(["JFK", "LGA", "EWR"])
    made = Example(
        model=MODEL.key, label_key=f"F{number}", at_ms=START_MS + number,
        vector=[chance.gauss(1_000, 400), carrier, origin],
        label=chance.random() < (0.8 if carrier == "UA" else 0.1), scores={"offline": 0.2 + chance.random() / 4},
        champion="offline", outcomes="t/0", next=number + 1, index=0,
        entities={"carrier": carrier, "origin": origin}, versions={"offline": "0f1e2d3c4b5a"},
    )  # fmt: skip
    return msgspec.structs.replace(made, **changes)


async def append(world: World, *examples: Example) -> None:
    """Append examples to the topic."""
    for each in examples:
        await world.log.producer().produce(EXAMPLES, encode(each), key=each.label_key.encode())


async def world_of(directory: Path, *examples: Example, model: ModelDefinition = MODEL) -> World:
    """Return a world in which the examples are there to be learned."""
    world = await World(directory, model).create_topics()
    await append(world, *examples)
    return world


async def learn(world: World) -> None:
    """Let a new role learn all there is."""
    await world.drain(LearningRole(world.app, world.context))


def cells_of(world: World, name: str = FOLD) -> Mapping[str, bytes]:
    """Return every cell's state."""
    names = sorted(world.store.entities(name))
    found = world.store.read(Question(cells=[(name, entity) for entity in names])).cells
    return {entity: one.state for entity, cells in zip(names, found, strict=True) for one in cells.values()}


def evidence_of(world: World, cell: str, name: str = FOLD) -> Evidence:
    """Return what is known of one entity."""
    found = PersonalCodec().decode(cells_of(world, name)[cell])
    assert isinstance(found, Evidence)
    return found


def population_of(world: World, name: str = FOLD) -> Population:
    """Return what is known of all."""
    found = PersonalCodec().decode(cells_of(world, name)[POPULATION])
    assert isinstance(found, Population)
    return found


async def test_an_example_is_learned_once_by_each_of_its_entities(tmp_path: Path) -> None:
    examples = [example(number) for number in range(300)]
    world = await world_of(tmp_path, *examples)
    await learn(world)

    for carrier in CARRIERS:
        own = [each for each in examples if each.entities["carrier"] == carrier]
        assert evidence_of(world, f"carrier/{carrier}").n == len(own)
        from_jfk = [each for each in own if each.entities["origin"] == "JFK"]
        assert evidence_of(world, f'origin,carrier/["JFK","{carrier}"]').n == len(from_jfk)
    assert evidence_of(world, "carrier/UA").pull[0] > 0 > evidence_of(world, "carrier/AA").pull[0]
    assert row_of(world.store, FOLD)["applied"] == read_personal_progress(world.store, MODEL, OWN).n == 300
    assert population_of(world).learned == 300


@pytest.mark.parametrize("kills", [(2,), (5, 5), (9, 1, 3, 3), (20, 11), (30,), (41,)])
async def test_cells_are_a_function_of_the_examples_log(tmp_path: Path, kills: tuple[int, ...]) -> None:
    """Equal logs give equal cells, byte for byte, whatever was killed in between and however batches were cut."""
    examples = [example(number) for number in range(260)]
    smooth, world = await world_of(tmp_path, *examples), await world_of(tmp_path)
    await learn(smooth)

    for part, turns in enumerate(kills):
        await append(world, *examples[part * 40 : (part + 1) * 40])
        await world.drain_but_kill(LearningRole(world.app, world.context), when=partial(operator.le, turns))
    await append(world, *examples[len(kills) * 40 :])
    await learn(world)

    assert cells_of(world) == cells_of(smooth)
    assert row_of(world.store, FOLD) == row_of(smooth.store, FOLD)


@pytest.mark.parametrize("writes", range(1, 12, 2))
@pytest.mark.parametrize("is_written", [True, False])
async def test_a_store_that_fails_at_any_write_costs_nothing(tmp_path: Path, writes: int, *, is_written: bool) -> None:
    examples = [example(number) for number in range(60)]
    smooth, world = await world_of(tmp_path, *examples), await world_of(tmp_path, *examples)
    await learn(smooth)
    world.store.writes_left, world.store.last_is_written = writes, is_written

    await learn(world)

    assert cells_of(world) == cells_of(smooth)


async def test_a_store_that_goes_back_in_time_is_learned_into_again(tmp_path: Path) -> None:
    examples = [example(number) for number in range(200)]
    smooth, world = await world_of(tmp_path, *examples), await world_of(tmp_path, *examples[:70])
    await learn(smooth)
    await learn(world)
    held = copy.deepcopy((world.store._rows, world.store._cells))
    await append(world, *examples[70:150])
    await learn(world)
    world.store._rows, world.store._cells = held
    await append(world, *examples[150:])
    await learn(world)

    assert cells_of(world) == cells_of(smooth)


async def test_more_entities_than_a_link_takes_are_committed_example_by_example(tmp_path: Path) -> None:
    """300 entities in one batch, killed between the links: nothing is learned by half of an example's entities."""
    examples = [
        example(number, entities={"carrier": f"C{number % 150}", "origin": f"O{number}"}) for number in range(300)
    ]
    smooth, world = await world_of(tmp_path, *examples), await world_of(tmp_path, *examples)
    smooth.log._max_batch = world.log._max_batch = 300
    await learn(smooth)
    world.store.writes_left, world.store.last_is_written = 9, True
    await learn(world)

    assert cells_of(world) == cells_of(smooth)
    assert len(cells_of(world)) == 150 + 300 + 3


async def test_examples_sent_again_are_skipped_by_their_position(tmp_path: Path) -> None:
    examples = [example(number) for number in (0, 1, 2, 1, 2, 3)]
    smooth, world = await world_of(tmp_path, *map(example, range(4))), await world_of(tmp_path, *examples)
    for each in (smooth, world):
        await learn(each)

    row = row_of(world.store, FOLD)
    assert (row["applied"], row["duplicate"]) == (4, 2)
    assert {name: cells_of(world)[name] for name in cells_of(world)} == cells_of(smooth)


async def test_what_cannot_be_learned_leaves_every_entity_as_it_was(tmp_path: Path) -> None:
    good = [example(number) for number in range(10)]
    bad: list[tuple[str, dict[str, Any]]] = [
        ("dead", {"label": "yes"}),
        ("dead", {"label": 1.5}),
        ("dead", {"vector": [1e39, "UA", "JFK"]}),
        ("dead", {"vector": [1.0]}),
        ("dead", {"scores": {}}),
        ("dead", {"scores": {"offline": 1.5}}),
        ("no_entity", {"entities": {}}),
        ("no_entity", {"entities": {"origin": "JFK"}}),
    ]
    made = [example(100 + number, **changes) for number, (_, changes) in enumerate(bad)]
    smooth, world = await world_of(tmp_path, *good), await world_of(tmp_path, *good[:5], *made)
    await world.log.producer().produce(EXAMPLES, b"\xff")
    await append(world, *(msgspec.structs.replace(each, next=200 + each.next) for each in good[5:]))
    for each in (smooth, world):
        await learn(each)

    row = row_of(world.store, FOLD)
    assert (row["applied"], row["dead"], row["no_entity"]) == (10, 7, 2)
    without = (LEARNED,)
    assert {name: state for name, state in cells_of(world).items() if name not in without} == {
        name: state for name, state in cells_of(smooth).items() if name not in without
    }


async def test_another_release_of_the_offset_keeps_what_is_known_less_sure(tmp_path: Path) -> None:
    world = await world_of(tmp_path, *map(example, range(200)))
    await learn(world)
    before = evidence_of(world, "carrier/UA")
    await append(world, example(200, versions={"offline": "another"}, entities={"carrier": "UA"}))
    await learn(world)
    after, population = evidence_of(world, "carrier/UA"), population_of(world)

    assert (population.base, population.digest, population.before) == (2, "another", "0f1e2d3c4b5a")
    assert (before.base, after.base, after.n) == (1, 2, before.n + 1)
    assert after.strength[0] < 0.5 * before.strength[0]
    assert evidence_of(world, "carrier/AA").base == 1, "others follow when they are read"


async def test_another_release_of_the_offset_begins_anew_where_that_is_declared(tmp_path: Path) -> None:
    """What was scored by the release before is of no use any more, and counted."""
    anew = personal_learner(by=(("carrier",),), rebase="anew")
    model = model_of(anew)
    world = await world_of(tmp_path, *map(example, range(200)), model=model)
    await append(world, example(200, versions={"offline": "another"}, entities={"carrier": "UA"}))
    await append(world, example(201, at_ms=START_MS + 100), example(202, versions={"offline": "another"}))
    await learn(world)

    assert evidence_of(world, "carrier/UA", fold(model, anew)).n == 1 + (example(202).entities["carrier"] == "UA")
    row = row_of(world.store, fold(model, anew))
    assert (row["applied"], row["too_late"]) == (202, 1)


async def test_a_release_put_back_in_force_is_one_again(tmp_path: Path) -> None:
    """Processes that swap one after the other do not count as swaps back; a minute of predictions does."""
    other = {"versions": {"offline": "another"}}
    made = [example(0), example(1, **other), example(2), example(3, **other), example(4, at_ms=START_MS + HOUR_MS)]
    world = await world_of(tmp_path, *made)
    await learn(world)

    assert (population_of(world).base, population_of(world).digest) == (3, "0f1e2d3c4b5a")


async def test_predictions_and_labels_become_what_is_known_of_their_entities(tmp_path: Path) -> None:
    """Through the join: entities and trained versions of a prediction arrive with its label."""
    world = await World(tmp_path, MODEL).create_topics()
    version = [Version(learner="offline", digest="0f1e2d3c4b5a", role="member")]
    vector: list[Value] = [100.0, "UA", "JFK"]
    for number in range(20):
        at_ms = START_MS + number * HOUR_MS
        await world.predict(
            number, f"F{number}", at_ms, vector=vector, scores={"offline": 0.4, "own": 0.4}, versions=version,
            entities={"carrier": "UA", "origin": "JFK"},
        )  # fmt: skip
        await world.arrive(f"F{number}", at_ms + HOUR_MS, delay_min=60.0)
    await learn(world)

    assert evidence_of(world, "carrier/UA").n == 20
    assert evidence_of(world, "carrier/UA").pull[0] > 0
    assert population_of(world).digest == "0f1e2d3c4b5a"
