"""Which learner answers a request: by the route, the entity and the request, and by nothing else.

Drawn by hash, so the same request always goes the same way, on every executor and in every replay.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from definitions.declared import RouteDefinition

CHAMPION = "champion"
CANARY = "canary"
WEIGHTED = "weighted"

_BITS = 64


@dataclass(frozen=True, slots=True)
class Arm:
    """The learner that a request was given to, as what, and with which probability."""

    learner: str
    role: str
    propensity: float


def arm_of(route: RouteDefinition, model: str, *, entity: str, request_id: str) -> Arm:
    """Return who answers a request.

    A canary's entities stay with it for as long as its share does not shrink: a greater share adds entities and takes
    none away. Weights draw anew for each request.

    Args:
        route: of the model.
        model: the model's key: two models do not try their canaries on the same entities.
        entity: what the request is about, as one text.
        request_id: its position.

    Cost: 1.5 us; nothing where the route has neither canary nor weights.
    """
    if route.canary is not None:
        learner, share = route.canary
        if _drawn(f"{model}\0canary\0{entity}") < share:
            return Arm(learner, CANARY, share)
        return Arm(route.champion, CHAMPION, 1.0 - share)
    place = _drawn(f"{model}\0weights\0{request_id}") if route.weights else 1.0
    edge = 0.0
    for learner, share in route.weights:
        edge += share
        if place < edge:
            return Arm(learner, WEIGHTED, share)
    return Arm(route.champion, CHAMPION, max(0.0, 1.0 - edge))


def _drawn(key: str) -> float:
    """Return a number in [0, 1) that looks like chance and is a function of the key."""
    digest = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=_BITS // 8).digest()
    # 53 bits: what a float holds exactly, so that no key is rounded up to 1.
    return (int.from_bytes(digest, "big") >> 11) * 2.0**-53
