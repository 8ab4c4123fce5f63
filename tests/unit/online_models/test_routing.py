"""A share is a share, an entity stays where it is, and a growing canary takes nobody back."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from definitions.declared import RouteDefinition
from online_models.routing import Arm, arm_of

SHARES = st.floats(0.0, 1.0)
TEXTS = st.text(max_size=40)


def canary(share: float) -> RouteDefinition:
    return RouteDefinition("offline", canary=("next", share))


def weighted(**weights: float) -> RouteDefinition:
    return RouteDefinition("offline", weights=tuple(weights.items()))


def within(found: int, share: float, of: int) -> bool:
    """Say whether a binomial count is within 5 standard deviations: less than once in a million otherwise."""
    return abs(found - share * of) <= 5 * math.sqrt(of * share * (1 - share)) + 1e-9


@given(TEXTS, TEXTS)
def test_without_shares_the_champion_answers_for_certain(entity: str, request_id: str) -> None:
    arm = arm_of(RouteDefinition("offline", ("online",)), "late.v1", entity=entity, request_id=request_id)

    assert arm == Arm("offline", "champion", 1.0)


@given(SHARES, TEXTS, TEXTS, TEXTS)
def test_an_entity_stays_with_its_arm_whatever_the_request(share: float, entity: str, first: str, second: str) -> None:
    arms = {arm_of(canary(share), "late.v1", entity=entity, request_id=each) for each in (first, second)}

    assert len(arms) == 1


@given(SHARES, SHARES, TEXTS)
def test_a_growing_canary_keeps_its_entities(one: float, other: float, entity: str) -> None:
    small, large = sorted((one, other))
    before = arm_of(canary(small), "late.v1", entity=entity, request_id="")
    after = arm_of(canary(large), "late.v1", entity=entity, request_id="")

    assert before.learner == "offline" or after.learner == "next"


@given(TEXTS)
def test_a_share_of_none_and_of_all(entity: str) -> None:
    assert arm_of(canary(0.0), "late.v1", entity=entity, request_id="").learner == "offline"
    assert arm_of(canary(1.0), "late.v1", entity=entity, request_id="") == Arm("next", "canary", 1.0)


@given(st.sampled_from([0.01, 0.05, 0.25, 0.5, 0.9]), st.integers(0, 10_000))
def test_a_canary_has_its_share_of_entities(share: float, seed: int) -> None:
    arms = [arm_of(canary(share), "late.v1", entity=f"{seed}-{each}", request_id="") for each in range(2_000)]

    assert within(sum(arm.learner == "next" for arm in arms), share, len(arms))
    assert {arm.propensity for arm in arms} <= {share, 1.0 - share}


@given(st.integers(0, 10_000))
def test_weights_have_their_shares_of_requests_and_say_how_probable_they_were(seed: int) -> None:
    route = weighted(online=0.2, net=0.3)
    arms = [arm_of(route, "late.v1", entity="JFK", request_id=f"{seed}@{each}") for each in range(2_000)]
    counts = {name: sum(arm.learner == name for arm in arms) for name in ("online", "net", "offline")}

    for name, share in (("online", 0.2), ("net", 0.3), ("offline", 0.5)):
        assert within(counts[name], share, len(arms))
    propensities = {arm.learner: round(arm.propensity, 12) for arm in arms}
    assert propensities == {"online": 0.2, "net": 0.3, "offline": 0.5}
    assert {arm.role for arm in arms} == {"weighted", "champion"}


def test_two_models_do_not_try_their_canaries_on_the_same_entities() -> None:
    entities = [str(each) for each in range(4_000)]
    first, second = (
        {each for each in entities if arm_of(canary(0.5), key, entity=each, request_id="").learner == "next"}
        for key in ("late.v1", "fraud.v1")
    )

    assert within(len(first & second), 0.25, len(entities))


@given(TEXTS, TEXTS)
def test_the_same_request_always_goes_the_same_way(entity: str, request_id: str) -> None:
    route = weighted(online=0.5)

    assert arm_of(route, "late.v1", entity=entity, request_id=request_id) == arm_of(
        route, "late.v1", entity="another", request_id=request_id
    )


def test_the_draw_is_fixed_for_ever() -> None:
    """Executors of different releases of headrace must agree: these are the values of today."""
    drawn = [arm_of(canary(0.5), "late.v1", entity=str(each), request_id="").learner for each in range(24)]

    assert "".join("C" if each == "next" else "c" for each in drawn) == "cCCCCCCcccCccccCcCCccCcC"
