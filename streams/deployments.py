"""Deployments as the log has them: what is in force of a model, and what was before."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from streams.messages import Deployment
from streams.records import Record


@dataclass(frozen=True, slots=True)
class Deployed:
    """A deployment, and where and when the log took it."""

    deployment: Deployment
    since_ms: int
    """By the broker's clock, epoch ms."""
    offset: int

    def is_same(self, other: Deployment) -> bool:
        """Return whether the other one would put the same release in force by the same route."""
        own = self.deployment
        return (own.release, own.route) == (other.release, other.route)


def deployed_of(model: str, records: Iterable[Record]) -> list[Deployed]:
    """Return a model's deployments, the one in force first. Records that cannot be read are skipped, as roles do.

    Args:
        model: the model's name.
        records: of the deployments topic, in order.
    """
    found: list[Deployed] = []
    for record in records:
        try:
            deployment = msgspec.json.decode(record.value() or b"", type=Deployment)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
        if deployment.model == model:
            found.append(Deployed(deployment, record.timestamp()[1], record.offset()))
    return found[::-1]


def one_before(deployed: Sequence[Deployed]) -> Deployed | None:
    """Return what was in force before what is in force, None where nothing else was.

    Args:
        deployed: from `deployed_of`.
    """
    return next((each for each in deployed[1:] if not each.is_same(deployed[0].deployment)), None)
