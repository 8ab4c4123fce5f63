"""The record of what a graph answered: its first places, each with all that it was ranked by."""

from __future__ import annotations

import msgspec

from definitions.values import Value
from streams.messages import Version


class RankedPlace(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One place of an answer."""

    id: str | int
    score: float | None
    place: int
    """The candidate's place in the request, from 0 on."""
    values: list[Value]
    """As they were ranked by, in the order of `Ranking.names`."""
    ages_ms: list[int | None] = []
    """How old each value was, None of one that is no feature, or has none."""
    positions: dict[str, dict[str, int]] = {}
    """As `streams.messages.Prediction.positions`, of the views that were read of the candidate."""
    label_key: str | None = None
    """What its label will come with: its predictions have it too, in the outcomes of the models that were asked."""


class Ranking(msgspec.Struct, frozen=True, kw_only=True, tag="ranking", tag_field="kind"):
    """The record of one answer, in the graph's rankings topic, keyed by the request id."""

    request_id: str
    graph: str
    """``ranking.v1``."""
    definition: str
    """The digest of what decides its answers."""
    at_ms: int
    status: str
    reason: str | None = None
    degraded: list[str] = []
    entities: dict[str, str | int | None] = {}
    inputs: dict[str, Value] = {}
    """What the request itself carried."""
    names: list[str] = []
    """What is known of each place: ``view.feature``, inputs of candidates, columns of the graph by their name,
    ``model/input`` for an expression of a model's vector, ``model:learner`` for the score that a learner gave.
    """
    places: list[RankedPlace] = []
    """The first of the answer, as many as the graph declares with ``logged=``."""
    candidates: int = 0
    """How many the request brought."""
    answered: int = 0
    """How many the answer had."""
    versions: list[Version] = []
    """Everything that took part: learners as ``model.learner``, matrices."""
    releases: dict[str, str] = {}
    """Model to the digest of the release in force."""
    positions: dict[str, dict[str, int]] = {}
    """Of the views that were read of the request's own entities."""
    features_as_of: int | None = None
    traceparent: str | None = None
