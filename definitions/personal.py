"""``hr.personal``: what is particular to an entity, learned from its own examples beside a model of all of them.

A personal learner adds to the score of another learner, its *offset*, what its entities have shown to be different: a
few coefficients per entity, in log-odds for a label that is true or false, in the label's unit for a number. An entity
that nothing is known of adds nothing, so its score is the offset's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from definitions.declared import LearnerDefinition, PersonalDefinition
from definitions.declaring import Declaring, author_line, listed, near
from definitions.inputs import Vector
from definitions.learners import PERSONAL, Learner, is_number, one_of
from definitions.values import ValueType, shown

LOGISTIC, LINEAR = "logistic", "linear"
DIAGONAL, FULL = "diagonal", "full"
KEEP, ANEW = "keep", "anew"
FULL_MOST = 8
"""How many features may have a full covariance: it grows with their square."""

_NUMBERS = frozenset({ValueType.INT, ValueType.FLOAT, ValueType.BOOL})
_NAMING = frozenset({ValueType.INT, ValueType.CATEGORY})
By = str | tuple[str | tuple[str, ...], ...]


def personal(  # noqa: PLR0913  # one keyword for each thing that may be decided
    *,
    of: str,
    by: By,
    features: Sequence[str] = (),
    outcome: str = LOGISTIC,
    covariance: str = DIAGONAL,
    prior: float | None = None,
    forgetting: bool = True,
    rebase: str = KEEP,
    explore: float | None = None,
) -> Learner:
    """Learn online what is particular to each entity, on top of another learner's score.

    ``hr.personal(of="offline", by=("carrier", "tail", ("origin", "dest")), features=["distance_mi"])``

    Args:
        of: the learner whose score is the offset.
        by: whose coefficients are learned: entities of the request, or request inputs that are a text or an int. One
            name is one kind of entity; a tuple lists several kinds, which learn together and whose parts add up; a
            tuple inside it is one kind named by several values.
        features: numbers and bools of the model's vector, by name, that have a coefficient per entity. An intercept is
            always there. They are centred and scaled by what the first examples show.
        outcome: ``"logistic"`` for labels that are true or false, ``"linear"`` for numbers.
        covariance: ``"diagonal"``, or ``"full"`` for at most 8 features.
        prior: the variance of a coefficient among entities. None: fitted to the population as it is learned.
        forgetting: whether old examples may lose weight. Even then none do before the population has shown that
            forgetting would have helped.
        rebase: what becomes of the coefficients when ``of`` is another trained version: ``"keep"`` them, less sure, or
            begin ``"anew"``.
        explore: answer with a score drawn from what is believed (Thompson sampling); the number is the score from
            which callers act, by which the propensity is worked out that is logged.
    """
    declaring = Declaring("learner", author_line())
    if not isinstance(of, str) or not of:
        raise declaring.refusal("of= to name a learner", shown(of), 'write of="offline"')
    told = PersonalDefinition(
        by=_kinds(declaring, by),
        features=declaring.texts(features, "features"),
        outcome=one_of(declaring, "outcome", outcome, (LOGISTIC, LINEAR)),
        covariance=one_of(declaring, "covariance", covariance, (DIAGONAL, FULL)),
        prior=prior,
        forgetting=forgetting,
        rebase=one_of(declaring, "rebase", rebase, (KEEP, ANEW)),
        explore=explore,
    )
    problem = next(_contradictions(told), None)
    if problem is not None:
        raise declaring.refusal(*problem)
    return Learner(LearnerDefinition("", PERSONAL, members={of: 1.0}, personal=told))


def _contradictions(told: PersonalDefinition) -> Iterator[tuple[str, str, str]]:
    """Yield what was expected of a declaration, what was got and how to mend it."""
    if told.prior is not None and not (is_number(told.prior) and told.prior > 0):
        yield "prior= to be a variance above 0", shown(told.prior), "leave it out to have it fitted"
    if not isinstance(told.forgetting, bool):
        yield "forgetting= to be True or False", shown(told.forgetting), ""
    if told.explore is not None and not is_number(told.explore):
        yield "explore= to be the score from which callers act", shown(told.explore), "write explore=0.5"
    elif told.explore is not None and told.outcome == LOGISTIC and not 0.0 < told.explore < 1.0:
        yield "explore= to be a probability between 0 and 1", shown(told.explore), ""
    if len(set(told.features)) < len(told.features):
        yield "each feature once", shown(list(told.features)), ""
    if told.covariance == FULL and len(told.features) > FULL_MOST:
        mend = 'leave covariance="full" out, or name fewer'
        yield f"at most {FULL_MOST} features with a full covariance", str(len(told.features)), mend


def check_personal(declaring: Declaring, learner: LearnerDefinition, vector: Vector, where: str) -> None:
    """Refuse a personal learner whose entities a request does not name, or whose features the vector does not have."""
    told = learner.personal
    if told is None:
        return
    namable = {each.name: each.type for view in vector.views.values() for each in view.entity}
    namable |= {name: each.type for name, each in vector.requests.items() if each.type in _NAMING}
    for name in (part for kind in told.by for part in kind):
        if name not in namable:
            expected = f"by= of {learner.name} to name {listed(namable)}" if namable else "an entity or a request input"
            raise declaring.refusal(expected, repr(name), near(name, namable), where=where)
    numbers = [each.name for each in vector.inputs.values() if each.type in _NUMBERS]
    for name in told.features:
        if name not in numbers:
            expected = f"features= of {learner.name} to be numbers or bools of the vector"
            raise declaring.refusal(expected, repr(name), near(name, numbers), where=where)


def _kinds(declaring: Declaring, by: object) -> tuple[tuple[str, ...], ...]:
    given = (by,) if isinstance(by, str) else by
    mend = 'write by="tail", or by=("carrier", ("origin", "dest"))'
    if not isinstance(given, tuple | list) or not given:
        raise declaring.refusal("by= to name what has coefficients of its own", shown(by), mend)
    kinds = tuple((each,) if isinstance(each, str) else each for each in given)
    for kind in kinds:
        if not isinstance(kind, tuple) or not kind or not all(isinstance(name, str) and name for name in kind):
            raise declaring.refusal("by= to name entities", shown(by), mend)
    if len(set(kinds)) < len(kinds):
        raise declaring.refusal("each kind of entity once", shown(by))
    return kinds
