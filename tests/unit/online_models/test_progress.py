"""AUC, log loss and positives of scores given before their labels."""

from __future__ import annotations

import math
import random

import pytest

from online_models.progress import BinnedProgress, Prequential, rank_auc


def pairs(n: int, seed: int) -> list[tuple[float, bool]]:
    chance = random.Random(seed)
    return [(score := round(chance.random(), 2), chance.random() < score) for _ in range(n)]


def oracle_auc(given: list[tuple[float, bool]]) -> float:
    """Compare every positive with every negative, one by one."""
    positives = [score for score, label in given if label]
    negatives = [score for score, label in given if not label]
    won = sum((high > low) + 0.5 * (high == low) for high in positives for low in negatives)
    return won / (len(positives) * len(negatives))


def filled(given: list[tuple[float, bool]]) -> tuple[Prequential, BinnedProgress]:
    exact, binned = Prequential(), BinnedProgress()
    for score, label in given:
        exact.add(score, label)
        binned.add(score, label)
    return exact, binned


@pytest.mark.parametrize("seed", range(5))
def test_the_auc_is_that_of_all_pairs_ties_counted_half(seed: int) -> None:
    given = pairs(300, seed)

    assert rank_auc(*zip(*given, strict=True)) == pytest.approx(oracle_auc(given), abs=1e-12)


def test_there_is_no_auc_before_both_kinds_of_label_were_seen() -> None:
    assert rank_auc([], []) is None
    assert rank_auc([0.1, 0.9], [True, True]) is None
    assert BinnedProgress().auc() is None


def test_the_log_loss_of_a_certainty_that_was_wrong_is_finite() -> None:
    exact, binned = filled([(1.0, False), (0.5, True)])

    expected = (-math.log(1e-6) + math.log(2)) / 2
    assert exact.log_loss() == pytest.approx(expected)
    assert binned.log_loss() == pytest.approx(expected, abs=1e-6)


def test_positives_are_counted() -> None:
    exact, binned = filled([(0.5, True), (0.5, False), (0.5, False), (0.5, False)])

    assert (4, 0.25) == (exact.n, exact.positives_ratio) == (binned.n, binned.positives_ratio)
    assert (Prequential().positives_ratio, Prequential().log_loss()) == (0.0, None)


def test_binned_progress_is_near_the_exact_one() -> None:
    exact, binned = filled(pairs(3000, 7))

    assert binned.auc() == pytest.approx(exact.auc(), abs=1e-3)


def test_binned_parts_merge_to_the_whole_exactly_in_any_order() -> None:
    given = pairs(1000, 8)
    _, whole = filled(given)
    _, left = filled(given[:300])
    _, right = filled(given[300:])

    assert left.merged(right) == whole == right.merged(left)


def test_scores_outside_of_zero_and_one_fall_into_the_outermost_bins() -> None:
    _, binned = filled([(-3.0, False), (1.0, True), (7.0, True)])

    assert (binned.negatives[0], binned.positives[-1]) == (1, 2)
