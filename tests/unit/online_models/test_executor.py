"""One champion answers, shadows never cost an answer, and one answer names one trained version of each learner."""

from __future__ import annotations

import math
from collections.abc import Sequence

from definitions.declared import RouteDefinition
from definitions.encoder import Vector
from definitions.values import ValueType
from online_models.executor import Executor, Scored, TrainedVersion
from tests.builders import model_definition, request_input, river_learner, xgboost_learner

MODEL = model_definition(
    inputs=[request_input("distance"), request_input("carrier", ValueType.CATEGORY)],
    learners=[xgboost_learner("offline"), river_learner("online"), river_learner("second")],
)
VECTORS: list[Vector] = [[1.0, "AA"], [2.0, None]]


class Fixed:
    """A scorer that multiplies the distance, for tests that are about the executor."""

    def __init__(self, name: str, factor: float, digest: str = "d0") -> None:
        self.name, self.factor, self.digest = name, factor, digest
        self.asked = 0

    def score_many(self, vectors: Sequence[Vector]) -> list[float]:
        self.asked += 1
        return [self.factor * (vector[0] or 0) for vector in vectors]  # type: ignore[operator]


class Broken(Fixed):
    """A scorer that fails as foreign code may."""

    def score_many(self, vectors: Sequence[Vector]) -> list[float]:
        raise ZeroDivisionError(f"{len(vectors)} vectors")


class Short(Fixed):
    """A scorer that loses a vector."""

    def score_many(self, vectors: Sequence[Vector]) -> list[float]:
        return super().score_many(vectors)[1:]


class Ticking:
    """A clock that goes on by one millisecond whenever it is read."""

    def __init__(self) -> None:
        self.now_ms = 0.0

    def __call__(self) -> float:
        self.now_ms += 1
        return self.now_ms


def executor(*scorers: Fixed) -> Executor:
    made = Executor(MODEL, clock=Ticking())
    for each in scorers:
        made.put(each.name, each)
    return made


def answered(*scores: float, by: str = "offline") -> tuple[Scored, ...]:
    return tuple(Scored(score, by=by) for score in scores)


def test_the_champion_answers_and_shadows_are_scored_beside() -> None:
    batch = executor(Fixed("offline", 1.0), Fixed("online", 10.0)).score(VECTORS)

    assert batch.answers == answered(1.0, 2.0)
    assert batch.answered_by == "offline"
    assert batch.scores_of(1) == {"offline": 2.0, "online": 20.0}
    assert batch.versions == (TrainedVersion("offline", "d0", "champion"), TrainedVersion("online", "d0", "shadow"))


def test_a_broken_shadow_costs_no_answer_and_is_recorded() -> None:
    batch = executor(Fixed("offline", 1.0), Broken("online", 1.0), Fixed("second", 5.0)).score(VECTORS)

    assert batch.answers == answered(1.0, 2.0)
    assert [(each.learner, each.role) for each in batch.failures] == [("online", "shadow")]
    assert "ZeroDivisionError: 2 vectors" in batch.failures[0].message
    assert batch.scores_of(0) == {"offline": 1.0, "second": 5.0}


def test_a_shadow_is_left_out_when_no_time_is_left() -> None:
    shadow = Fixed("online", 10.0)

    batch = executor(Fixed("offline", 1.0), shadow).score(VECTORS, until_ms=1.5)

    assert batch.answers == answered(1.0, 2.0)
    assert (shadow.asked, [each.message for each in batch.failures]) == (0, ["no time left"])


def test_without_its_champion_another_learner_of_the_route_answers_as_degraded() -> None:
    batch = executor(Fixed("online", 10.0), Fixed("second", 5.0)).score(VECTORS)

    why = "no score of offline: not loaded"
    assert batch.answers == tuple(Scored(each, "model_unavailable", why, "online", "shadow") for each in (10.0, 20.0))
    assert batch.answered_by == "online"
    assert [each.role for each in batch.versions] == ["shadow", "shadow"]


def test_a_failing_champion_is_replaced_the_same_way_and_its_failure_recorded() -> None:
    batch = executor(Broken("offline", 1.0), Fixed("online", 10.0)).score(VECTORS)

    assert [each.score for each in batch.answers] == [10.0, 20.0]
    assert [each.learner for each in batch.failures] == ["offline"]


def test_a_learner_that_loses_a_vector_counts_as_failed() -> None:
    batch = executor(Short("offline", 1.0), Fixed("online", 10.0)).score(VECTORS)

    assert batch.answered_by == "online"
    assert set(batch.scores) == {"online"}


def test_with_no_learner_loaded_the_model_is_unavailable() -> None:
    batch = executor().score(VECTORS)

    assert [each.reason for each in batch.answers] == ["model_unavailable", "model_unavailable"]
    assert batch.answered_by is None


def test_when_every_learner_fails_the_answer_is_an_internal_error() -> None:
    batch = executor(Broken("offline", 1.0), Broken("online", 1.0)).score(VECTORS)

    assert {each.reason for each in batch.answers} == {"internal"}
    assert len(batch.failures) == 2


def test_a_bad_vector_is_refused_alone() -> None:
    bad: list[Vector] = [[math.nan, "AA"], [2.0, "AA"], [1.0]]

    batch = executor(Fixed("offline", 1.0), Fixed("online", 10.0)).score(bad)

    assert [each.reason for each in batch.answers] == ["invalid", None, "invalid"]
    assert "distance" in batch.answers[0].message
    assert batch.scores == {"offline": [None, 2.0, None], "online": [None, 20.0, None]}
    assert batch.scores_of(0) == {}


def test_a_swap_takes_effect_with_the_next_micro_batch() -> None:
    serving = executor(Fixed("offline", 1.0, "old"))
    before = serving.score(VECTORS)

    serving.put("offline", Fixed("offline", 3.0, "new"))
    after = serving.score(VECTORS)

    assert [(each.versions[0].digest, each.answers[0].score) for each in (before, after)] == [
        ("old", 1.0),
        ("new", 3.0),
    ]
    assert serving.digest("offline") == "new"


def test_a_dropped_learner_is_not_asked_again() -> None:
    serving = executor(Fixed("offline", 1.0), Fixed("online", 10.0))

    serving.drop("online")

    assert set(serving.score(VECTORS).scores) == {"offline"}
    assert serving.digest("online") is None


def test_another_route_changes_who_answers() -> None:
    serving = executor(Fixed("offline", 1.0), Fixed("online", 10.0))

    serving.follow(RouteDefinition("online", ("offline",)))

    assert serving.score(VECTORS).answers == answered(10.0, 20.0, by="online")


def test_the_time_spent_is_measured_by_the_given_clock() -> None:
    assert executor(Fixed("offline", 1.0)).score(VECTORS).predict_ms == 1.0


def test_an_empty_micro_batch_has_no_answers() -> None:
    assert executor(Fixed("offline", 1.0)).score([]).answers == ()
