"""Boosters of every shape, trained on random numbers, and rows that meet what their trees compare."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xgboost
from numpy.typing import NDArray

from definitions.declared import Input
from definitions.encoder import Encoder
from definitions.values import ValueType
from online_models.learners.xgboost import XGBoostScorer

Floats = NDArray[np.float32]
CODES = 12


@dataclass(frozen=True, slots=True)
class Shape:
    """What a booster is trained with."""

    numbers: int = 3
    categories: int = 1
    rounds: int = 5
    depth: int = 3
    objective: str = "binary:logistic"
    seed: int = 0
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def inputs(self) -> tuple[Input, ...]:
        """The vector: numbers, then categories."""
        numbers = [Input(f"number{place}", ValueType.FLOAT) for place in range(self.numbers)]
        return (*numbers, *(Input(f"category{place}", ValueType.CATEGORY) for place in range(self.categories)))

    @property
    def encoder(self) -> Encoder:
        """Whose vocabularies have `CODES` categories each."""
        known = tuple(f"{code:02}" for code in range(CODES))
        return Encoder(self.inputs, {each.name: known for each in self.inputs if each.type is ValueType.CATEGORY})


def trained(shape: Shape) -> xgboost.Booster:
    """Return a booster of that shape. Cost: some ms."""
    chance = np.random.default_rng(shape.seed)
    matrix = _values(chance, shape, 300)
    signal = np.nan_to_num(matrix).astype(np.float64) @ chance.normal(size=matrix.shape[1])
    labels = (signal > np.median(signal)).astype(float) if "multi" not in shape.objective else np.arange(300) % 3
    kinds = ["q"] * shape.numbers + ["c"] * shape.categories
    data = xgboost.DMatrix(matrix, labels, feature_types=kinds, enable_categorical=True)
    given = {"objective": shape.objective, "max_depth": shape.depth, "nthread": 1, "tree_method": "hist", **shape.more}
    return xgboost.train(given, data, shape.rounds)


def scorer_of(shape: Shape, booster: xgboost.Booster) -> XGBoostScorer:
    """Return the scorer of what the booster saves."""
    data = bytes(booster.save_raw("ubj"))
    return XGBoostScorer("offline", shape.encoder, data=data, digest=hashlib.sha256(data).hexdigest())


def reloaded(booster: xgboost.Booster) -> xgboost.Booster:
    """Return what serves: its base went through the saved text, as the scorer's did."""
    found = xgboost.Booster()
    found.load_model(bytearray(booster.save_raw("ubj")))
    found.set_param({"nthread": 1})
    return found


def rows_that_meet(booster: xgboost.Booster, shape: Shape, rows: int, seed: int) -> Floats:
    """Return rows of which many values are a threshold, the float32 beside one, missing, or a code without a set."""
    chance = np.random.default_rng(seed)
    matrix = _values(chance, shape, rows)
    splits = booster.trees_to_dataframe()["Split"].to_numpy(dtype=np.float64)
    exact = splits[np.isfinite(splits)].astype(np.float32)
    if len(exact):
        beside = np.concatenate(
            [exact, np.nextafter(exact, np.float32(-np.inf)), np.nextafter(exact, np.float32(np.inf))]
        )
        where = chance.random((rows, shape.numbers)) < 0.5
        matrix[:, : shape.numbers] = np.where(
            where, chance.choice(beside, size=where.shape), matrix[:, : shape.numbers]
        )
    return matrix


def _values(chance: np.random.Generator, shape: Shape, rows: int) -> Floats:
    matrix = np.concatenate(
        [chance.normal(size=(rows, shape.numbers)), chance.integers(0, CODES, (rows, shape.categories))], axis=1
    ).astype(np.float32)
    matrix[chance.random(matrix.shape) < 0.1] = np.nan
    return matrix
