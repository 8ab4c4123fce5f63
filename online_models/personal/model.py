"""The mathematics of a personal model: what is believed of some entities, and what an example changes in it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from definitions.declared import Input, LearnerDefinition
from definitions.encoder import Vector
from definitions.personal import ANEW, FULL, LINEAR
from definitions.values import Value
from online_models.errors import LabelRefused, LearnerUnusable
from online_models.personal.believing import LEAST_CURVATURE, Belief, Covariates, believe, take_in, weaken
from online_models.personal.evidence import Evidence, Float64s
from online_models.personal.exploring import propensity_of_side
from online_models.personal.population import MEASURED, Population

KEPT = 0.25
"""What evidence relative to another version of the offset still weighs: the same means, half as sure."""
_SUREST = 1e-9


@dataclass(frozen=True, slots=True)
class Recalled:
    """What the entities of one request add to the offset, on its scale: log-odds, or the label's unit."""

    adds: float
    deviation: float
    """The standard deviation of `adds`, as far as the coefficients are not known."""
    known: Mapping[str, int]
    """Kind of entity to how many examples of it were learned; kinds that the request does not name are not in it."""


@dataclass(frozen=True, slots=True)
class Instance:
    """An example as a personal model learns it."""

    vector: Vector
    offset: float
    """The score of the learner that this one rests on, as served."""
    digest: str
    """Of the trained version that gave it; empty where that is learned online itself."""
    label: Value
    at_ms: int


class PersonalModel:
    """One declared personal learner. Holds no state: evidence and population are arguments.

    Cost: `tests.bench.personal_update` measures an update.
    """

    def __init__(self, definition: LearnerDefinition, inputs: Sequence[Input]) -> None:
        told = definition.personal
        if told is None:
            raise LearnerUnusable(f"cannot build learner: {definition.name}: expected a personal one")
        places = {each.name: place for place, each in enumerate(inputs)}
        self.name = definition.name
        self.kinds = tuple(",".join(kind) for kind in told.by)
        self.offset = next(iter(definition.members))
        self.explore = told.explore
        self._told = told
        self._places = [places[name] for name in told.features]
        self._width = 1 + len(self._places)
        self._is_linear = told.outcome == LINEAR
        self._is_full = told.covariance == FULL

    def population(self) -> Population:
        """Return what is known of all entities before the first example."""
        return Population.empty(kinds=len(self.kinds), features=len(self._places), prior=self._told.prior)

    def fresh(self, population: Population) -> Evidence:
        """Return the evidence about an entity that was never seen."""
        return Evidence.empty(self._width, full=self._is_full, base=population.base)

    def recall(
        self, vector: Vector, evidence: Sequence[Evidence | None], population: Population, digest: str
    ) -> Recalled:
        """Return what a request's entities add.

        Args:
            vector: the request's.
            evidence: per kind; None where the request names no entity of it. Brought to the version in force.
            population: of the same time.
            digest: of the offset's trained version that serves; if nothing was learned on it yet, evidence counts as
                relative to the version before.
        """
        base = population.base + (digest != population.digest)
        beliefs = self._beliefs(self._covariates(vector, population), evidence, population, base)
        known = {kind: each.n for kind, each in zip(self.kinds, evidence, strict=True) if each is not None}
        adds = math.fsum(belief.adds for belief in beliefs if belief is not None)
        variance = math.fsum(belief.variance for belief in beliefs if belief is not None)
        return Recalled(adds, math.sqrt(variance), known)

    def score(self, offset: float, adds: float) -> float:
        """Return the score of an offset and what is added to it; with nothing added it is the offset, to the bit.

        Raises:
            LearnerUnusable: log-odds are to be added to what is no probability.
        """
        if self._is_linear:
            return offset + adds
        log_odds = self._log_odds(offset)
        return offset if adds == 0.0 else _probability(log_odds + adds)

    def propensity(self, offset: float, recalled: Recalled, added: float) -> float:
        """Return how probable it was that a drawn answer is on its side of the score from which callers act.

        1 where answers are not drawn.
        """
        if self.explore is None:
            return 1.0
        base, threshold = (
            (offset, self.explore) if self._is_linear else (self._log_odds(offset), self._log_odds(self.explore))
        )
        return propensity_of_side(base + recalled.adds, recalled.deviation, threshold=threshold, drawn=base + added)

    def learn(self, example: Instance, evidence: Sequence[Evidence | None], population: Population) -> float | None:
        """Learn one example, test then train: change evidence and population; return the score given before.

        None where nothing is learned: its offset is of a version that was replaced, and evidence began anew since.

        Raises:
            LabelRefused, LearnerUnusable: the label or the offset is not what this learner learns. Nothing was changed.
        """
        target = self._target(example.label)
        offset = example.offset if self._is_linear else self._log_odds(example.offset)
        if not population.meet(example.digest, example.at_ms) and self._told.rebase == ANEW:
            return None
        covariates = self._covariates(example.vector, population)
        beliefs = self._beliefs(covariates, evidence, population, population.base)
        there = [(each, belief) for each, belief in zip(evidence, beliefs, strict=True) if each and belief]
        total = offset + math.fsum(belief.adds for _, belief in there)
        variance = math.fsum(belief.variance for _, belief in there)
        gradient, curvature = self._slopes(total, target, variance, population)
        self._note(evidence, beliefs, gradient, population)
        for kind, (each, belief) in enumerate(zip(evidence, beliefs, strict=True)):
            if each is not None and belief is not None:
                rate = population.kinds[kind].forgetting.rate if self._told.forgetting else 0.0
                take_in(each, belief, covariates, gradient=gradient, curvature=curvature, variance=variance, rate=rate)
        if self._places and population.measured < MEASURED:
            population.measure(np.array([example.vector[place] for place in self._places], dtype=np.float64))
        population.learned += 1
        return self.score(example.offset, total - offset) if there else example.offset

    def _covariates(self, vector: Vector, population: Population) -> Covariates:
        """Return 1 for the intercept, and every feature centred and scaled; 0 where it is missing or unmeasured."""
        values = np.ones(self._width)
        if self._places:
            given = [vector[place] for place in self._places]
            values[1:] = population.scaled(np.array(given, dtype=np.float64))
            if None in given:
                values[np.isnan(values)] = 0.0
        return Covariates.of(values)

    def _beliefs(
        self, covariates: Covariates, evidence: Sequence[Evidence | None], population: Population, base: int
    ) -> list[Belief | None]:
        unit = population.variance if self._is_linear else 1.0
        found: list[Belief | None] = []
        for each, kind in zip(evidence, population.kinds, strict=True):
            if each is None:
                found.append(None)
                continue
            precisions = kind.precisions if unit == 1.0 else kind.precisions / unit
            if each.base != base:
                self._rebase(each, precisions, base)
            found.append(believe(each, precisions, covariates))
        return found

    def _rebase(self, evidence: Evidence, precisions: Float64s, base: int) -> None:
        """Make evidence relative to another version of the offset, by the declared rule."""
        if self._told.rebase == ANEW:
            fresh = Evidence.empty(self._width, full=self._is_full, base=base)
            evidence.strength, evidence.pull, evidence.n = fresh.strength, fresh.pull, 0
        elif evidence.n:
            weaken(evidence, KEPT, precisions)
        evidence.base, evidence.fading = base, (0.0, 0.0)

    def _slopes(self, total: float, target: float, variance: float, population: Population) -> tuple[float, float]:
        """Return the log-likelihood's gradient and curvature at a score on the offset's scale."""
        if not self._is_linear:
            probability = _probability(total)
            return target - probability, max(LEAST_CURVATURE, probability * (1.0 - probability))
        residual = target - total
        noise = population.variance if population.noise[0] else residual * residual or 1.0
        summed, weight = population.noise
        population.noise = (summed + residual * residual * noise / (noise + variance), weight + 1.0)
        return residual / noise, 1.0 / noise

    def _note(
        self,
        evidence: Sequence[Evidence | None],
        beliefs: Sequence[Belief | None],
        gradient: float,
        population: Population,
    ) -> None:
        """Let the population take in what is known of the entities before they learn."""
        unit = population.variance if self._is_linear else 1.0
        for each, belief, kind in zip(evidence, beliefs, population.kinds, strict=True):
            if each is None or belief is None:
                continue
            if not each.n:
                kind.begun += 1
            elif self._told.prior is None and not each.n & (each.n - 1):
                kind.visit(belief.means, belief.variances, unit)
            if self._told.forgetting:
                strength, pull = each.fading
                slope = float(belief.variances[0]) * (pull - float(belief.means[0]) * strength)
                kind.forgetting.judge(gradient * slope)

    def _target(self, label: Value) -> float:
        if not self._is_linear and isinstance(label, bool):
            return float(label)
        is_number = self._is_linear and isinstance(label, int | float) and not isinstance(label, bool)
        if is_number and math.isfinite(label):  # type: ignore[arg-type]
            return float(label)  # type: ignore[arg-type]
        expected = "a finite number" if self._is_linear else "true or false"
        raise LabelRefused(f"cannot learn: {self.name}: expected {expected} as label, got {label!r}")

    def _log_odds(self, score: float) -> float:
        if not 0.0 <= score <= 1.0:
            raise LearnerUnusable(
                f"cannot score: {self.name}: expected {self.offset} to give a probability, got {score}; "
                'write outcome="linear" for numbers'
            )
        within = min(1.0 - _SUREST, max(_SUREST, score))
        return math.log(within / (1.0 - within))


def _probability(log_odds: float) -> float:
    if log_odds >= 0.0:
        return 1.0 / (1.0 + math.exp(-min(log_odds, 700.0)))
    grown = math.exp(max(log_odds, -700.0))
    return grown / (1.0 + grown)
