"""The offline model: gradient-boosted trees of XGBoost, trained in batch, asked here."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xgboost
from numpy.typing import NDArray

from definitions.encoder import Encoder, Vector
from online_models.errors import ArtefactRefused
from online_models.learners import ubj
from online_models.learners.tree_arrays import NotArrays, TreeArrays, tree_arrays, without_trees

Floats = NDArray[np.float32]
Link = Callable[[Floats], Floats]

MOST_STEPS = 64_000
"""Up to so many steps, rows times trees times depth, our arrays are quicker than XGBoost's call.

Measured with 50 to 1,000 trees of depth 3 to 10: XGBoost is as quick from 64,000 steps on (200 trees of depth 10) or
later (200 of depth 6: not yet at 150,000). For 200 trees of depth 6 that is 53 rows.
"""
_BEYOND_EXP = 88.7
"""XGBoost's own bound, below which no probability of a float32 is 0."""
_PROBES = 64


@dataclass(frozen=True, slots=True)
class Evaluators:
    """What a booster's margins are had from, and how a score is made of a margin."""

    link: Link
    trees: TreeArrays | None
    """None where only XGBoost itself can evaluate the trees."""

    @property
    def most_rows(self) -> int:
        """Up to how many rows the arrays are asked."""
        return 0 if self.trees is None else MOST_STEPS // max(1, self.trees.trees * self.trees.depth)


class XGBoostScorer:
    """A trained booster behind the scorer's contract. Implements `online_models.learners.Scorer`.

    One thread: micro-batches are too small to share, and the process has other work. A missing value, and a category
    that training never saw, go down each tree's default branch.

    Micro-batches of up to `MOST_STEPS` are evaluated by `TreeArrays`, larger ones by XGBoost: both give the same margin
    to the bit, and one link makes a score of it, so a score does not depend on how many are scored at once. The link of
    a probability is ours, in float64 and rounded once: in the last bit of a float32 it may differ from XGBoost's own,
    which rounds at each step. Boosters that the arrays or the link cannot represent (DART, several outputs, Poisson and
    the like) are asked by XGBoost's own call.

    Cost (200 trees of depth 6, 10 inputs), against XGBoost's own call in turns: a row 0.06 ms, 0.3 of it, and 0.3 ms
    where the process slept for 10 ms before, 0.3 of it as well; 8 rows 0.5 of it, 32 rows 0.7.
    """

    def __init__(self, name: str, encoder: Encoder, *, data: bytes, digest: str) -> None:
        """Load UBJ bytes, after they were found to be those that ``digest`` names.

        Raises:
            ArtefactRefused: other bytes, or no booster for vectors of this length.
        """
        found = hashlib.sha256(data).hexdigest()
        if found != digest:
            raise ArtefactRefused(f"cannot load booster: {digest[:12]}: expected its own digest, got {found[:12]}")
        self.name = name
        self.digest = digest
        self._encoder = encoder
        self._booster = _load(data, digest, len(encoder.columns))
        self._evaluators = evaluators(self._booster)
        self._most_rows = 0 if self._evaluators is None else self._evaluators.most_rows

    def score_many(self, vectors: Sequence[Vector]) -> list[float]:
        """Return one score per vector, in order."""
        if not vectors:
            return []
        for vector in vectors:
            self._encoder.check(vector)
        scores: list[float] = self.score_matrix(self._encoder.matrix(vectors)).tolist()
        return scores

    @property
    def encoder(self) -> Encoder:
        """What makes its matrices."""
        return self._encoder

    def score_matrix(self, matrix: Floats) -> Floats:
        """Return one score per row of a checked matrix of the encoder's, in order."""
        if self._evaluators is None:
            scores: Floats = self._booster.inplace_predict(matrix)
            return scores
        if self._evaluators.trees is not None and 0 < len(matrix) <= self._most_rows:
            return self._evaluators.link(self._evaluators.trees.margins(matrix))
        return self._evaluators.link(_margins(self._booster, matrix))


def probability(margins: Floats) -> Floats:
    """Return the logistic function of margins: of each alone, however many there are."""
    odds = np.exp(np.minimum(-margins.astype(np.float64), _BEYOND_EXP))
    return (1.0 / (1.0 + odds)).astype(np.float32)


def same(margins: Floats) -> Floats:
    """Return margins that are the scores."""
    return margins


LINKS: Mapping[str, Link] = {
    **dict.fromkeys(("binary:logistic", "reg:logistic"), probability),
    **dict.fromkeys(("binary:logitraw", "reg:squarederror", "reg:squaredlogerror"), same),
    **dict.fromkeys(("reg:absoluteerror", "reg:pseudohubererror", "reg:quantileerror"), same),
    **dict.fromkeys(("rank:pairwise", "rank:ndcg", "rank:map"), same),
}
"""How a margin becomes a score, by XGBoost's objective; those with another link are left to XGBoost."""


def evaluators(booster: xgboost.Booster) -> Evaluators | None:
    """Return how to score with a booster without XGBoost's own link, None where only XGBoost knows how.

    Whether the arrays give XGBoost's margins is tried out, so that another version of it cannot silently differ.

    Cost: 16 ms for 200 trees of depth 6, half of it to read what XGBoost saves, besides 3 ms to load the booster. A
    release is loaded in a thread (`agents.serve_model`), so the loop goes on meanwhile.
    """
    try:
        model = ubj.decoded(bytes(booster.save_raw("ubj")))
        link = LINKS.get(model["learner"]["objective"]["name"])
        if link is None:
            return None
        trees = tree_arrays(model, _base(model))
    except (NotArrays, ValueError, KeyError, TypeError):
        return None
    probes = _probes(trees)
    agree = np.array_equal(trees.margins(probes), _margins(booster, probes))
    return Evaluators(link, trees if agree else None)


def _base(model: Mapping[str, Any]) -> np.float32:
    """Return the margin before the first tree: XGBoost's own answer, for a logarithm of ours might be another."""
    empty = xgboost.Booster()
    try:
        empty.load_model(bytearray(without_trees(model)))
    except xgboost.core.XGBoostError as error:
        raise NotArrays(f"expected a model without trees to load, got {error}") from error
    empty.set_param({"nthread": 1})
    columns = int(model["learner"]["learner_model_param"]["num_feature"])
    return np.float32(_margins(empty, np.zeros((1, columns), np.float32))[0])


def _margins(booster: xgboost.Booster, matrix: Floats) -> Floats:
    margins: Floats = booster.inplace_predict(matrix, predict_type="margin")
    return margins


def _probes(trees: TreeArrays) -> Floats:
    """Return rows of the numbers that nodes compare, of codes, and of what is missing."""
    chance = np.random.default_rng(0)
    known = np.concatenate([trees.nodes[:, 1].view(np.float32), np.arange(64, dtype=np.float32), [np.nan] * 64])
    return chance.choice(known.astype(np.float32), size=(_PROBES, trees.columns))


def _load(data: bytes, digest: str, length: int) -> xgboost.Booster:
    booster = xgboost.Booster()
    try:
        booster.load_model(bytearray(data))
    except xgboost.core.XGBoostError as error:
        reason = str(error).strip().splitlines()[0]
        raise ArtefactRefused(f"cannot load booster: {digest[:12]}: expected UBJ of XGBoost, got {reason}") from error
    if booster.num_features() != length:
        raise ArtefactRefused(
            f"cannot load booster: {digest[:12]}: expected {length} inputs, got {booster.num_features()}"
        )
    booster.set_param({"nthread": 1})
    return booster
