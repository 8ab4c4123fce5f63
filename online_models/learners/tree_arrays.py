"""Boosted trees as a few arrays: margins of small micro-batches, to the bit those of XGBoost, without its call's cost.

XGBoost asked for one row spends its time in the call, not in the trees. Here all trees of a booster lie behind each
other, level by level: the two children of a node are neighbours, the right one last, and a leaf is the right child of
the place before it, so that a round of steps is the same for all and has no branches.

Exactly XGBoost's margins: numbers are compared as float32, and float32 leaves are added tree by tree, the base first.
A missing value goes where its node sends it, because a row is laid out twice, with inf and with -inf for what is
missing, and each node reads of the one that sends it there. A category is known to a node by a set of codes: for each
such set the row has a number that says on which side it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from online_models.learners import ubj

Floats = NDArray[np.float32]
Places = NDArray[np.int64]

MOST_DEPTH = 64
MOST_TABLE = 1 << 22
"""Bytes at most of what categories are looked up in."""
_NO_PARENT = (1 << 31) - 1
_INFINITE = np.float32(np.inf)
_RIGHT = np.float32(0.5)
"""A set of categories has 0 for the left and 1 for the right."""
_NODES = ("left_children", "right_children", "split_indices", "split_conditions", "default_left", "split_type")
_CATEGORIES = ("categories", "categories_nodes", "categories_segments", "categories_sizes")


class NotArrays(ValueError):  # noqa: N818  # a state of the booster
    """A booster that cannot be these arrays: it has to be asked itself."""


@dataclass(frozen=True, slots=True)
class Sets:
    """The sets of categories that nodes ask for: one column of a row for each."""

    columns: Places
    """Those of the matrix that hold the codes."""
    greatest: Floats
    """Per such column, the first code that no set knows."""
    of: Places
    """Per set, its place in ``columns``."""
    begins: Places
    """Per set, where its sides begin in ``sides``: of a code below 0, of each code, of an unknown one, of none."""
    sides: NDArray[np.int8]

    def __call__(self, matrix: Floats) -> NDArray[np.int8]:
        """Return on which side of each set each row is, 0 or 1."""
        codes = np.minimum(matrix.take(self.columns, axis=1), self.greatest)
        places = (np.fmin(np.maximum(codes, -1), self.greatest + 1) + 1).astype(np.int64)
        return self.sides.take(self.begins + places.take(self.of, axis=1))


@dataclass(frozen=True, slots=True)
class TreeArrays:
    """A booster's trees. Memory: 16 bytes a node, 100 to 400 KB for 200 trees of depth 6, and at most `MOST_TABLE`.

    Cost: 6 array operations a level of the deepest tree; see `XGBoostScorer`.
    """

    nodes: NDArray[np.int32]
    """Per node: the column of the row, the bits of a float32, the place of the left child; the fourth is unused.

    The float32 is what an inner node compares, and what a leaf adds: in the first tree, with the base.
    """
    trees: int
    depth: int
    columns: int
    """Of the matrix."""
    sets: Sets | None

    def margins(self, matrix: Floats) -> Floats:
        """Return one margin per row of a float32 matrix, which may hold NaN and infinities."""
        rows = self._laid_out(matrix)
        flat, several = rows.ravel(), len(rows) > 1
        # One row needs no second axis, and arrays of one are the quicker to make.
        begins = np.arange(0, rows.size, rows.shape[1], dtype=np.int32)[:, None] if several else None
        node = self.nodes[: self.trees]
        if several and not self.depth:
            node = np.broadcast_to(node, (len(rows), *node.shape))
        for _ in range(self.depth):
            columns = node[..., 0] if begins is None else node[..., 0] + begins
            node = self.nodes.take(node[..., 2] + (flat.take(columns) >= node[..., 1].view(np.float32)), axis=0)
        return np.add.accumulate(node[..., 1].view(np.float32), axis=-1)[..., -1].reshape(len(rows))

    def _laid_out(self, matrix: Floats) -> Floats:
        """Return the rows as nodes read them: with inf for NaN, with -inf, an inf for leaves, the sides of each set."""
        own, sides = self.columns, None if self.sets is None else self.sets(matrix)
        rows = np.empty((len(matrix), 2 * own + 1 + (0 if sides is None else sides.shape[1])), np.float32)
        np.fmin(matrix, _INFINITE, out=rows[:, :own])
        np.fmax(matrix, -_INFINITE, out=rows[:, own : 2 * own])
        rows[:, 2 * own] = _INFINITE
        if sides is not None:
            rows[:, 2 * own + 1 :] = sides
        return rows


def tree_arrays(model: Mapping[str, Any], base: np.float32) -> TreeArrays:
    """Return the trees of a booster.

    Args:
        model: what XGBoost saves as UBJ, decoded by `ubj`.
        base: the margin before the first tree.

    Raises:
        NotArrays: trees that are not summed with equal weights, of several outputs, too deep, with an infinite
            threshold, or whose categories would take too much memory.
    """
    try:
        learner = model["learner"]
        booster, sizes = learner["gradient_booster"], learner["learner_model_param"]
        trees = booster["model"]["trees"]
        one_output = int(sizes["num_class"]) <= 1 and int(sizes["num_target"]) == 1 and not any(_tree_info(booster))
        plain = all(int(tree["tree_param"]["size_leaf_vector"]) <= 1 for tree in trees)
        if booster["name"] != "gbtree" or not trees or not one_output or not plain:
            raise NotArrays("expected trees of one output that are summed with equal weights")
        return _levelled(trees, int(sizes["num_feature"]), base)
    except (KeyError, TypeError, IndexError) as error:
        raise NotArrays(f"expected the model of a booster, got {error!r}") from error


def without_trees(model: Mapping[str, Any]) -> bytes:
    """Return a booster of the same objective and base whose one tree adds nothing, as JSON: its margin is the base.

    Raises:
        NotArrays: the model is of a kind that this does not make.
    """
    leaf: dict[str, Any] = {name: [] for name in _CATEGORIES}
    leaf |= {name: [-1] for name in ("left_children", "right_children")}
    leaf |= {name: [0] for name in ("split_indices", "default_left", "split_type")}
    # Zero would change the sign of a base that is -0.0; that one changes nothing.
    leaf |= {name: [-0.0] for name in ("split_conditions", "base_weights", "loss_changes", "sum_hessian")}
    leaf |= {"id": 0, "parents": [_NO_PARENT]}
    leaf["tree_param"] = {"num_deleted": "0", "num_feature": "1", "num_nodes": "1", "size_leaf_vector": "1"}
    try:
        learner = model["learner"]
        trees = {"trees": [leaf], "tree_info": [0], "iteration_indptr": [0, 1]}
        sizes = {"gbtree_model_param": {"num_parallel_tree": "1", "num_trees": "1"}}
        changed = {name: learner[name] for name in ("learner_model_param", "objective")}
        changed |= {"attributes": {}, "feature_names": [], "feature_types": []}
        changed["gradient_booster"] = {"name": "gbtree", "model": {**trees, **sizes}}
        return json.dumps({"learner": changed, "version": model["version"]}).encode()
    except (KeyError, TypeError) as error:
        raise NotArrays(f"expected the model of a booster, got {error!r}") from error


def _tree_info(booster: Mapping[str, Any]) -> Sequence[int]:
    found = booster["model"]["tree_info"]
    return ubj.numbers([found]).tolist() if isinstance(found, ubj.Packed) else found  # type: ignore[no-any-return]


def _levelled(trees: Sequence[Mapping[str, Any]], columns: int, base: np.float32) -> TreeArrays:
    counts = np.array([int(tree["tree_param"]["num_nodes"]) for tree in trees])
    begins = np.cumsum(counts) - counts
    offsets = np.repeat(begins, counts)
    lefts, rights, features, values, defaults, kinds = (ubj.numbers([tree[name] for tree in trees]) for name in _NODES)
    if len({len(lefts), len(rights), len(features), len(values), len(defaults), len(kinds), len(offsets)}) != 1:
        raise NotArrays("expected as many of everything as there are nodes")
    order, places, depth = _order(begins, lefts, lefts + offsets, rights + offsets)
    is_leaf = lefts < 0
    reads = np.where(is_leaf, 2 * columns, features + columns * defaults.astype(np.int64))
    sets, asking = None, np.flatnonzero((kinds != 0) & ~is_leaf)
    if len(asking):
        asked = _asked(trees, begins, features, defaults)
        sets, found = _sets([asked[node] for node in asking.tolist()])
        reads[asking], values[asking] = 2 * columns + 1 + found, _RIGHT
    if not np.isfinite(values).all():
        raise NotArrays("expected finite thresholds and leaves")
    values[: counts[0]][is_leaf[: counts[0]]] += base
    nodes = np.zeros((len(order), 4), np.int32)
    nodes[:, 0], nodes[:, 1], nodes[:, 2] = reads[order], values[order].view(np.int32), places
    return TreeArrays(nodes, len(trees), depth, columns, sets)


def _order(roots: Places, lefts: NDArray[Any], left_of: Places, right_of: Places) -> tuple[Places, Places, int]:
    """Return the nodes level by level, the place of each one's left child in that order, and how many rounds reach it.

    A leaf's is the place before its own: being sent to the right, it stays where it is.
    """
    levels, places, level, first = [], [], roots, 0
    for depth in range(MOST_DEPTH + 1):
        is_inner = lefts[level] >= 0
        behind = first + len(level)
        if behind > len(lefts):
            raise NotArrays("expected trees, got a node with two parents")
        place = np.arange(first - 1, behind - 1)
        place[is_inner] = behind + 2 * np.arange(int(is_inner.sum()))
        levels.append(level)
        places.append(place)
        inner, first = level[is_inner], behind
        if not len(inner):
            return np.concatenate(levels), np.concatenate(places), depth
        level = np.stack([left_of[inner], right_of[inner]], axis=1).ravel()
    raise NotArrays(f"expected trees of at most {MOST_DEPTH} levels")


_Set = tuple[int, bool, bytes]
"""A column, whether what is missing goes left, and the codes that go right, as bytes of int32."""


def _asked(
    trees: Sequence[Mapping[str, Any]], begins: Places, features: NDArray[Any], defaults: NDArray[Any]
) -> dict[int, _Set]:
    """Return the set that each node of categories asks for."""
    codes, own, segments, sizes = (ubj.numbers([tree[name] for tree in trees]) for name in _CATEGORIES)
    asking, known = ([len(tree[name]) for tree in trees] for name in ("categories_nodes", "categories"))
    nodes = own + np.repeat(begins, asking)
    ends = segments + np.repeat(np.cumsum(known) - known, asking) + sizes
    rows = zip(
        nodes.tolist(), features[nodes].tolist(), defaults[nodes].tolist(), ends.tolist(), sizes.tolist(), strict=True
    )
    packed = codes.astype(np.int32)
    return {
        node: (column, bool(is_left), packed[end - size : end].tobytes()) for node, column, is_left, end, size in rows
    }


def _sets(asked: Sequence[_Set]) -> tuple[Sets, Places]:
    """Return the sets that are asked for, and the place among them of each."""
    distinct = {each: place for place, each in enumerate(dict.fromkeys(asked))}
    codes = [np.frombuffer(right, np.int32) for _, _, right in distinct]
    columns = sorted({column for column, _, _ in distinct})
    of = np.array([columns.index(column) for column, _, _ in distinct])
    greatest = np.zeros(len(columns), np.int64)
    for place, right in zip(of.tolist(), codes, strict=True):
        greatest[place] = max(greatest[place], int(right.max(initial=-1)) + 1)
    sizes = greatest[of] + 3
    if sizes.sum() > MOST_TABLE:
        raise NotArrays(f"expected sets of categories within {MOST_TABLE} bytes, got {sizes.sum()}")
    begins = np.cumsum(sizes) - sizes
    sides = np.zeros(int(sizes.sum()), np.int8)
    for begin, size, right, (_, is_left, _) in zip(begins.tolist(), sizes.tolist(), codes, distinct, strict=True):
        sides[begin + 1 + right] = 1
        sides[begin + size - 1] = not is_left
    found = np.array([distinct[each] for each in asked])
    return Sets(np.array(columns), greatest.astype(np.float32), of, begins, sides), found
