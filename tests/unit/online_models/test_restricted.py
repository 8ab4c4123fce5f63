"""A pickle may name what its learner is made of, and nothing else."""

from __future__ import annotations

import os
import pickle
from typing import Any

import pytest
from river import feature_extraction, linear_model, preprocessing

from online_models import restricted
from online_models.errors import ArtefactRefused, LearnerUnusable


class Harm:
    """What an attacker would put into a snapshot."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("echo harmed",)


def test_a_pickle_that_names_a_function_of_the_system_is_refused_before_it_runs() -> None:
    with pytest.raises(ArtefactRefused, match=r"got (posix|nt)\.system"):
        restricted.load(pickle.dumps(Harm()), allowed=frozenset())


@pytest.mark.parametrize("name", ["eval", "getattr", "exec", "__import__"])
def test_a_pickle_that_names_a_dangerous_builtin_is_refused(name: str) -> None:
    data = f"cbuiltins\n{name}\n.".encode()

    with pytest.raises(ArtefactRefused, match=f"got builtins.{name}"):
        restricted.load(data, allowed=frozenset())


def test_a_dotted_name_does_not_reach_into_an_allowed_module() -> None:
    data = b"\x80\x04\x8c\x06random\x8c\x0fRandom.__init__\x93."

    with pytest.raises(ArtefactRefused, match=r"got random\.Random\.__init__"):
        restricted.load(data, allowed=frozenset())


def test_what_is_not_a_pickle_is_refused() -> None:
    for data in (b"", b"not a pickle", pickle.dumps({1: 2})[:-3]):
        with pytest.raises(ArtefactRefused, match="cannot load estimator"):
            restricted.load(data, allowed=frozenset())


def test_an_estimator_comes_back_by_the_names_of_a_fresh_one() -> None:
    fresh = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    learned = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    for value in range(10):
        learned.learn_one({"a": float(value)}, value > 5)

    allowed = restricted.globals_of(fresh, where="online")
    loaded = restricted.load(restricted.save(learned, where="online"), allowed=allowed)

    assert ("river.linear_model.log_reg", "LogisticRegression") in allowed
    assert loaded.predict_proba_one({"a": 4.0}) == learned.predict_proba_one({"a": 4.0})  # type: ignore[attr-defined]


def test_another_kind_of_estimator_is_refused() -> None:
    allowed = restricted.globals_of(preprocessing.StandardScaler(), where="online")

    with pytest.raises(ArtefactRefused, match="LogisticRegression"):
        restricted.load(restricted.save(linear_model.LogisticRegression(), where="online"), allowed=allowed)


def test_an_estimator_that_cannot_be_saved_is_refused_when_it_is_built() -> None:
    with pytest.raises(LearnerUnusable, match="replace lambdas"):
        restricted.globals_of({"function": lambda: 1}, where="online")


def test_an_estimator_whose_pickle_names_something_dangerous_is_refused_when_it_is_built() -> None:
    with pytest.raises(LearnerUnusable, match=r"names builtins\.getattr"):
        restricted.globals_of({"read": getattr}, where="online")


def test_an_estimator_may_hold_a_method_of_its_own() -> None:
    fresh: Any = feature_extraction.RBFSampler(seed=1)

    loaded: Any = restricted.load(
        restricted.save(fresh, where="online"), allowed=restricted.globals_of(fresh, where="online")
    )

    assert loaded.transform_one({"a": 1.0}) == fresh.transform_one({"a": 1.0})


class Reach:
    """A pickle that reaches for what is not an estimator's method."""

    def __init__(self, owner: object, name: str) -> None:
        self.reached = (owner, name)

    def __reduce__(self) -> tuple[object, tuple[object, str]]:
        return restricted._method, self.reached  # as a pickle names it


@pytest.mark.parametrize(("owner", "name"), [("", "format"), (linear_model.LogisticRegression(), "__reduce__")])
def test_a_method_of_something_else_is_refused(owner: object, name: str) -> None:
    allowed = restricted.globals_of(linear_model.LogisticRegression(), where="online")

    with pytest.raises(ArtefactRefused, match="expected a method of an estimator"):
        restricted.load(pickle.dumps(Reach(owner, name)), allowed=allowed)


def test_nothing_on_the_allow_list_is_a_function_that_runs_what_it_is_given() -> None:
    names = {name for module, name in restricted.GROWN if module == "builtins"}

    assert names <= {"bool", "float", "frozenset", "int", "set"}
