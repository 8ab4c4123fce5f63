"""Who answers whom: canaries, weights and fallbacks as a deployment brings them, told in every prediction."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest
from river.linear_model import LogisticRegression

from definitions.declared import RouteDefinition
from online_models.routing import arm_of
from streams.messages import Deployment, ScoreReply, encode
from tests.builders import model_definition, river_learner, xgboost_learner
from tests.releases import UNLUCKY, Touchy, linear, release
from tests.unit.agents.test_score import BODY, Scoring

LATE = model_definition(
    learners=[xgboost_learner(), river_learner(factory=linear), xgboost_learner("next")],
    route=RouteDefinition("offline"),
)
ENTITIES = [f"A{each}" for each in range(60)]


@pytest.fixture
async def scoring(tmp_path: Path) -> AsyncIterator[Scoring]:
    made = Scoring(LATE, tmp_path)
    await made.start()
    await made.deploy(release(LATE, made.artefacts))
    yield made
    await made.member.stop(1.0)


def routed(**route: Any) -> RouteDefinition:
    return replace(RouteDefinition("offline"), **route)


async def deployed(scoring: Scoring, route: RouteDefinition, *, result: str = "loaded") -> None:
    digest = release(LATE, scoring.artefacts)
    await scoring.deploy(digest, result=result, model=replace(LATE, route=route))


async def ask_all(scoring: Scoring) -> list[ScoreReply]:
    for entity in ENTITIES:
        await scoring.ask({**BODY, "entities": {"origin": entity}})
    return await scoring.replies()


async def test_a_canary_answers_its_entities_and_no_others(scoring: Scoring) -> None:
    route = routed(canary=("next", 0.3))
    await deployed(scoring, route)

    replies, predictions = await ask_all(scoring), await scoring.predictions()
    again = await ask_all(scoring)

    expected = [arm_of(route, "late.v1", entity=each, request_id="").learner for each in ENTITIES]
    assert 0 < expected.count("next") < len(ENTITIES)
    assert [list(each.scores) for each in replies] == [[each] for each in expected]
    assert [list(each.scores) for each in again] == [[each] for each in expected]
    assert [(each.status, each.degraded) for each in replies] == [("ok", [])] * len(ENTITIES)
    by_id = {each.request_id: each for each in predictions}
    for reply, learner in zip(replies, expected, strict=True):
        prediction = by_id[reply.request_id]
        assert (prediction.arm, prediction.champion, list(prediction.scores)) == (learner, learner, [learner])
        assert prediction.propensity == pytest.approx(0.3 if learner == "next" else 0.7)
        [version] = reply.versions
        assert (version.learner, version.role) == (learner, "canary" if learner == "next" else "champion")


async def test_weights_draw_for_each_request_and_the_draw_can_be_had_again(scoring: Scoring) -> None:
    route = routed(weights=(("next", 0.25), ("online", 0.25)))
    await deployed(scoring, route)

    await ask_all(scoring)
    predictions = await scoring.predictions()

    assert set(Counter(each.arm for each in predictions)) == {"offline", "next", "online"}
    for each in predictions:
        drawn = arm_of(route, "late.v1", entity="", request_id=each.request_id)
        assert (each.arm, each.propensity) == (drawn.learner, drawn.propensity)


async def test_a_route_changes_between_micro_batches_and_no_reply_mixes(scoring: Scoring) -> None:
    before = await ask_all(scoring)
    await deployed(scoring, routed(canary=("next", 1.0)))

    after = await ask_all(scoring)

    assert {tuple(each.scores) for each in before} == {("offline",)}
    assert {tuple(each.scores) for each in after} == {("next",)}
    assert all(len(each.versions) == 1 for each in (*before, *after))


@pytest.mark.parametrize(
    "route",
    [
        {"canary": ("nobody", 0.5)},
        {"canary": ("next", 1.5)},
        {"weights": (("next", 0.9), ("online", 0.9))},
        {"fallback": "nobody"},
        {"shadow": ("nobody",)},
        {"champion": "nobody"},
    ],
)
async def test_a_route_that_cannot_be_is_refused_and_the_old_one_stays(scoring: Scoring, route: dict[str, Any]) -> None:
    await deployed(scoring, routed(**route), result="refused")

    assert list((await scoring.answer()).scores) == ["offline"]


def test_a_deployment_of_an_older_headrace_is_read_as_it_was_meant() -> None:
    old = {"model": "late", "release": "r", "champion": "offline", "shadow": ["online"], "at_ms": 1}

    read = msgspec.json.decode(json.dumps(old).encode(), type=Deployment)

    assert read.route == RouteDefinition("offline", ("online",))


@pytest.mark.parametrize(
    "route",
    [
        RouteDefinition("offline", ("online",), 0.25, ("next", 0.5)),
        RouteDefinition("offline", (), "online", None, (("next", 0.5),)),
    ],
)
def test_a_deployment_carries_the_whole_route(route: RouteDefinition) -> None:
    read = msgspec.json.decode(encode(Deployment.of("late", "r", route, at_ms=1)), type=Deployment)

    assert read.route == route


class Watching(LogisticRegression):
    """An estimator that notes what was already answered when it is asked."""

    looked: ClassVar[list[float]] = []
    look: ClassVar[Callable[[], float]] = staticmethod(lambda: -1.0)

    def predict_proba_one(self, x: dict[Any, Any], **_: Any) -> dict[Any, float]:
        self.looked.append(type(self).look())
        return dict(super().predict_proba_one(x))


async def test_replies_go_out_before_any_shadow_is_scored_and_predictions_after(tmp_path: Path) -> None:
    model = model_definition(learners=[xgboost_learner(), river_learner(factory=Watching)])
    scoring = Scoring(model, tmp_path)
    await scoring.start()
    await scoring.deploy(release(model, scoring.artefacts))
    Watching.looked.clear()
    Watching.look = staticmethod(lambda: scoring.outcomes("ok") - scoring.count("predictions_logged", model="late"))

    for _ in range(3):
        await scoring.ask()
    replies = await scoring.replies()

    assert [each.status for each in replies] == ["ok"] * 3
    assert Watching.looked == [3.0, 3.0, 3.0]
    assert [set(each.scores) for each in await scoring.predictions()] == [{"offline", "online"}] * 3
    await scoring.member.stop(1.0)


async def test_a_fallback_answers_only_whom_the_champion_fails(tmp_path: Path) -> None:
    learners = [river_learner(factory=Touchy), xgboost_learner()]
    model = model_definition(learners=learners, route=RouteDefinition("online", fallback="offline"))
    scoring = Scoring(model, tmp_path)
    await scoring.start()
    await scoring.deploy(release(model, scoring.artefacts))

    for far in (10.0, UNLUCKY, 20.0):
        await scoring.ask({**BODY, "inputs": {"distance": far, "carrier": "UA"}})
    replies = await scoring.replies()

    assert [(each.status, list(each.scores), each.degraded) for each in replies] == [
        ("ok", ["online"], []),
        ("degraded", ["offline"], ["online"]),
        ("ok", ["online"], []),
    ]
    assert replies[1].message == "no score of online: failed"
    await scoring.member.stop(1.0)
