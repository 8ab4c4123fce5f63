"""From questions to a release that can be served, and to warm starts that learners go on from."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from batch.build_training_set import build_training_set
from batch.context import JobContext
from batch.errors import TrainingRefused
from batch.train import TrainResult, train
from batch.train_offline_model import train_offline
from batch.warm_start import cut_at_end
from definitions.declared import Input
from definitions.encoder import Encoder
from definitions.values import ValueType, magnitude
from online_models import releases
from online_models.baseline import BaselineCounter
from online_models.errors import ArtefactRefused
from online_models.learners.river import RiverLearner
from streams import topics
from streams.artefacts import ArtefactStore
from streams.messages import Deployment, Example, encode
from streams.pointers import learner_pointer
from streams.store import Pointer, Question
from streams.store.memory import MemoryStore
from tests.builders import request_input, xgboost_learner
from tests.unit.batch.flights import arrived, asked, flights_model, questions_of, world
from tests.unit.batch.memory_history import MemoryHistory

MODEL = flights_model()
NOW_MS = 1_400_000_000_000


@pytest.fixture
def context(tmp_path: Path) -> JobContext:
    return JobContext("test", world(300)[0], MemoryStore(), ArtefactStore(tmp_path))


def trained(context: JobContext) -> TrainResult:
    return train(MODEL, questions_of(world(300)[1]), context, now_ms=NOW_MS)


def pointer(context: JobContext) -> Pointer | None:
    return context.store.read(Question(pointers=[learner_pointer(MODEL.key, "online")])).pointers[0]


def example(offset: int, *, index: int = 0, outcomes: str = "o/0") -> bytes:
    return encode(
        Example(
            model="late.v1",
            label_key="f",
            at_ms=0,
            vector=[],
            label=True,
            scores={},
            champion="offline",
            outcomes=outcomes,
            next=offset,
            index=index,
        )
    )


def test_the_release_is_loaded_whole_and_its_learners_tell_late_from_early(context: JobContext) -> None:
    release = releases.load(trained(context).release, context.artefacts.get, MODEL)
    far, near = ([None, None, None, None, None, distance, "UA"] for distance in (950.0, 150.0))

    for learner in ("offline", "online"):
        late, early = release.scorers[learner].score_many([far, near])
        assert late > early


def test_the_measures_are_of_scores_given_before_the_labels_were_seen(context: JobContext) -> None:
    result = trained(context)

    assert result.rows == result.asked == 300
    assert 0.75 < result.measures["offline"]["auc"] < 1.0
    assert 0.7 < result.measures["online"]["auc"] < 1.0
    assert result.measures["offline"]["rows"] == 60


def test_the_manifest_says_what_was_trained_on_and_by_what(context: JobContext) -> None:
    manifest = releases.read_manifest(trained(context).release, context.artefacts.get)

    assert (manifest.model, manifest.definition, manifest.created_at_ms) == ("late", MODEL.digest, NOW_MS)
    assert manifest.data.positions["flights.arrived"] == {
        "id-flights.arrived/0": (0, 150),
        "id-flights.arrived/1": (0, 150),
    }
    assert (manifest.data.rows, manifest.data.visibility) == (300, "event_time+0ms")
    assert {"headrace", "river", "xgboost-cpu"} <= set(manifest.code)


def test_the_baseline_is_what_the_release_s_own_scorers_say_of_its_own_rows(context: JobContext) -> None:
    release = releases.load(trained(context).release, context.artefacts.get, MODEL)
    rows = build_training_set(MODEL, questions_of(world(300)[1]), context.history).vectors
    counter, counts = BaselineCounter(release.baseline, MODEL.inputs), release.baseline.empty()

    scores = {learner: scorer.score_many(rows) for learner, scorer in release.scorers.items()}
    for row, vector in enumerate(rows):
        counter.count(counts, vector, {learner: given[row] for learner, given in scores.items()})

    assert counts == {signal: bins.counts for signal, bins in release.baseline.signals.items()}


def test_the_deployment_puts_the_release_in_force_by_the_models_route(context: JobContext) -> None:
    result = trained(context)

    assert result.deployment == Deployment(
        model="late", release=result.release, champion="offline", shadow=["online"], at_ms=NOW_MS
    )


def test_the_pointer_names_the_warm_start_of_the_release(context: JobContext) -> None:
    release = trained(context).release
    found = pointer(context)

    manifest = releases.read_manifest(release, context.artefacts.get)
    assert found == Pointer(1, 0, manifest.artefacts["online"].digest)


def test_the_warm_start_has_learned_every_row(context: JobContext) -> None:
    release = releases.load(trained(context).release, context.artefacts.get, MODEL)

    online = release.scorers["online"]

    assert isinstance(online, RiverLearner)
    assert online.learned == 300


def test_training_again_gives_equal_models_in_the_next_generation(context: JobContext) -> None:
    first, second = trained(context), trained(context)
    manifests = [releases.read_manifest(each.release, context.artefacts.get) for each in (first, second)]

    assert manifests[0].artefacts["offline"] == manifests[1].artefacts["offline"]
    assert manifests[0].baseline == manifests[1].baseline
    found = pointer(context)
    assert found is not None
    assert found.generation == 2


def test_a_warm_start_goes_on_behind_the_examples_that_exist() -> None:
    examples = [example(5), example(9, outcomes="o/1"), b"no example", example(9, index=2, outcomes="o/1"), example(7)]
    past = MemoryHistory({topics.examples("test", MODEL): [examples]})

    cut = cut_at_end(past, topics.examples("test", MODEL), generation=4)

    assert (cut.generation, cut.examples_next) == (4, 5)
    assert cut.positions == {"o/0": (7, 0), "o/1": (9, 2)}


def test_where_no_example_was_ever_joined_the_warm_start_begins_at_the_first() -> None:
    cut = cut_at_end(MemoryHistory({}), "test.late.v1.examples", generation=1)

    assert (cut.examples_next, cut.positions) == (0, {})


def test_a_warm_start_does_not_replace_one_of_a_later_generation(context: JobContext) -> None:
    class Overtaken(MemoryStore):
        def advance_pointer(self, name: str, pointer: Pointer) -> bool:
            super().advance_pointer(name, replace(pointer, generation=pointer.generation + 1))
            return super().advance_pointer(name, pointer)

    overtaken = JobContext(context.namespace, context.history, Overtaken(), context.artefacts)

    with pytest.raises(TrainingRefused, match="another training ran at the same time"):
        trained(overtaken)


def test_too_few_labelled_questions_are_refused(context: JobContext) -> None:
    with pytest.raises(TrainingRefused, match="expected at least 50 questions with a label, got 49 of 50"):
        train(MODEL, questions_of([*world(300)[1][:49], asked(9, flight="x")]), context, now_ms=NOW_MS)


def test_labels_of_one_kind_are_refused(context: JobContext) -> None:
    training = build_training_set(MODEL, questions_of(world(300)[1]), context.history)
    training.labels[:] = [False] * training.rows

    with pytest.raises(TrainingRefused, match="expected labels of both kinds, got 300 times False"):
        train_offline(MODEL.learners["offline"], Encoder.fit(MODEL.inputs, training.vectors), training)


def test_parameters_that_xgboost_refuses_are_named(context: JobContext) -> None:
    training = build_training_set(MODEL, questions_of(world(300)[1]), context.history)
    learner = xgboost_learner(parameters={"objective": "binary:nonsense"})

    with pytest.raises(TrainingRefused, match=r"cannot train: offline: .*binary:nonsense"):
        train_offline(learner, Encoder.fit(MODEL.inputs, training.vectors), training)


def test_a_fixed_number_of_rounds_is_kept(context: JobContext) -> None:
    training = build_training_set(MODEL, questions_of(world(300)[1]), context.history)
    learner = xgboost_learner(parameters={"num_boost_round": 7})

    model = train_offline(learner, Encoder.fit(MODEL.inputs, training.vectors), training)

    assert model.rounds == model.measures["rounds"] == 7


def test_labels_that_are_numbers_train_a_regression(context: JobContext) -> None:
    training = build_training_set(MODEL, questions_of(world(300)[1]), context.history)
    distance = [each.name for each in MODEL.inputs].index("distance")
    training.labels[:] = [magnitude(vector[distance]) for vector in training.vectors]

    model = train_offline(
        xgboost_learner(parameters={"eta": 0.3}), Encoder.fit(MODEL.inputs, training.vectors), training
    )

    assert model.measures["mae"] < 30
    assert "auc" not in model.measures


def test_an_artefact_that_was_changed_afterwards_is_refused(context: JobContext, tmp_path: Path) -> None:
    release = trained(context).release
    manifest = releases.read_manifest(release, context.artefacts.get)
    broken = msgspec.structs.replace(manifest, encoder=context.artefacts.put(b'{"inputs":[],"vocabularies":{}}'))

    with pytest.raises(ArtefactRefused, match="expected an encoder of the model's 7 inputs"):
        releases.load(releases.write(broken, ArtefactStore(tmp_path).put), context.artefacts.get, MODEL)


def test_an_embedding_that_tells_is_learned_by_both_learners(tmp_path: Path) -> None:
    query = Input("query", ValueType.EMBEDDING, length=3)
    model = flights_model(views=[], inputs=[query, request_input("carrier", ValueType.CATEGORY)])
    chance = random.Random(3)
    lines, arrivals = [], []
    for number in range(300):
        values = [chance.gauss(), chance.gauss(), chance.gauss()]
        inputs = {"query": None if number % 20 == 0 else values, "carrier": "AA"}
        lines.append(asked(number, flight=f"f{number}", entities={}, inputs=inputs))
        arrivals.append(arrived(number + 60, flight=f"f{number}", delay_min=30.0 if values[1] > 0 else 0.0))
    context = JobContext("test", MemoryHistory({"flights.arrived": [arrivals]}), MemoryStore(), ArtefactStore(tmp_path))

    result = train(model, questions_of(lines, model), context, now_ms=NOW_MS)

    release = releases.load(result.release, context.artefacts.get, model)
    for learner in ("offline", "online"):
        late, early = release.scorers[learner].score_many([[[0.0, 2.0, 0.0], "AA"], [[0.0, -2.0, 0.0], "AA"]])
        assert late > early
        assert result.measures[learner]["auc"] > 0.8
