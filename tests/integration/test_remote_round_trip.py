"""A learner on a server, behind a real Kafka: while it hangs callers are answered without it, then with it again."""

from __future__ import annotations

import asyncio

import pytest

from agents.client import ScoringClient
from agents.score import ScoringRole
from definitions.declared import RouteDefinition
from definitions.learners import open_inference
from streams import topics
from streams.messages import encode
from tests.builders import app_definition, model_definition, xgboost_learner
from tests.inference_servers import inference_server
from tests.integration.test_score_round_trip import QUESTION, TIMEOUT_MS, World, world
from tests.releases import deployment, release

pytestmark = [pytest.mark.kafka, pytest.mark.redis]

__all__ = ["world"]

CALLERS = 3
"""Fewer than the failures that open the circuit."""


async def test_a_server_that_hangs_costs_no_caller_an_answer(world: World) -> None:  # a fixture
    with inference_server(lambda _: 0.25) as server:
        far = open_inference(server.url, model="late", missing=0, timeout="2s").definition("far")
        route = RouteDefinition("far", fallback="offline")
        model = model_definition(learners=[far, xgboost_learner()], route=route)
        digest = release(model, world.context.artefacts)
        name = topics.deployments(world.context.namespace)
        await world.context.log.producer().produce(name, encode(deployment(model, digest)))
        app = app_definition(models=(model,), views=model.views)

        async with world.running(ScoringRole(app, world.context)):
            await world.served("scoring", 4)
            async with ScoringClient(world.context.namespace, log=world.context.log) as client:
                server.hold.clear()
                asked = (client.score("late", **QUESTION, timeout_ms=TIMEOUT_MS) for _ in range(CALLERS))
                without = await asyncio.gather(*asked)
                assert not server.hold.is_set()
                server.hold.set()
                again = [await client.score("late", **QUESTION, timeout_ms=TIMEOUT_MS) for _ in range(CALLERS)]

    assert [(each.status, list(each.scores), each.degraded) for each in without] == [
        ("degraded", ["offline"], ["far"])
    ] * CALLERS
    assert {each.message for each in without} == {"no score of far: timeout"}
    assert [(each.status, each.scores) for each in again] == [("ok", {"far": 0.25})] * CALLERS
