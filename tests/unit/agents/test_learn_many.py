"""What a learner of many examples at once has learned is a function of the examples log, however that was read."""

from __future__ import annotations

import operator
from functools import partial
from pathlib import Path

import pytest
from river import linear_model, preprocessing

import headrace as hr
from agents.learn import LearningRole
from agents.read_progress import fold, read_progress
from agents.transport.in_process import InProcessLog
from definitions.encoder import Encoder
from online_models.learners.river import RiverLearner
from streams import topics
from streams.messages import Example, encode
from streams.pointers import learner_pointer
from streams.store import Question
from tests.learning import START_MS, World, row_of, small_model

MANY = 8
LEARNER = hr.river(lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression(), many=MANY)
MODEL = small_model(learners=[LEARNER.definition("online")])
EXAMPLES = topics.examples("demo", MODEL)
SENT = 45


async def filled(directory: Path, *, max_batch: int) -> World:
    """Return a world whose examples topic holds 45 records: one is unreadable, one no example, one a copy."""
    world = World(directory, MODEL)
    world.log = InProcessLog(world.clock, max_batch=max_batch)
    world.context = type(world.context)("demo", world.log, world.store, world.context.artefacts, world.context.metrics)
    await world.create_topics()
    for number in range(SENT):
        position = number if number != 20 else 19
        made = Example(
            model=MODEL.key, label_key=f"F{position}", at_ms=START_MS, vector=[float(position * 13 % 40)],
            label="late" if number == 12 else position % 3 == 0, scores={}, champion="online", outcomes="t/0",
            next=position + 1, index=0,
        )  # fmt: skip
        await world.log.producer().produce(EXAMPLES, b"{" if number == 30 else encode(made), key=b"F")
    return world


def learner_of(world: World) -> RiverLearner:
    """Return what the newest snapshot holds."""
    pointer = world.store.read(Question(pointers=[learner_pointer(MODEL.key, "online")])).pointers[0]
    assert pointer is not None
    data = world.context.artefacts.get(pointer.digest)
    return RiverLearner.restore(MODEL.learners["online"], Encoder(MODEL.inputs), data=data, digest=pointer.digest)[0]


async def test_the_whole_log_is_learned_in_eights_and_the_rest_waits(tmp_path: Path) -> None:
    world = await filled(tmp_path, max_batch=7)

    await world.drain(LearningRole(world.app, world.context))

    learned = SENT - 3
    found = learner_of(world)
    assert (found.learned, found.waiting) == (learned, learned % MANY)
    labels = {"namespace": "demo", "model": MODEL.key, "learner": "online"}
    shown = world.context.metrics.registry.get_sample_value("headrace_learner_waiting_examples", labels)
    assert shown == learned % MANY
    row = row_of(world.store, fold(MODEL.key, "online"))
    assert (row["applied"], row["dead"], row["duplicate"]) == (learned, 2, 1)
    assert read_progress(world.store, MODEL.key, "online").n == learned


@pytest.mark.parametrize("max_batch", [1, 3, 8, 100])
@pytest.mark.parametrize("kills", [(), (3,), (6, 2, 9), (20, 11), (1, 1, 30)])
async def test_it_does_not_depend_on_how_the_log_was_read_or_who_was_killed(
    tmp_path: Path, max_batch: int, kills: tuple[int, ...]
) -> None:
    smooth = await filled(tmp_path / "smooth", max_batch=7)
    await smooth.drain(LearningRole(smooth.app, smooth.context))
    world = await filled(tmp_path / "world", max_batch=max_batch)

    for turns in kills:
        await world.drain_but_kill(LearningRole(world.app, world.context), when=partial(operator.le, turns))
    await world.drain(LearningRole(world.app, world.context))

    found, expected = learner_of(world), learner_of(smooth)
    assert found.canonical() == expected.canonical()
    assert (found.learned, found.waiting) == (expected.learned, expected.waiting)
    assert row_of(world.store, fold(MODEL.key, "online")) == row_of(smooth.store, fold(MODEL.key, "online"))
    assert read_progress(world.store, MODEL.key, "online") == read_progress(smooth.store, MODEL.key, "online")
