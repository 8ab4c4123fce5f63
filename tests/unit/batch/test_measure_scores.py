"""What scores are worth beside their labels."""

from __future__ import annotations

import pytest

from batch.measure_scores import measure_scores


def test_true_and_false_labels_give_auc_log_loss_and_positives() -> None:
    measures = measure_scores([0.9, 0.2, 0.6, 0.7], [True, False, True, False])

    assert (measures["auc"], measures["positives_ratio"], measures["rows"]) == (0.75, 0.5, 4.0)
    assert measures["log_loss"] == pytest.approx(0.5108, abs=1e-3)


def test_labels_of_one_kind_have_no_auc() -> None:
    assert "auc" not in measure_scores([0.9, 0.2], [True, True])


def test_labels_that_are_numbers_give_mean_errors() -> None:
    assert measure_scores([1.0, 5.0], [2.0, 2]) == {"rows": 2.0, "mae": 2.0, "rmse": pytest.approx(5**0.5)}


def test_nothing_has_no_measures_but_its_size() -> None:
    assert measure_scores([], []) == {"rows": 0.0}
