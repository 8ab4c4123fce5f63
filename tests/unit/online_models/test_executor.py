"""One champion answers, shadows never cost an answer, and one answer names one trained version of each learner."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from definitions.declared import RouteDefinition
from definitions.encoder import Vector
from definitions.learners import ensemble
from definitions.values import ValueType
from online_models.executor import Executor, Scored, TrainedVersion
from online_models.learners.combining import Ensemble
from online_models.learners.describing import describe
from online_models.learners.restoring import LineUp
from online_models.routing import Arm
from online_models.snapshots import digest_of
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


# arms, fallbacks, ensembles and servers


def served(route: RouteDefinition, *scorers: Fixed, **more: Any) -> Executor:
    made = Executor(MODEL, clock=Ticking())
    made.put_all(LineUp({each.name: each for each in scorers}, **more))
    made.follow(route)
    return made


def both(by: str = "mean", **weights: float) -> Ensemble:
    definition = ensemble(*weights, weights=tuple(weights.values()), by=by).definition("both")
    data = describe(definition)
    return Ensemble(definition, data=data, digest=digest_of(data))


class Picky(Fixed):
    """A scorer that fails on one distance."""

    def score_many(self, vectors: Sequence[Vector]) -> list[float]:
        if any(vector[0] == 2.0 for vector in vectors):
            raise ZeroDivisionError("this distance")
        return super().score_many(vectors)


class Far:
    """A learner on a server that nobody runs: the tests hand its scores in."""

    name, digest, url, patience_ms = "far", "f0", "http://nowhere", 100

    def request(self, vectors: Sequence[Vector]) -> bytes:
        return b"%d" % len(vectors)

    def scores(self, body: bytes, *, expected: int) -> list[float]:
        return [float(body)] * expected


def test_each_vector_is_answered_by_its_arm_and_the_others_are_not_asked_for_it() -> None:
    route = RouteDefinition("offline", canary=("online", 0.5))
    serving = served(route, Fixed("offline", 1.0), Fixed("online", 10.0))
    turn = serving.begin(VECTORS, [Arm("online", "canary", 0.5), Arm("offline", "champion", 0.5)])

    batch = serving.answer(turn)

    assert [(each.score, each.by, each.role, each.reason) for each in batch.answers] == [
        (10.0, "online", "canary", None),
        (2.0, "offline", "champion", None),
    ]
    assert [batch.scores_of(each) for each in (0, 1)] == [{"online": 10.0}, {"offline": 2.0}]
    assert [[each.learner for each in batch.versions_of(index)] for index in (0, 1)] == [["online"], ["offline"]]


def test_where_a_canary_fails_the_champion_answers_as_degraded() -> None:
    route = RouteDefinition("offline", canary=("online", 0.5), fallback="second")
    serving = served(route, Fixed("offline", 1.0), Broken("online", 1.0), Fixed("second", 5.0))
    turn = serving.begin(VECTORS, [Arm("online", "canary", 0.5), Arm("offline", "champion", 0.5)])

    first, second = serving.answer(turn).answers

    assert (first.score, first.by, first.reason) == (1.0, "offline", "model_unavailable")
    assert first.message == "no score of online: failed"
    assert (second.by, second.reason) == ("offline", None)


def test_a_declared_fallback_answers_before_any_shadow() -> None:
    route = RouteDefinition("offline", ("online",), fallback="second")

    batch = served(route, Broken("offline", 1.0), Fixed("online", 10.0), Fixed("second", 5.0)).score(VECTORS)

    assert [(each.score, each.by, each.role) for each in batch.answers] == [
        (5.0, "second", "fallback"),
        (10.0, "second", "fallback"),
    ]


def test_a_constant_answers_where_nobody_else_does() -> None:
    route = RouteDefinition("offline", ("online",), fallback=0.25)

    batch = served(route, Broken("offline", 1.0), Fixed("online", 10.0)).score(VECTORS)

    assert {(each.score, each.by, each.reason) for each in batch.answers} == {(0.25, "constant", "model_unavailable")}
    assert [each.learner for each in batch.behind(batch.answers[0])] == ["online"]


def test_one_vector_that_a_learner_fails_on_costs_the_others_nothing() -> None:
    route = RouteDefinition("offline", fallback="online")

    batch = served(route, Picky("offline", 1.0), Fixed("online", 10.0)).score(VECTORS)

    assert [(each.score, each.by, each.reason) for each in batch.answers] == [
        (1.0, "offline", None),
        (20.0, "online", "model_unavailable"),
    ]
    assert [each.message for each in batch.failures] == ["ZeroDivisionError: this distance"]


def test_an_ensemble_asks_each_member_once_even_where_it_is_a_shadow_too() -> None:
    offline, online = Fixed("offline", 1.0), Fixed("online", 10.0)
    combiner = both(offline=3.0, online=1.0)
    serving = served(RouteDefinition("both", ("online",)), offline, online, combiners={"both": combiner})

    batch = serving.score(VECTORS)

    assert [each.score for each in batch.answers] == [(3 * 1.0 + 10.0) / 4, (3 * 2.0 + 20.0) / 4]
    assert (offline.asked, online.asked) == (1, 1)
    assert [(each.learner, each.role) for each in batch.behind(batch.answers[0])] == [
        ("both", "champion"),
        ("offline", "member"),
        ("online", "member"),
    ]


def test_an_ensemble_without_one_member_has_no_score_and_the_fallback_answers() -> None:
    combiner = both(offline=1.0, online=1.0)
    serving = served(RouteDefinition("both", fallback="online"), Fixed("online", 10.0), combiners={"both": combiner})

    [first, _] = serving.score(VECTORS).answers

    assert (first.score, first.by, first.message) == (10.0, "online", "no score of both: offline not loaded")


def test_log_odds_of_what_is_no_probability_are_a_failure() -> None:
    serving = served(
        RouteDefinition("both", fallback=0.5),
        Fixed("offline", 1.0),
        Fixed("online", 10.0),
        combiners={"both": both("logit", offline=1.0, online=1.0)},
    )

    assert {each.by for each in serving.score(VECTORS).answers} == {"constant"}


def test_log_odds_are_averaged() -> None:
    serving = served(
        RouteDefinition("both"),
        Fixed("offline", 0.1),
        Fixed("online", 0.45),
        combiners={"both": both("logit", offline=1.0, online=1.0)},
    )
    odds = (math.log(0.2 / 0.8) + math.log(0.9 / 0.1)) / 2

    assert math.isclose(serving.score(VECTORS).answers[1].score or 0.0, 1 / (1 + math.exp(-odds)), rel_tol=1e-12)


def test_a_server_s_scores_are_handed_in_between() -> None:
    serving = served(RouteDefinition("far", ("offline",)), Fixed("offline", 1.0), remotes={"far": Far()})
    turn = serving.begin(VECTORS)

    [call] = turn.calls()
    turn.give(call, [0.7, 0.8])
    batch = serving.answer(turn)

    assert serving.awaits
    assert call.vectors == tuple(VECTORS)
    assert [(each.score, each.by, each.reason) for each in batch.answers] == [(0.7, "far", None), (0.8, "far", None)]
    assert turn.shadow_calls() == []


def test_a_server_that_gave_nothing_is_replaced_and_the_answer_says_why() -> None:
    serving = served(RouteDefinition("far", ("offline",)), Fixed("offline", 1.0), remotes={"far": Far()})
    turn = serving.begin(VECTORS)

    for call in turn.calls():
        turn.fail(call, why="timeout", message="cannot ask far")
    batch = serving.answer(turn)

    assert {(each.by, each.reason, each.message) for each in batch.answers} == {
        ("offline", "model_unavailable", "no score of far: timeout")
    }


def test_a_server_is_asked_once_for_all_who_need_it_and_only_for_their_vectors() -> None:
    route = RouteDefinition("offline", weights=(("far", 0.3), ("both", 0.3)))
    serving = served(
        route, Fixed("offline", 1.0), combiners={"both": both(offline=1.0, far=1.0)}, remotes={"far": Far()}
    )
    vectors: list[Vector] = [*VECTORS, [3.0, "AA"]]
    arms = [Arm("far", "weighted", 0.3), Arm("offline", "champion", 0.4), Arm("both", "weighted", 0.3)]
    turn = serving.begin(vectors, arms)

    [call] = turn.calls()

    assert call.places == (0, 2)
    turn.give(call, [0.5, 0.6])
    assert [each.score for each in serving.answer(turn).answers] == [0.5, 2.0, (3.0 + 0.6) / 2]


def test_what_is_swapped_while_a_turn_waits_does_not_touch_it() -> None:
    serving = served(RouteDefinition("far", ("offline",)), Fixed("offline", 1.0, "old"), remotes={"far": Far()})
    turn = serving.begin(VECTORS)
    [call] = turn.calls()
    serving.put("offline", Fixed("offline", 3.0, "new"))
    serving.follow(RouteDefinition("offline"))

    turn.give(call, [0.7, 0.8])
    batch = serving.observe(turn, serving.answer(turn))

    assert batch.answered_by == "far"
    assert batch.scores["offline"] == [1.0, 2.0]
    assert {each.digest for each in batch.versions} == {"f0", "old"}


def test_a_route_without_servers_awaits_nobody() -> None:
    serving = served(RouteDefinition("offline"), Fixed("offline", 1.0), remotes={"far": Far()})

    assert not serving.awaits
    serving.follow(RouteDefinition("offline", ("far",)))
    assert serving.awaits
