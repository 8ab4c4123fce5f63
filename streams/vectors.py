"""From what was served and what a request carries to the model's vector: live, in training sets and in a replay."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from definitions.declared import Input, ModelDefinition
from definitions.expressions import evaluator, names_of
from definitions.values import Value
from streams.lookups import Row


@dataclass(frozen=True, slots=True)
class VectorLayout:
    """The places of one model's vector, each with what gives its value.

    An expression of which a part could not be read has no value, whatever its ``else_`` says: "could not read" is not
    "no data" (law 6).
    """

    places: tuple[Callable[[Row], Value], ...]
    """What gives each value; empty where every place is a value of its own name."""
    reads: tuple[tuple[str, ...], ...]
    """Per place, the names of what its value is made of."""

    @classmethod
    def of(cls, model: ModelDefinition) -> VectorLayout:
        """Return the layout of a model's vector; its expressions are made ready here, once."""
        reads = tuple(
            (each.name,) if each.expression is None else tuple(names_of(each.expression)) for each in model.inputs
        )
        are_plain = all(each.expression is None for each in model.inputs)
        return cls(() if are_plain else tuple(_place(each) for each in model.inputs), reads)

    def vector(self, row: Row) -> list[Value]:
        """Return the vector of one request, given its `row_of`. Cost: 0.1 us a value, and more for expressions."""
        return [place(row) for place in self.places] if self.places else [row.get(name) for (name,) in self.reads]

    def ages_ms(self, ages: Mapping[str, int | None]) -> list[int | None]:
        """Return the age of each value of a vector: that of the oldest feature it is made of.

        None where it is made of none, or of none that has a value.

        Args:
            ages: ``view.feature`` to its age: `streams.reading.Served.ages_ms`.
        """
        if not self.places:
            return [ages.get(name) for (name,) in self.reads]
        return [ages.get(names[0]) if len(names) == 1 else _oldest(ages, names) for names in self.reads]


def _oldest(ages: Mapping[str, int | None], names: Sequence[str]) -> int | None:
    return max((age for name in names if (age := ages.get(name)) is not None), default=None)


def _place(each: Input) -> Callable[[Row], Value]:
    name = each.name
    if each.expression is None:
        return lambda row: row.get(name)
    made = evaluator(each.expression)
    return lambda row: made.one(row) if made.reads <= row.keys() else None
