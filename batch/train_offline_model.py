"""Trains the offline model: boosted trees on a training set, as many as help on the part that comes last in time.

How many trees is found on a split in time, never at random: the first part trains, the last judges. The model that is
released is then fitted anew on all rows, with that number of trees, for the last weeks are the most like the next.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import xgboost

from batch.build_training_set import TrainingSet
from batch.errors import TrainingRefused
from batch.measure_scores import measure_scores
from definitions.declared import LearnerDefinition
from definitions.encoder import Encoder
from definitions.values import ValueType, magnitude

LEAST_ROWS = 50
VALIDATION_SHARE = 0.2
MOST_ROUNDS = 500
PATIENCE = 20
ROWS_PER_THREAD = 200_000
"""On fewer a second thread brings nothing (measured on 27,000), and on a busy host the two wait for each other."""

_DEFAULTS: Mapping[str, Any] = {"eta": 0.05, "max_depth": 4, "tree_method": "hist", "seed": 0, "verbosity": 0}
_ROUNDS, _PATIENCE = "num_boost_round", "early_stopping_rounds"


@dataclass(frozen=True, slots=True)
class OfflineModel:
    """A trained booster: its bytes, how many trees it has, and what its like was worth on rows it had not seen."""

    data: bytes
    rounds: int
    measures: Mapping[str, float]
    """Of a model trained on the first part only, on the last part. See `batch.measure_scores`."""


def train_offline(learner: LearnerDefinition, encoder: Encoder, training: TrainingSet) -> OfflineModel:
    """Train the learner. Cost: about 2 s for 27,000 rows of 25 inputs. Equal arguments give equal bytes.

    The author's parameters go to XGBoost as they are, over our defaults, but two that are `xgboost.train`'s own:
    ``num_boost_round`` fixes the number of trees, ``early_stopping_rounds`` the patience in looking for it.

    Raises:
        TrainingRefused: too few rows, labels of one kind only, or parameters that XGBoost does not take.
    """
    require_enough(learner.name, training)
    split = int(training.rows * (1 - VALIDATION_SHARE))
    parameters = _parameters(learner, training)
    rounds, patience = learner.parameters.get(_ROUNDS), learner.parameters.get(_PATIENCE) or PATIENCE
    try:
        early = _matrix(encoder, training.part(0, split), parameters)
        late = _matrix(encoder, training.part(split, training.rows), parameters)
        judged = xgboost.train(
            parameters,
            early,
            num_boost_round=int(rounds or MOST_ROUNDS),
            evals=[(late, "late")],
            early_stopping_rounds=None if rounds else int(patience),
            verbose_eval=False,
        )
        best = int(rounds or judged.best_iteration + 1)
        scores = judged.predict(late, iteration_range=(0, best)).tolist()
        released = xgboost.train(parameters, _matrix(encoder, training, parameters), num_boost_round=best)
    except xgboost.core.XGBoostError as error:
        reason = str(error).strip().splitlines()[0]
        raise TrainingRefused(f"cannot train: {learner.name}: expected parameters of XGBoost, got: {reason}") from error
    measures = measure_scores(scores, training.labels[split:])
    return OfflineModel(bytes(released.save_raw("ubj")), best, {**measures, "rounds": float(best)})


def require_enough(name: str, training: TrainingSet) -> None:
    """Refuse a training set that nothing can be learned from; ``name`` says who would learn, for people.

    Raises:
        TrainingRefused: too few rows, or labels of one kind only.
    """
    if training.rows < LEAST_ROWS:
        raise TrainingRefused(
            f"cannot train: {name}: expected at least {LEAST_ROWS} questions with a label, got {training.rows} "
            f"of {training.asked}; publish the events of their time first"
        )
    if training.is_binary and len(set(training.labels)) == 1:
        raise TrainingRefused(
            f"cannot train: {name}: expected labels of both kinds, got {training.rows} times "
            f"{training.labels[0]}; check the label's value="
        )


def _parameters(learner: LearnerDefinition, training: TrainingSet) -> dict[str, Any]:
    objective = "binary:logistic" if training.is_binary else "reg:squarederror"
    metric = "logloss" if training.is_binary else "rmse"
    threads = min(2, 1 + training.rows // ROWS_PER_THREAD)
    given = {name: value for name, value in learner.parameters.items() if name not in (_ROUNDS, _PATIENCE)}
    return {**_DEFAULTS, "objective": objective, "eval_metric": metric, "nthread": threads, **given}


def _matrix(encoder: Encoder, training: TrainingSet, parameters: Mapping[str, Any]) -> xgboost.DMatrix:
    return xgboost.DMatrix(
        encoder.matrix(training.vectors),
        [magnitude(label) for label in training.labels],
        feature_types=["c" if kind is ValueType.CATEGORY else "q" for _, kind in encoder.columns],
        enable_categorical=True,
        nthread=parameters["nthread"],
    )
