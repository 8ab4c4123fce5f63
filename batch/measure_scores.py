"""What scores are worth beside the labels: one set of measures for every learner, online and offline."""

from __future__ import annotations

import math
from collections.abc import Sequence

from definitions.values import Value, magnitude
from online_models.progress import Prequential


def measure_scores(scores: Sequence[float], labels: Sequence[Value]) -> dict[str, float]:
    """Return ``auc``, ``log_loss`` and ``positives_ratio`` of true and false labels, ``mae`` and ``rmse`` of numbers.

    A measure that these labels do not give (an AUC of one kind of label) is left out. ``rows`` says how many there are.
    """
    measures = {"rows": float(len(labels))}
    if not labels:
        return measures
    if all(isinstance(label, bool) for label in labels):
        progress = Prequential()
        for score, label in zip(scores, labels, strict=True):
            progress.add(score, bool(label))
        found = {"auc": progress.auc(), "log_loss": progress.log_loss(), "positives_ratio": progress.positives_ratio}
        return measures | {name: value for name, value in found.items() if value is not None}
    errors = [score - magnitude(label) for score, label in zip(scores, labels, strict=True)]
    mae = math.fsum(map(abs, errors)) / len(errors)
    return measures | {"mae": mae, "rmse": math.sqrt(math.fsum(error * error for error in errors) / len(errors))}
