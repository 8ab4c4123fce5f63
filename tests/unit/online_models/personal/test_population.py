"""What a population shows of its entities: the prior, forgetting, scales, noise and versions of the offset."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from definitions.declared import Input
from definitions.values import ValueType
from online_models.errors import LabelRefused, LearnerUnusable
from online_models.personal import Evidence, Instance, PersonalModel, Population
from online_models.personal.exploring import draw, propensities, propensity_of_side
from online_models.personal.population import MEASURED
from tests.builders import personal_learner

DISTANCE = (Input("distance", ValueType.FLOAT),)
BY = (("carrier",),)


def probability(log_odds: float) -> float:
    return 1 / (1 + math.exp(-log_odds))


def play(
    model: PersonalModel,
    *,
    spread: float,
    entities: int = 150,
    each: int = 40,
    flips_at: int | None = None,
    seed: int = 1,
) -> tuple[Population, float]:
    """Let entities whose intercepts have a spread learn; return the population and the mean log loss."""
    chance = random.Random(seed)
    population, lost = model.population(), 0.0
    own = [chance.gauss(0, spread) for _ in range(entities)]
    evidence = [model.fresh(population) for _ in range(entities)]
    for number in range(entities * each):
        who = number % entities
        if flips_at is not None and number and number % (flips_at * entities) == 0:
            own = [chance.gauss(0, spread) for _ in range(entities)]
        label = chance.random() < probability(own[who])
        score = model.learn(Instance([0.0], 0.5, "v", label, 1), [evidence[who]], population)
        assert score is not None
        lost -= math.log(score if label else 1 - score)
    return population, lost / (entities * each)


@pytest.mark.parametrize("spread", [0.1, 0.5, 1.0])
def test_the_prior_is_fitted_to_how_much_entities_differ(spread: float) -> None:
    population, _ = play(PersonalModel(personal_learner(by=BY, features=()), DISTANCE), spread=spread)
    fitted = 1 / math.sqrt(population.kinds[0].precisions[0])

    assert spread / 1.7 < fitted < spread * 1.7
    assert population.kinds[0].begun == 150


def test_a_prior_that_is_declared_stays() -> None:
    population, _ = play(PersonalModel(personal_learner(by=BY, features=(), prior=0.3), DISTANCE), spread=1.0)

    assert 1 / population.kinds[0].precisions[0] == pytest.approx(0.3)


def test_a_stable_world_is_not_forgotten() -> None:
    remembering = personal_learner(by=BY, features=(), forgetting=False)
    population, lost = play(PersonalModel(personal_learner(by=BY, features=()), DISTANCE), spread=0.8, each=60)
    _, without = play(PersonalModel(remembering, DISTANCE), spread=0.8, each=60)

    assert population.kinds[0].forgetting.rate == 0.0
    assert lost == without


def test_a_world_that_changes_is_forgotten_and_that_helps() -> None:
    told = {"spread": 1.5, "each": 200, "flips_at": 40, "entities": 100}
    forgetful = PersonalModel(personal_learner(by=BY, features=()), DISTANCE)
    population, lost = play(forgetful, **told)  # type: ignore[arg-type]
    _, without = play(PersonalModel(personal_learner(by=BY, features=(), forgetting=False), DISTANCE), **told)  # type: ignore[arg-type]

    assert population.kinds[0].forgetting.rate > 0.005
    assert lost < without - 0.01


def test_features_have_coefficients_once_their_scales_are_known() -> None:
    model, chance = PersonalModel(personal_learner(by=BY), DISTANCE), random.Random(2)
    population = model.population()
    evidence = [model.fresh(population)]
    given = [chance.gauss(1_000, 300) for _ in range(MEASURED)]
    for distance in given:
        model.learn(Instance([distance], 0.5, "v", distance > 1_000, 1), evidence, population)
    assert evidence[0].strength[1] == 0.0
    assert (population.centres[0], population.squares[0]) == pytest.approx((np.mean(given), np.std(given)))

    for distance in given:
        model.learn(Instance([distance], 0.5, "v", distance > 1_000, 1), evidence, population)
    near, far = [model.recall([distance], evidence, population, "v").adds for distance in (700.0, 1_300.0)]
    assert far > near + 1.0


def test_numbers_are_learned_in_their_own_unit() -> None:
    """The noise is measured, and an entity that is 20 minutes later than the offset says so."""
    told = personal_learner(by=BY, features=(), outcome="linear")
    model, chance = PersonalModel(told, DISTANCE), random.Random(3)
    population = model.population()
    evidence = [model.fresh(population) for _ in range(30)]
    own = [chance.gauss(0, 20) for _ in evidence]
    for number in range(30 * 60):
        who = number % 30
        label = 100 + own[who] + chance.gauss(0, 10)
        model.learn(Instance([0.0], 100.0, "v", label, 1), [evidence[who]], population)

    assert math.sqrt(population.variance) == pytest.approx(10, rel=0.15)
    for each, true in zip(evidence, own, strict=True):
        recalled = model.recall([0.0], [each], population, "v")
        assert abs(recalled.adds - true) < 5 * recalled.deviation
        assert recalled.deviation == pytest.approx(10 / math.sqrt(60), rel=0.4)


def test_labels_and_offsets_of_another_kind_are_refused_and_change_nothing() -> None:
    model = PersonalModel(personal_learner(by=BY), DISTANCE)
    population = model.population()
    before = population.to_bytes()
    for label in (1, 1.0, None, "yes"):
        with pytest.raises(LabelRefused, match="own: expected true or false as label"):
            model.learn(Instance([1.0], 0.5, "v", label, 1), [model.fresh(population)], population)
    with pytest.raises(
        LearnerUnusable, match=r'expected offline to give a probability, got 1\.5; write outcome="linear"'
    ):
        model.learn(Instance([1.0], 1.5, "v", True, 1), [model.fresh(population)], population)
    linear = PersonalModel(personal_learner(by=BY, outcome="linear"), DISTANCE)
    for label in (True, math.nan, math.inf, "1"):
        with pytest.raises(LabelRefused, match="expected a finite number"):
            linear.learn(Instance([1.0], 0.5, "v", label, 1), [linear.fresh(population)], population)

    assert population.to_bytes() == before


def test_bytes_that_are_no_evidence_are_refused() -> None:
    data = Evidence.empty(3, full=True, base=1).to_bytes()

    assert Evidence.from_bytes(data).to_bytes() == data
    for bad in (b"", data[:10], data[:-4], data + b"1234", data[:-1]):
        with pytest.raises(ValueError, match="cannot read evidence"):
            Evidence.from_bytes(bad)


def test_draws_vary_by_the_variance_and_not_by_the_precision() -> None:
    """The trap of the reference: variances of 0.0001 and 100 give draws of 0.01 and 10, not the other way round."""
    for deviation in (0.01, 10.0):
        drawn = [draw(2.0, deviation, seed=f"request/{number}") for number in range(10_000)]
        assert np.mean(drawn) == pytest.approx(2.0, abs=4 * deviation / 100)
        assert np.var(drawn) == pytest.approx(deviation**2, rel=0.05)
    assert draw(0.0, 1.0, seed="a") == draw(0.0, 1.0, seed="a") != draw(0.0, 1.0, seed="b")


def test_a_draw_varies_as_the_belief_about_its_coefficients_does() -> None:
    """x.S.x of the belief, by evidence read by hand, is the variance of what is drawn."""
    model = PersonalModel(personal_learner(by=BY, prior=0.5, covariance="full"), DISTANCE)
    population = model.population()
    population.measured, population.squares = MEASURED, np.ones(1)
    evidence = [model.fresh(population)]
    for number in range(30):
        model.learn(Instance([math.sin(number)], 0.5, "v", number % 3 == 0, 1), evidence, population)
    one, two, three = evidence[0].strength.astype(float)
    covariance = np.linalg.inv(np.array([[one, two], [two, three]]) + np.eye(2) / 0.5)
    recalled = model.recall([1.5], evidence, population, "v")
    drawn = [draw(recalled.adds, recalled.deviation, seed=str(number)) for number in range(10_000)]

    assert np.var(drawn) == pytest.approx(np.array([1, 1.5]) @ covariance @ np.array([1, 1.5]), rel=0.05)


def test_propensities_are_the_shares_of_draws() -> None:
    chance = np.random.default_rng(5)
    means, deviations = [0.0, 0.3, -0.5, 0.1], [1.0, 0.5, 2.0, 0.8]
    drawn = chance.normal(means, deviations, (200_000, 4))
    shares = np.bincount(drawn.argmax(axis=1), minlength=4) / len(drawn)

    assert propensities(means, deviations) == pytest.approx(shares, abs=0.005)
    assert propensity_of_side(0.5, 2.0, threshold=0.0, drawn=1.0) == pytest.approx(
        float((chance.normal(0.5, 2.0, 200_000) > 0).mean()), abs=0.005
    )
    assert propensity_of_side(0.5, 0.0, threshold=0.0, drawn=0.5) == 1.0


def test_sampling_finds_the_best_of_ten_arms() -> None:
    """A bandit of ten arms: regret no worse than 1.1 times that of textbook Beta sampling, over the same worlds."""
    ours = textbook = 0.0
    for world in range(4):
        chance = random.Random(world)
        rates = [chance.uniform(0.1, 0.6) for _ in range(10)]
        model = PersonalModel(personal_learner(by=BY, features=(), prior=1.0, forgetting=False), DISTANCE)
        population = model.population()
        evidence = [model.fresh(population) for _ in rates]
        beta = [[1, 1] for _ in rates]
        for step in range(500):
            drawn = []
            for arm, each in enumerate(evidence):
                recalled = model.recall([0.0], [each], population, "v")
                drawn.append(draw(recalled.adds, recalled.deviation, seed=f"{world}/{step}/{arm}"))
            chosen = int(np.argmax(drawn))
            model.learn(Instance([0.0], 0.35, "v", chance.random() < rates[chosen], 1), [evidence[chosen]], population)
            ours += max(rates) - rates[chosen]
            chosen = int(np.argmax([chance.betavariate(*each) for each in beta]))
            beta[chosen][chance.random() >= rates[chosen]] += 1
            textbook += max(rates) - rates[chosen]

    assert ours <= 1.1 * textbook
