"""The canonical digest: equal for equal states, whatever wrote them down before; different for different ones."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from river import anomaly, ensemble, forest, linear_model, naive_bayes, tree

from online_models import restricted
from online_models.canonical import canonical_digest
from online_models.errors import LearnerUnusable
from online_models.learners.estimators import seed

KINDS: dict[str, Callable[[], Any]] = {
    "linear": linear_model.LogisticRegression,
    "naive bayes": naive_bayes.GaussianNB,
    "tree": lambda: tree.HoeffdingTreeClassifier(grace_period=30),
    "forest": lambda: forest.ARFClassifier(n_models=3),
    "anomaly": lambda: anomaly.HalfSpaceTrees(n_trees=3, height=4, window_size=40),
    "ensemble": lambda: ensemble.BaggingClassifier(linear_model.Perceptron(), n_models=3),
}


def taught(kind: str, n: int = 200) -> Any:
    """Return an estimator that has learned ``n`` examples."""
    estimator, chance = KINDS[kind](), random.Random(1)
    seed(estimator)
    for _ in range(n):
        values = {f"f{index}": chance.random() for index in range(6)}
        estimator.learn_one(values, *(() if kind == "anomaly" else (values["f0"] > values["f1"],)))
    return estimator


class Slotted:
    __slots__ = ("held",)

    def __init__(self, held: object) -> None:
        self.held = held


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({"a", "b", "c"}, {"c", "b", "a"}),
        (frozenset({(1, "x"), (0, "y")}), frozenset({(0, "y"), (1, "x")})),
        (Counter("aab"), Counter("baa")),
        (Slotted([1.5]), Slotted([1.5])),
        (["ab", "ab"], ["ab", str(b"ab", "ascii")]),
        (np.arange(3.0), np.arange(3.0).copy()),
        (random.Random(3), random.Random(3)),
        (1e16, 10.0**16),
    ],
)
def test_equal_states_have_one_digest(one: object, other: object) -> None:
    assert canonical_digest(one) == canonical_digest(other)


def test_a_partial_that_somebody_looked_at_is_the_same() -> None:
    seen, unseen = partial(int, base=2), partial(int, base=2)
    assert vars(seen) == {}

    assert canonical_digest(seen) == canonical_digest(unseen)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0),
        (1, True),
        ("1", b"1"),
        (0.1, 0.1 + 2**-56),
        (0.0, -0.0),
        ([1, 2], [2, 1]),
        ([1, 2], (1, 2)),
        ([[1], [2]], [[1, 2]]),
        (["ab", "c"], ["a", "bc"]),
        ({"a": 1}, {"a": 2}),
        ({1}, frozenset({1})),
        (deque([1], 2), deque([1], 3)),
        (defaultdict(int), defaultdict(float)),
        (Slotted(1), Slotted(2)),
        (np.zeros((2, 3)), np.zeros((3, 2))),
        (np.zeros(2), np.zeros(2, dtype=np.float32)),
        (random.Random(3), random.Random(4)),
    ],
)
def test_different_states_have_two(one: object, other: object) -> None:
    assert canonical_digest(one) != canonical_digest(other)


def test_two_places_that_share_one_object_are_not_two_objects() -> None:
    """What learns through one of them changes the other or does not: that is a difference."""
    shared: list[int] = []

    assert canonical_digest([shared, shared]) != canonical_digest([[], []])


def test_a_state_that_contains_itself_has_a_digest() -> None:
    first: list[object] = [1]
    first.append(first)
    second: list[object] = [1]
    second.append(second)

    assert canonical_digest(first) == canonical_digest(second)


def test_a_deep_state_has_a_digest() -> None:
    deep: list[object] = []
    for _ in range(50_000):
        deep = [deep]

    assert len(canonical_digest(deep)) == 64


def test_what_has_no_state_is_refused() -> None:
    with pytest.raises(LearnerUnusable, match="cannot digest estimator: generator"):
        canonical_digest([(number for number in range(3))])


@pytest.mark.parametrize("kind", KINDS)
def test_pickling_does_not_change_the_digest(kind: str) -> None:
    learned = taught(kind)

    twin = restricted.load(
        restricted.save(learned, where=kind), allowed=restricted.globals_of(KINDS[kind](), where=kind)
    )

    assert canonical_digest(twin) == canonical_digest(learned) == canonical_digest(taught(kind))
    assert canonical_digest(learned) != canonical_digest(taught(kind, 199))


def test_a_distribution_without_a_seed_is_saved_without_its_generator() -> None:
    """A tree would be nine tenths generators, of which none is ever asked."""
    assert len(restricted.save(taught("naive bayes"), where="")) < 3_000


def test_another_hash_seed_gives_the_same_digests() -> None:
    """Sets and texts are in another order in another process.

    Only fresh ones are compared: River's trees take their depth limit from the interpreter's recursion limit, and tools
    that ran in this one may have raised it.
    """
    program = (
        "from tests.unit.online_models.test_canonical import *\n"
        "print([canonical_digest(taught(kind)) for kind in KINDS])"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for hash_seed in ("1", "2", "3")
    }

    assert len(found) == 1
