"""State becomes values here, and only here: live reads, training sets, audits and tests all ask this.

A window of ``length`` over a grid, asked at *t*, is the aggregate of the applied events in the ``length / grid`` tiles
that end with the tile of *t*. Its value changes with the clock, with no new event. How windows are read out of cells
is written out per view: `streams.windows`; and how old they are: `streams.ages`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from definitions.declared import ViewDefinition
from definitions.expressions import ASKED_AT, Evaluator, evaluator
from definitions.values import Value
from streams.ages import compiled as compiled_ages
from streams.cells import CellLayout
from streams.windows import Held, compiled, plans_of

__all__ = ["Finaliser", "Held"]


@dataclass(frozen=True, slots=True)
class _Derived:
    """A feature that is an expression, and the features it reads."""

    name: str
    evaluator: Evaluator


class Finaliser:
    """Turns the cells of one entity, of every source partition, into the values of one view's features.

    Args:
        view: whose features.
        layouts: of the cells, one per source of the view.
    """

    def __init__(self, view: ViewDefinition, layouts: Sequence[CellLayout]) -> None:
        self._names = tuple(each.name for each in view.features)
        self._derived = tuple(
            _Derived(each.name, evaluator(each.expression)) for each in view.features if each.expression is not None
        )
        self._asks_time = any(ASKED_AT in each.evaluator.reads for each in self._derived)
        plans = plans_of(view, layouts)
        self._read = compiled(view.key, plans, self._names)
        self._ages = compiled_ages(view.key, plans, self._names)

    def absent(self, as_of_ms: int) -> dict[str, Value]:
        """Return the values of an entity that is not known: none, but what an expression says of that."""
        values: dict[str, Value] = dict.fromkeys(self._names)
        self._derive(values, set(), as_of_ms)
        return values

    def unanswerable(self) -> tuple[dict[str, Value], set[str]]:
        """Return the values where it cannot be told whether the entity is known: none, and the names of all."""
        return dict.fromkeys(self._names), set(self._names)

    def values(self, held: Sequence[Held], as_of_ms: int) -> tuple[dict[str, Value], set[str], bool | None]:
        """Return the values of an entity, the names of those that cannot be answered, and whether it is known.

        The values are in the order of the view's features; those that cannot be answered are None. The entity is known
        at ``as_of_ms`` if some window that ends then holds an event of it; None says that it cannot be told, because a
        window reaches below what is retained.

        Args:
            held: what is held of the entity, per source of the view.
            as_of_ms: the time asked about.

        Cost: that of `streams.windows.compiled`, and 0.5 us an expression.
        """
        values, unanswerable, is_known = self._read(held, as_of_ms)
        if self._derived:
            self._derive(values, unanswerable, as_of_ms)
        return values, unanswerable, is_known

    def ages_ms(self, held: Sequence[Held], as_of_ms: int) -> dict[str, int | None]:
        """Return how old each value is: from the start of the newest tile with events in its window, None for none.

        The age of an expression is that of its oldest input. Cost: that of `streams.ages.compiled`.
        """
        ages = self._ages(held, as_of_ms)
        for derived in self._derived:
            read = [age for name in derived.evaluator.reads if (age := ages.get(name)) is not None]
            ages[derived.name] = max(read, default=None)
        return ages

    def _derive(self, values: dict[str, Value], unanswerable: set[str], as_of_ms: int) -> None:
        if self._asks_time:
            values[ASKED_AT] = as_of_ms
        for derived in self._derived:
            if unanswerable and not unanswerable.isdisjoint(derived.evaluator.reads):
                unanswerable.add(derived.name)
            else:
                values[derived.name] = derived.evaluator.one(values)
        if self._asks_time:
            del values[ASKED_AT]
