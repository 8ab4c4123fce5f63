"""The only place that pickles: saving an estimator, and loading one back without running anything else.

A pickle can name any function of any module and call it. Here it may name exactly two groups of things: those that the
author's own freshly built estimator names, and the few that River's estimators grow while they learn. Digests are
checked before any byte comes here (`online_models.snapshots`).
"""

from __future__ import annotations

import copyreg
import io
import pickle
import random
from collections.abc import Callable
from types import FunctionType, MethodType
from typing import Any

from river.base import Base
from river.proba.base import Distribution

from online_models.errors import ArtefactRefused, LearnerUnusable

Global = tuple[str, str]
"""(module, qualified name), as a pickle names it."""

_PROTOCOL = 5

_SAFE_BUILTINS = frozenset(
    {"bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "int", "list", "object", "range", "set"}
    | {"slice", "str", "tuple"}
)
_DANGEROUS = frozenset(
    {"builtins", "code", "codecs", "ctypes", "importlib", "io", "multiprocessing", "nt", "operator", "os", "pickle"}
    | {"posix", "runpy", "shutil", "signal", "socket", "subprocess", "sys", "threading", "types", "webbrowser"}
)

GROWN: frozenset[Global] = frozenset(
    {
        ("builtins", "bool"),
        ("builtins", "float"),
        ("builtins", "frozenset"),
        ("builtins", "int"),
        ("builtins", "set"),
        ("collections", "Counter"),
        ("collections", "OrderedDict"),
        ("collections", "defaultdict"),
        ("collections", "deque"),
        ("numpy", "dtype"),
        ("numpy", "ndarray"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "scalar"),
        ("numpy._core.numeric", "_frombuffer"),
        ("online_models.restricted", "_method"),
        ("random", "Random"),
        ("river._river_rust.stats", "RsEWMean"),
        ("river._river_rust.stats", "RsEWVar"),
        ("river._river_rust.stats", "RsIQR"),
        ("river._river_rust.stats", "RsQuantile"),
        ("river._river_rust.vectordict", "VectorDict"),
        ("river.forest.adaptive_random_forest", "BaseTreeClassifier"),
        ("river.forest.adaptive_random_forest", "BaseTreeRegressor"),
        ("river.forest.online_extra_trees", "ETRegressor"),
        ("river.linear_model.lin_reg", "LinearRegression"),
        ("river.neighbors.ann.nn_vertex", "Vertex"),
        ("river.optim.initializers", "Zeros"),
        ("river.optim.losses", "Squared"),
        ("river.optim.schedulers", "Constant"),
        ("river.optim.sgd", "SGD"),
        ("river.proba.gaussian", "Gaussian"),
        ("river.rules.base", "NumericLiteral"),
        ("river.sketch.histogram", "Bin"),
        ("river.stats.mean", "Mean"),
        ("river.stats.var", "Var"),
        ("river.tree.padded", "PaddedBranch"),
        ("river.tree.padded", "PaddedLeaf"),
        ("river.tree.mondrian.mondrian_tree_classifier", "MondrianTreeClassifier"),
        ("river.tree.mondrian.mondrian_tree_nodes", "MondrianBranchClassifier"),
        ("river.tree.mondrian.mondrian_tree_nodes", "MondrianBranchRegressor"),
        ("river.tree.mondrian.mondrian_tree_nodes", "MondrianLeafClassifier"),
        ("river.tree.mondrian.mondrian_tree_nodes", "MondrianLeafRegressor"),
        ("river.tree.mondrian.mondrian_tree_regressor", "MondrianTreeRegressor"),
        ("river.tree.nodes.arf_htc_nodes", "RandomLeafMajorityClass"),
        ("river.tree.nodes.arf_htc_nodes", "RandomLeafNaiveBayesAdaptive"),
        ("river.tree.nodes.arf_htr_nodes", "RandomLeafAdaptive"),
        ("river.tree.nodes.branch", "NominalMultiwayBranch"),
        ("river.tree.nodes.branch", "NumericBinaryBranch"),
        ("river.tree.nodes.efdtc_nodes", "EFDTLeafNaiveBayesAdaptive"),
        ("river.tree.nodes.efdtc_nodes", "EFDTNumericBinaryBranch"),
        ("river.tree.nodes.hatc_nodes", "AdaLeafClassifier"),
        ("river.tree.nodes.hatc_nodes", "AdaNumBinaryBranchClass"),
        ("river.tree.nodes.hatr_nodes", "AdaLeafRegAdaptive"),
        ("river.tree.nodes.hatr_nodes", "AdaNumBinaryBranchReg"),
        ("river.tree.nodes.htc_nodes", "LeafMajorityClass"),
        ("river.tree.nodes.htc_nodes", "LeafNaiveBayes"),
        ("river.tree.nodes.htc_nodes", "LeafNaiveBayesAdaptive"),
        ("river.tree.nodes.htr_nodes", "LeafAdaptive"),
        ("river.tree.nodes.htr_nodes", "LeafMean"),
        ("river.tree.nodes.htr_nodes", "LeafModel"),
        ("river.tree.padded", "PaddedBranch"),
        ("river.tree.padded", "PaddedLeaf"),
        ("river.tree.splitter.ebst_splitter", "EBSTNode"),
        ("river.tree.splitter.ebst_splitter", "EBSTNode._update_estimator_univariate"),
        ("river.tree.splitter.exhaustive_splitter", "ExhaustiveNode"),
        ("river.tree.splitter.gaussian_splitter", "GaussianSplitter"),
        ("river.tree.splitter.qo_splitter", "Slot"),
        ("river.tree.splitter.random_splitter", "RegRandomSplitter"),
        ("river.tree.splitter.tebst_splitter", "TEBSTSplitter"),
    }
)
"""What estimators name after learning that they did not name when fresh: found by letting 50 kinds learn."""


class _Unpickler(pickle.Unpickler):
    """Loads what is allowed; where ``allowed`` is None everything is, and `seen` tells what it was."""

    def __init__(self, data: bytes, allowed: frozenset[Global] | None) -> None:
        super().__init__(io.BytesIO(data))
        self._allowed = allowed
        self.seen: set[Global] = set()

    def find_class(self, module_name: str, global_name: str, /) -> object:
        """Return the global that the pickle names, if it may."""
        self.seen.add((module_name, global_name))
        if self._allowed is not None and (module_name, global_name) not in self._allowed:
            raise ArtefactRefused(
                f"cannot load estimator: pickle: expected only what its learner is made of, "
                f"got {module_name}.{global_name}; rebuild the snapshot with `headrace batch train`"
            )
        found: object = super().find_class(module_name, global_name)
        return found


def reduce(value: Any) -> Any:
    """Return what ``value`` is made from, as pickling takes it apart.

    A distribution that was given no seed is taken apart without its random generator: it draws only where somebody asks
    for a sample, which no estimator does while it learns, and the generator would be nine tenths of a tree's bytes.
    """
    if value is _UNSEEDED:
        return random.Random, (0,)
    if isinstance(value, MethodType):
        return _method, (value.__self__, value.__func__.__name__)
    take_apart: Callable[[Any], Any] = copyreg.dispatch_table.get(type(value), _reduce)
    reduced = take_apart(value)
    if isinstance(value, Distribution) and value.seed is None:
        make, arguments, state, *more = reduced
        return (make, arguments, {**state, "_rng": _UNSEEDED}, *more)
    return reduced


_UNSEEDED = random.Random(0)  # noqa: S311  # keeps no secret


def _reduce(value: Any) -> Any:
    return value.__reduce_ex__(_PROTOCOL)


def _method(owner: object, name: str) -> object:
    """Return a method of an estimator: some hold one of their own. What pickling names is `getattr`, which reads all.

    Raises:
        ArtefactRefused: no estimator, or none of its methods.
    """
    is_river_s = isinstance(owner, Base) or type(owner).__module__.partition(".")[0] == "river"
    found = getattr(type(owner), name, None) if is_river_s and not name.startswith("__") else None
    if not isinstance(found, FunctionType):
        raise ArtefactRefused(f"cannot load estimator: pickle: expected a method of an estimator, got {name!r:.80}")
    return MethodType(found, owner)


class _Pickler(pickle.Pickler):
    """Saves as `reduce` says."""

    def reducer_override(self, value: Any, /) -> Any:
        """Return how the value is saved; as ever, but for a distribution and a method."""
        return reduce(value) if isinstance(value, Distribution | MethodType) or value is _UNSEEDED else NotImplemented


def save(estimator: object, *, where: str) -> bytes:
    """Return the estimator's bytes.

    Raises:
        LearnerUnusable: it holds something that cannot be saved, such as a lambda.
    """
    try:
        buffer = io.BytesIO()
        _Pickler(buffer, protocol=_PROTOCOL).dump(estimator)
        return buffer.getvalue()
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise LearnerUnusable(
            f"cannot save learner: {where}: expected an estimator of importable parts, got {error}; "
            "replace lambdas and local classes by functions of a module"
        ) from error


def globals_of(estimator: object, *, where: str) -> frozenset[Global]:
    """Return what a pickle of the author's freshly built estimator names: its share of the allow-list.

    Raises:
        LearnerUnusable: it cannot be saved, or names something that could run anything.
    """
    unpickler = _Unpickler(save(estimator, where=where), None)
    unpickler.load()
    for module, name in sorted(unpickler.seen):
        harmless = module == "builtins" and name in _SAFE_BUILTINS
        if module.partition(".")[0] in _DANGEROUS and not harmless:
            raise LearnerUnusable(
                f"cannot use learner: {where}: expected an estimator whose saved form is only data, "
                f"got one that names {module}.{name}; choose another estimator"
            )
    return frozenset(unpickler.seen)


def load(data: bytes, *, allowed: frozenset[Global]) -> object:
    """Return the estimator that `save` turned into ``data``, naming only ``allowed`` and `GROWN`.

    Raises:
        ArtefactRefused: it names anything else, or is no pickle.
    """
    try:
        return _Unpickler(data, allowed | GROWN).load()
    except (pickle.UnpicklingError, EOFError, AttributeError, ImportError, IndexError, TypeError, ValueError) as error:
        raise ArtefactRefused(f"cannot load estimator: pickle: expected one that was saved, got {error}") from error
