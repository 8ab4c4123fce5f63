"""``hr.search``: a learner that tries many settings of an estimator in one pass and keeps the best."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Mapping, Sequence

from definitions.declaring import Declaring, author_line
from definitions.learners import Learner, river
from definitions.values import Scalar, shown

MOST_SETTINGS = 256


def search(
    build: Callable[..., object],
    grid: Mapping[str, Sequence[Scalar]],
    *,
    examples: int,
    settings: int | None = None,
    seed: int = 0,
) -> Learner:
    """Learn online with many settings of a River estimator at once, and halve them until the best is left.

    ``build`` gets one keyword for each name in ``grid``: ``hr.search(lambda lr, l2: StandardScaler() |
    LogisticRegression(optimizer=SGD(lr), l2=l2), {"lr": (0.1, 0.01), "l2": (0, 1e-4)}, examples=20_000)``. Every
    combination is tried, or ``settings`` of them drawn by ``seed``. After ``examples`` examples one is left. The
    learner predicts as the one that leads; `headrace models show` tells which it is. Nothing is deployed by itself.

    With 32 settings the search costs a tenth of letting all of them learn everything.
    """
    declaring = Declaring("search", author_line())
    if not callable(build):
        raise declaring.refusal("a function that builds an estimator", shown(build), "write hr.search(lambda lr: …)")
    if not isinstance(grid, Mapping) or not grid:
        raise declaring.refusal("a grid of values by name", shown(grid), 'write {"lr": (0.1, 0.01)}')
    for name, values in grid.items():
        if isinstance(values, str) or not isinstance(values, Sequence) or not values or not all(map(_is_plain, values)):
            raise declaring.refusal(f"values of {name} to be numbers, texts, bools or None", shown(values))
    combined = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    if settings is not None and declaring.count(settings, "settings") < len(combined):
        places = sorted(random.Random(seed).sample(range(len(combined)), settings))  # noqa: S311  # the same every time
        combined = [combined[place] for place in places]
    if not 2 <= len(combined) <= MOST_SETTINGS:  # noqa: PLR2004  # two are a choice
        expected = f"2 to {MOST_SETTINGS} settings"
        raise declaring.refusal(expected, str(len(combined)), "give settings= to draw so many of them")
    return river(_factory(build, combined, declaring.count(examples, "examples")))


def _factory(
    build: Callable[..., object], combined: Sequence[dict[str, Scalar]], examples: int
) -> Callable[[], object]:
    def factory() -> object:
        from online_models.searching import searched  # noqa: PLC0415  # it imports River, which takes half a second

        return searched([build(**each) for each in combined], combined, examples)

    return factory


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, bool | int | float | str)
