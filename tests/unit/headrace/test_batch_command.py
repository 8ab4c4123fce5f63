"""By which route a release that was just trained answers."""

from __future__ import annotations

from definitions.declared import RouteDefinition
from headrace.command.batch import route_kept
from streams.messages import Deployment
from tests.builders import model_definition

LATE = model_definition()
DIGEST = "0" * 64


def put(route: RouteDefinition) -> Deployment:
    return Deployment.of(LATE.name, DIGEST, route, at_ms=0)


def test_the_first_release_answers_by_the_authors_route() -> None:
    assert route_kept(LATE, []) == LATE.route


def test_a_canary_goes_on_with_a_new_release() -> None:
    champion, other = list(LATE.learners)[:2]
    rollout = RouteDefinition(champion, canary=(other, 0.05))

    assert route_kept(LATE, [put(rollout), put(LATE.route)]) == rollout


def test_a_route_to_a_learner_that_is_no_more_gives_way_to_the_authors() -> None:
    assert route_kept(LATE, [put(RouteDefinition("retired"))]) == LATE.route
