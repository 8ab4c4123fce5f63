"""Personal learners as authors declare them, and what they must not say."""

from __future__ import annotations

import pytest

from definitions.declared import ModelDefinition
from definitions.errors import DefinitionError
from tests.builders import EVENTS, VIEW, declare

MODEL = """\
class Late(hr.Model, version=1):
    features = [OriginTraffic.flights["1h"], hr.request("distance", float), hr.request("carrier", str)]
    label = hr.Label(Arrived, key="flight_id", value=Arrived.late, within="24h")
    offline = hr.xgboost(objective="binary:logistic")
    both = hr.ensemble("offline", "second")
    second = hr.xgboost(objective="binary:logistic")
    own = {own}
    route = hr.Route(champion="own", fallback="offline")
"""


def model(own: str) -> ModelDefinition:
    definition = declare(EVENTS, VIEW, MODEL.format(own=own))["Late"].definition
    assert isinstance(definition, ModelDefinition)
    return definition


def test_a_personal_learner_says_whose_coefficients_are_learned_on_top_of_what() -> None:
    found = model('hr.personal(of="offline", by=("origin", ("origin", "carrier")), features=["distance"])')
    own = found.learners["own"]

    assert found.personal == (own,)
    assert (own.kind, dict(own.members)) == ("personal", {"offline": 1.0})
    assert own.personal is not None
    assert own.personal.by == (("origin",), ("origin", "carrier"))
    assert own.personal.named_by == ("origin", "carrier")
    assert own.personal.features == ("distance",)


@pytest.mark.parametrize(
    "changed",
    [
        'of="second", by="origin"',
        'of="offline", by="carrier"',
        'of="offline", by="origin", features=["distance"]',
        'of="offline", by="origin", covariance="full"',
        'of="offline", by="origin", prior=0.1',
        'of="offline", by="origin", forgetting=False',
        'of="offline", by="origin", rebase="anew"',
        'of="offline", by="origin", explore=0.5',
    ],
)
def test_everything_it_says_is_part_of_its_models_identity(changed: str) -> None:
    plain = model('hr.personal(of="offline", by="origin")')

    assert model(f"hr.personal({changed})").digest != plain.digest
    assert model('hr.personal(of="offline", by=("origin",))').digest == plain.digest


@pytest.mark.parametrize(
    ("own", "refusal"),
    [
        ('hr.personal(of="offlin", by="origin")', "own to rest on one of offline, second, got 'offlin'"),
        ('hr.personal(of="both", by="origin")', "own to rest on one of offline, second, got 'both'"),
        ('hr.personal(of="offline", by="tail")', "by= of own to name one of origin, carrier, got 'tail'"),
        ('hr.personal(of="offline", by=())', "by= to name what has coefficients of its own"),
        ('hr.personal(of="offline", by=("origin", "origin"))', "each kind of entity once"),
        ('hr.personal(of="offline", by="origin", features=["carrier"])', "features= of own to be numbers or bools"),
        ('hr.personal(of="offline", by="origin", features=["distance"] * 2)', "each feature once"),
        ('hr.personal(of="offline", by="origin", prior=0)', "prior= to be a variance above 0, got 0"),
        ('hr.personal(of="offline", by="origin", explore=1)', "explore= to be a probability between 0 and 1"),
        ('hr.personal(of="offline", by="origin", forgetting=0.99)', "forgetting= to be True or False"),
        ('hr.personal(of="offline", by="origin", rebase="drop")', "rebase= to be"),
        ('hr.personal(of="offline", by="origin", outcome="poisson")', "outcome= to be"),
        (
            'hr.personal(of="offline", by="origin", covariance="full", features=list("abcdefghi"))',
            "at most 8 features with a full covariance",
        ),
        ('hr.personal(of="", by="origin")', "of= to name a learner"),
    ],
)
def test_a_declaration_that_cannot_be_is_refused(own: str, refusal: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        model(own)

    assert refusal in str(caught.value)
    assert "app.py:19: expected" in str(caught.value)
