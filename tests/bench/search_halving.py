"""What a search while streaming finds, and what it costs, against letting every setting learn everything.

``python -m tests.bench.search_halving``. The flights of January and February 2013 as the examples of the running
system, in the order in which their labels come; 36 settings of a scaler and a logistic regression. Every setting learns
every example once (the exhaustive search), and `hr.search` halves them over the first part of the same stream; twice,
and the winner has to be the same. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from typing import Any

from river import linear_model, optim, preprocessing

import headrace as hr
from definitions.encoder import Encoder
from online_models.learners.river import RiverLearner
from online_models.progress import log_loss_one
from online_models.searching import HalvingClassifier, Standing
from tests.bench.flight_examples import MODEL, FlightExample, read_examples

GRID: dict[str, Sequence[Any]] = {
    "optimizer": ("sgd", "adagrad", "adam"),
    "lr": (0.3, 0.1, 0.03, 0.01, 0.003, 0.001),
    "l2": (0.0, 0.001),
}
TOLERANCE, MOST_WORK = 1.01, 0.25
_OPTIMIZERS = {"sgd": optim.SGD, "adagrad": optim.AdaGrad, "adam": optim.Adam}


def build(optimizer: str, lr: float, l2: float) -> Any:
    """Return a fresh classifier."""
    rule = _OPTIMIZERS[optimizer](lr)
    return preprocessing.StandardScaler() | linear_model.LogisticRegression(optimizer=rule, l2=l2, intercept_lr=0.001)


def main() -> None:
    """Run both searches and compare them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--end", default="2013-03-01", help="the first day that is left out")
    parser.add_argument("--share", type=float, default=0.8, help="the part of the stream after which one is left")
    options = parser.parse_args()
    found, _ = read_examples("2013-01-01", options.end)
    stream = sorted(found, key=lambda each: (each.known_ms, each.asked_ms))
    examples = int(len(stream) * options.share)
    learner = hr.search(build, GRID, examples=examples).definition("tuned")
    began = time.perf_counter()
    standings = [_searched(learner, stream) for _ in range(2)]
    search_s = (time.perf_counter() - began) / 2
    began = time.perf_counter()
    losses = _exhaustive(stream)
    exhaustive_s = time.perf_counter() - began
    answer = _answer(standings, losses, len(stream))
    answer |= {"search_s": round(search_s, 1), "exhaustive_s": round(exhaustive_s, 1)}
    for setting, loss in sorted(losses.items(), key=lambda each: each[1])[:5]:
        sys.stderr.write(f"  {loss:.5f}  {setting}\n")
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.exit(not answer["passed"])


def _searched(learner: Any, stream: Sequence[FlightExample]) -> Standing:
    search = RiverLearner(learner, Encoder(MODEL.inputs))
    for each in stream:
        search.learn_one(each.vector, each.label)
    estimator = search._estimator
    assert isinstance(estimator, HalvingClassifier)
    return estimator.standing


def _exhaustive(stream: Sequence[FlightExample]) -> dict[str, float]:
    """Return the mean log loss of every setting, test then train."""
    encoder = Encoder(MODEL.inputs)
    given = [(encoder.mapping(each.vector), each.label) for each in stream]
    losses = {}
    for setting in _settings():
        model, loss = build(**setting), 0.0
        for features, label in given:
            said = model.predict_proba_one(features)
            loss += log_loss_one(said.get(True, 0.0) if said else 0.5, label)
            model.learn_one(features, label)
        losses[json.dumps(setting)] = loss / len(given)
    return losses


def _settings() -> list[dict[str, Any]]:
    return [
        {"optimizer": optimizer, "lr": lr, "l2": l2}
        for optimizer in GRID["optimizer"]
        for lr in GRID["lr"]
        for l2 in GRID["l2"]
    ]


def _answer(standings: Sequence[Standing], losses: dict[str, float], n: int) -> dict[str, Any]:
    one, other = standings
    winner, best = losses[json.dumps(one.leader)], min(losses.values())
    ranks = sorted(losses.values())
    answer = {
        "examples": n,
        "settings": one.settings,
        "winner": one.leader,
        "winner_log_loss": round(winner, 5),
        "best_log_loss": round(best, 5),
        "worst_log_loss": round(ranks[-1], 5),
        "median_log_loss": round(ranks[len(ranks) // 2], 5),
        "winner_over_best": round(winner / best, 5),
        "winner_rank": ranks.index(winner) + 1,
        "work_ratio": round(one.work_ratio, 4),
        "same_winner": one == other,
    }
    passed = winner <= TOLERANCE * best and one.work_ratio <= MOST_WORK and one == other and one.is_over
    return {**answer, "passed": passed}


if __name__ == "__main__":
    main()
