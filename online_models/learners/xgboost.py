"""The offline model: gradient-boosted trees of XGBoost, trained in batch, asked here."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import xgboost
from numpy.typing import NDArray

from definitions.encoder import Encoder, Vector
from online_models.errors import ArtefactRefused


class XGBoostScorer:
    """A trained booster behind the scorer's contract. Implements `online_models.learners.Scorer`.

    One thread: micro-batches are too small to share, and the process has other work. A missing value, and a category
    that training never saw, go down each tree's default branch.

    Cost (150 trees of depth 4, 25 inputs): about 0.2 ms a call and 6 us a row.
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

    def score_many(self, vectors: Sequence[Vector]) -> list[float]:
        """Return one score per vector, in order."""
        if not vectors:
            return []
        for vector in vectors:
            self._encoder.check(vector)
        scores: list[float] = self._booster.inplace_predict(self._encoder.matrix(vectors)).tolist()
        return scores

    @property
    def encoder(self) -> Encoder:
        """What makes its matrices."""
        return self._encoder

    def score_matrix(self, matrix: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return one score per row of a checked matrix of the encoder's, in order."""
        scores: NDArray[np.float32] = self._booster.inplace_predict(matrix)
        return scores


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
