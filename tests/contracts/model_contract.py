"""The laws of learners. A class of tests per kind inherits them and says how to make one."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Sequence
from functools import cache

import pytest

from definitions.declared import Input
from definitions.encoder import Encoder
from definitions.errors import VectorError
from definitions.values import Value, ValueType
from online_models.errors import ArtefactRefused, LabelRefused
from online_models.learners import Cut, OnlineLearner, Scorer

INPUTS = (
    Input("delay", ValueType.FLOAT),
    Input("flights", ValueType.INT),
    Input("weekend", ValueType.BOOL),
    Input("carrier", ValueType.CATEGORY),
)

Vectors = list[list[Value]]


def examples(n: int, *, seed: int = 1) -> tuple[Vectors, list[bool]]:
    """Return vectors with values missing here and there, and labels that depend on them."""
    chance = random.Random(seed)
    vectors: Vectors = []
    labels = []
    for _ in range(n):
        delay, carrier = chance.gauss(0, 1), chance.choice(["AA", "UA", "DL"])
        labels.append(delay + (carrier == "UA") + chance.gauss(0, 0.5) > 0.3)
        vectors.append(
            [
                None if chance.random() < 0.1 else delay,
                chance.randrange(50),
                chance.random() < 0.3,
                None if chance.random() < 0.1 else carrier,
            ]
        )
    return vectors, labels


@cache
def encoder() -> Encoder:
    """Return the encoder of the laws' inputs, frozen on their training vectors."""
    return Encoder.fit(INPUTS, examples(500)[0])


class ScorerLaws:
    """What every scorer keeps."""

    @pytest.fixture
    def scorer(self) -> Scorer:
        """Return a trained scorer of `INPUTS`."""
        raise NotImplementedError

    def test_scoring_does_not_change_the_scores_that_follow(self, scorer: Scorer) -> None:
        vectors, _ = examples(50, seed=2)

        first = scorer.score_many(vectors)
        for _ in range(3):
            scorer.score_many(examples(20, seed=3)[0])

        assert first == scorer.score_many(vectors)

    def test_scoring_leaves_its_input_alone(self, scorer: Scorer) -> None:
        vectors, _ = examples(20, seed=2)
        before = copy.deepcopy(vectors)

        scorer.score_many(vectors)

        assert before == vectors

    def test_many_equals_one_by_one(self, scorer: Scorer) -> None:
        vectors, _ = examples(64, seed=2)

        one_by_one = [scorer.score_many([vector])[0] for vector in vectors]

        assert one_by_one == scorer.score_many(vectors)

    def test_scoring_leaves_the_digest_alone(self, scorer: Scorer) -> None:
        before = scorer.digest

        scorer.score_many(examples(20, seed=2)[0])

        assert before == scorer.digest

    def test_scores_depend_on_the_values(self, scorer: Scorer) -> None:
        assert len(set(scorer.score_many(examples(64, seed=2)[0]))) > 1

    def test_a_micro_batch_of_nothing_has_no_scores(self, scorer: Scorer) -> None:
        assert scorer.score_many([]) == []

    def test_any_value_may_be_missing(self, scorer: Scorer) -> None:
        scores = scorer.score_many([[None] * len(INPUTS), [0.5, None, None, "AA"], [None, 3, True, None]])

        assert all(math.isfinite(score) for score in scores)

    def test_a_category_that_training_never_saw_gets_a_score(self, scorer: Scorer) -> None:
        assert math.isfinite(scorer.score_many([[0.5, 3, True, "never seen"]])[0])

    @pytest.mark.parametrize(
        "bad", [math.nan, math.inf, -math.inf, 1e300, 10**400], ids=["nan", "inf", "-inf", "1e300", "huge"]
    )
    def test_a_number_that_is_not_finite_is_refused_before_it_is_scored(self, scorer: Scorer, bad: float) -> None:
        with pytest.raises(VectorError, match="delay: expected a finite number"):
            scorer.score_many([[0.5, 3, True, "AA"], [bad, 3, True, "AA"]])

    def test_a_vector_of_another_length_is_refused(self, scorer: Scorer) -> None:
        with pytest.raises(VectorError, match="expected 4 values, got 3"):
            scorer.score_many([[0.5, 3, True]])


class OnlineLearnerLaws(ScorerLaws):
    """What every learner that learns one example at a time keeps, besides."""

    labels_are_numbers = False

    def fresh(self) -> OnlineLearner:
        """Return a learner that has learned nothing."""
        raise NotImplementedError

    def restored(self, data: bytes, digest: str) -> tuple[OnlineLearner, Cut]:
        """Return what the snapshot holds."""
        raise NotImplementedError

    @pytest.fixture
    def scorer(self) -> Scorer:
        return self.taught(300)

    def taught(self, n: int) -> OnlineLearner:
        """Return a learner of ``n`` examples."""
        learner = self.fresh()
        self.teach(learner, *examples(n))
        return learner

    def teach(self, learner: OnlineLearner, vectors: Vectors, labels: Sequence[bool]) -> None:
        """Let the learner learn."""
        for vector, label in zip(vectors, labels, strict=True):
            learner.learn_one(vector, float(label) if self.labels_are_numbers else label)

    def test_a_score_exists_before_anything_was_learned(self) -> None:
        assert math.isfinite(self.fresh().score_many([[0.5, 3, True, "AA"]])[0])

    def test_learning_leaves_its_input_alone(self) -> None:
        learner, (vectors, labels) = self.fresh(), examples(20)
        before = copy.deepcopy(vectors)

        self.teach(learner, vectors, labels)

        assert before == vectors

    def test_learning_changes_the_scores(self) -> None:
        vectors, _ = examples(20, seed=2)

        assert self.fresh().score_many(vectors) != self.taught(300).score_many(vectors)

    def test_what_was_learned_is_counted(self) -> None:
        assert self.taught(30).learned == 30

    def test_a_feature_may_appear_and_vanish_while_learning(self) -> None:
        learner = self.fresh()
        rows: Vectors = [[None, 3, True, None], [0.5, None, None, "AA"], [None, 3, None, "new"], [1.0, 3, True, "AA"]]

        self.teach(learner, rows * 20, [True, False, True, False] * 20)

        assert all(math.isfinite(score) for score in learner.score_many(rows))

    @pytest.mark.parametrize("bad", [math.nan, math.inf])
    def test_a_number_that_is_not_finite_is_refused_before_it_is_learned(self, bad: float) -> None:
        learner, (vectors, _) = self.taught(100), examples(20, seed=2)
        before = learner.score_many(vectors)

        with pytest.raises(VectorError):
            learner.learn_one([bad, 3, True, "AA"], 1.0 if self.labels_are_numbers else True)

        assert (before, 100) == (learner.score_many(vectors), learner.learned)

    @pytest.mark.parametrize("label", [None, "yes", math.nan, math.inf])
    def test_a_label_that_is_none_is_refused(self, label: Value) -> None:
        learner = self.taught(10)

        with pytest.raises(LabelRefused, match="as label"):
            learner.learn_one([0.5, 3, True, "AA"], label)

        assert learner.learned == 10

    def test_a_restored_learner_scores_and_goes_on_as_the_saved_one(self) -> None:
        learner, (later, labels), (asked, _) = self.taught(400), examples(200, seed=5), examples(50, seed=2)
        data = learner.snapshot(Cut(1, 400))

        twin, _ = self.restored(data, learner.digest)

        assert (learner.learned, learner.score_many(asked)) == (twin.learned, twin.score_many(asked))
        self.teach(learner, later, labels)
        self.teach(twin, later, labels)
        assert learner.score_many(asked) == twin.score_many(asked)

    def test_equal_examples_give_equal_learners(self) -> None:
        """Whatever is drawn at random on the way: the generators were seeded when the estimator was built."""
        first, second = self.taught(400), self.taught(400)

        assert first.canonical() == second.canonical()
        assert first.score_many(examples(50, seed=2)[0]) == second.score_many(examples(50, seed=2)[0])

    def test_scoring_leaves_what_was_learned_alone(self) -> None:
        learner = self.taught(300)
        before = learner.canonical()

        learner.score_many(examples(50, seed=2)[0])

        assert before == learner.canonical()

    def test_each_example_changes_what_was_learned(self) -> None:
        learner = self.taught(20)
        before = learner.canonical()

        self.teach(learner, *examples(1, seed=9))

        assert before != learner.canonical()

    def test_a_restored_learner_is_the_saved_one_and_stays_so(self) -> None:
        learner, (later, labels) = self.taught(400), examples(200, seed=5)
        twin, _ = self.restored(learner.snapshot(Cut(1, 400)), learner.digest)

        assert learner.canonical() == twin.canonical()
        self.teach(learner, later, labels)
        self.teach(twin, later, labels)
        assert learner.canonical() == twin.canonical()

    def test_a_snapshot_says_where_it_was_cut(self) -> None:
        learner = self.taught(10)
        cut = Cut(generation=3, examples_next=17, positions={"id/0": (40, 2), "id/1": (7, 0)}, through_ms=1)

        data = learner.snapshot(cut)

        assert cut == self.restored(data, learner.digest)[1]

    def test_the_digest_is_the_snapshot_s_until_more_is_learned(self) -> None:
        learner = self.taught(10)

        data = learner.snapshot(Cut(0, 10))

        assert learner.digest == self.restored(data, learner.digest)[0].digest != ""
        self.teach(learner, *examples(1, seed=9))
        assert learner.digest == ""

    def test_taking_a_snapshot_changes_nothing(self) -> None:
        learner, (asked, _) = self.taught(100), examples(20, seed=2)
        before = learner.score_many(asked)

        learner.snapshot(Cut(0, 100))

        assert before == learner.score_many(asked)

    def test_a_restored_learner_shares_nothing_with_the_saved_one(self) -> None:
        learner, (asked, _) = self.taught(100), examples(20, seed=2)
        twin, _ = self.restored(learner.snapshot(Cut(0, 100)), learner.digest)
        before = twin.score_many(asked)

        self.teach(learner, *examples(200, seed=6))

        assert before == twin.score_many(asked)

    def test_bytes_that_are_not_what_the_digest_says_are_refused(self) -> None:
        """A thousand random flips of one bit, and every way to end too early at one of them."""
        learner, chance = self.taught(50), random.Random(1)
        data = learner.snapshot(Cut(0, 50))

        for _ in range(1_000):
            place = chance.randrange(len(data))
            flipped = data[:place] + bytes([data[place] ^ 1 << chance.randrange(8)]) + data[place + 1 :]
            for bad in (flipped, data[:place]):
                with pytest.raises(ArtefactRefused, match="expected its own digest"):
                    self.restored(bad, learner.digest)
