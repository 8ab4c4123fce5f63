"""What authors calculate with: fields of an event, features and request inputs, combined by Python's operators.

A term knows its type and its unit when it is written, so a wrong combination is refused on the author's own line. It
becomes an `Expression` when the view, the model or the label that it belongs to is declared, for only then do its
parts have names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NoReturn

from definitions.combining import article, combined_type, combined_unit, is_number, require_operand
from definitions.declared import EventDefinition, Feature, Field, ViewDefinition
from definitions.declaring import Declaring, author_line
from definitions.expressions import Constant, Constants, Expression, Function, Name, Operation
from definitions.units import PURE, UNKNOWN
from definitions.values import ValueType, shown

__all__ = [
    "Alternative",
    "Application",
    "Combination",
    "ConstantTerm",
    "FeatureTerm",
    "FieldTerm",
    "Leaf",
    "Literal",
    "Naming",
    "Term",
    "article",
]

Literal = Constants
Naming = Callable[["Term"], str | None]
"""Gives the name of a term that has one, None to a term that has parts; or refuses it."""

_LITERALS = {int: ValueType.INT, float: ValueType.FLOAT, bool: ValueType.BOOL, str: ValueType.CATEGORY}


class Term:
    """A value that is not there yet: it can be combined and compared, but not looked at.

    Where a part has no value the result has none, but for `else_`; nor has a division by zero, a logarithm of nothing
    or less, or a number that is not finite.
    """

    __slots__ = ("length", "type", "unit", "where")

    def __init__(self, kind: ValueType, unit: str = UNKNOWN, length: int | None = None) -> None:
        self.type = kind
        self.unit = unit
        self.length = length
        self.where = author_line()

    def __add__(self, other: Term | Literal) -> Term:
        return Combination("+", self, other)

    def __radd__(self, other: Literal) -> Term:
        return Combination("+", other, self)

    def __sub__(self, other: Term | Literal) -> Term:
        return Combination("-", self, other)

    def __rsub__(self, other: Literal) -> Term:
        return Combination("-", other, self)

    def __mul__(self, other: Term | Literal) -> Term:
        return Combination("*", self, other)

    def __rmul__(self, other: Literal) -> Term:
        return Combination("*", other, self)

    def __truediv__(self, other: Term | Literal) -> Term:
        return Combination("/", self, other)

    def __rtruediv__(self, other: Literal) -> Term:
        return Combination("/", other, self)

    def __lt__(self, other: Term | Literal) -> Term:
        return Combination("<", self, other)

    def __le__(self, other: Term | Literal) -> Term:
        return Combination("<=", self, other)

    def __gt__(self, other: Term | Literal) -> Term:
        return Combination(">", self, other)

    def __ge__(self, other: Term | Literal) -> Term:
        return Combination(">=", self, other)

    def __eq__(self, other: Term | Literal) -> Term:  # type: ignore[override]  # a comparison of what comes later
        return Combination("==", self, other)

    def __ne__(self, other: Term | Literal) -> Term:  # type: ignore[override]
        return Combination("!=", self, other)

    def __and__(self, other: Term | Literal) -> Term:
        return Combination("&", self, other)

    def __rand__(self, other: Literal) -> Term:
        return Combination("&", other, self)

    def __or__(self, other: Term | Literal) -> Term:
        return Combination("|", self, other)

    def __ror__(self, other: Literal) -> Term:
        return Combination("|", other, self)

    def __invert__(self) -> Term:
        return Application("not", self, ValueType.BOOL)

    def __abs__(self) -> Term:
        return Application("abs", self, self.type, self.unit)

    __hash__ = object.__hash__

    def __bool__(self) -> NoReturn:
        raise Declaring("expression", author_line()).refusal(
            "one comparison at a time",
            "a value that is not there yet",
            "and, or, not and a < b < c cannot be used; write (a < b) & ~(b < c)",
        )

    def else_(self, value: Literal) -> Term:
        """Return this term with ``value`` in place of a missing result."""
        return Alternative(self, value)

    def clip(self, low: float | None = None, high: float | None = None) -> Term:
        """Return this number, but not below ``low`` and not above ``high``; None leaves that side open."""
        bounds = [ConstantTerm(each) for each in (low, high) if each is not None]
        if not bounds or any(not is_number(each.type) for each in bounds) or bounds[0].value > bounds[-1].value:  # type: ignore[operator]
            declaring = Declaring(f"expression {self!r}.clip(…)", author_line())
            raise declaring.refusal("clip to be given low <= high", f"low={shown(low)}, high={shown(high)}")
        floats = any(each.type is ValueType.FLOAT for each in (self, *bounds))
        kind = ValueType.FLOAT if floats else ValueType.INT
        return Application("clip", self, kind, self.unit, settings=(low, high))

    def log(self) -> Term:
        """Return the natural logarithm; of 0 and less there is none."""
        return Application("log", self, ValueType.FLOAT, PURE if self.unit == PURE else UNKNOWN)

    def log1p(self) -> Term:
        """Return the natural logarithm of 1 + this number, exact near 0; of -1 and less there is none."""
        return Application("log1p", self, ValueType.FLOAT, PURE if self.unit == PURE else UNKNOWN)

    def expression(self, named: Naming) -> Expression:
        """Return the term as data; ``named`` gives the name of a term that has one, or refuses it."""
        name = named(self)
        return self._combined(named) if name is None else Name(name)

    def _combined(self, named: Naming) -> Expression:
        raise NotImplementedError


class Leaf(Term):
    """A term without parts: whoever declares an expression knows its name, or refuses it."""

    __slots__ = ()


class FieldTerm(Leaf):
    """A field of an event: what ``Departed.delay_min`` is at run time."""

    __slots__ = ("event", "field")

    def __init__(self, event: EventDefinition, field: Field) -> None:
        super().__init__(field.type, field.unit, field.length)
        self.event = event
        self.field = field

    def __repr__(self) -> str:
        return f"{self.event.name}.{self.field.name}"


class FeatureTerm(Leaf):
    """A feature of a declared view: what ``OriginTraffic.flights["1h"]`` is at run time."""

    __slots__ = ("feature", "view")

    def __init__(self, view: ViewDefinition, feature: Feature) -> None:
        super().__init__(feature.type, feature.unit, feature.length)
        self.view = view
        self.feature = feature

    def __repr__(self) -> str:
        return f"{self.view.name}.{self.feature.name}"


class ConstantTerm(Term):
    """A literal among terms. Its unit is unknown: 60 may be a number of minutes, or seconds per minute."""

    __slots__ = ("value",)

    def __init__(self, value: Literal) -> None:
        kind = _LITERALS.get(type(value))
        if kind is None or value != value or value in (float("inf"), float("-inf")):  # noqa: PLR0124  # NaN alone
            raise Declaring("expression", author_line()).refusal("a number, a text or a term", shown(value))
        super().__init__(kind)
        self.value = value

    def __repr__(self) -> str:
        return repr(self.value)

    def _combined(self, named: Naming) -> Constant:
        del named
        return Constant(self.value)


class Combination(Term):
    """Two terms under an operator."""

    __slots__ = ("left", "operator", "right")

    def __init__(self, operator: str, left: Term | Literal, right: Term | Literal) -> None:
        self.operator = operator
        self.left = left if isinstance(left, Term) else ConstantTerm(left)
        self.right = right if isinstance(right, Term) else ConstantTerm(right)
        declaring = Declaring(f"expression {self!r}", author_line())
        kind = combined_type(declaring, operator, self.left.type, self.right.type)
        sides = (self.left.type, self.right.type)
        super().__init__(kind, combined_unit(declaring, operator, sides, (self.left.unit, self.right.unit)))

    def __repr__(self) -> str:
        return f"({self.left!r} {self.operator} {self.right!r})"

    def _combined(self, named: Naming) -> Operation:
        return Operation(self.operator, self.left.expression(named), self.right.expression(named))


class Application(Term):
    """A function of one term."""

    __slots__ = ("function", "settings", "term")

    def __init__(
        self,
        function: str,
        term: Term,
        kind: ValueType,
        unit: str = UNKNOWN,
        *,
        settings: tuple[Literal | None, ...] = (),
    ) -> None:
        self.function = function
        self.term = term
        self.settings = settings
        declaring = Declaring(f"expression {self!r}", author_line())
        require_operand(declaring, function, term.type)
        super().__init__(kind, unit)

    def __repr__(self) -> str:
        given = ", ".join([repr(self.term), *map(repr, self.settings)])
        return f"{self.function}({given})"

    def _combined(self, named: Naming) -> Function:
        return Function(self.function, self.term.expression(named), self.settings)


class Alternative(Term):
    """A term, or a literal where the term has no value."""

    __slots__ = ("term", "value")

    def __init__(self, term: Term, value: Literal) -> None:
        literal = ConstantTerm(value)
        numbers = is_number(term.type) and is_number(literal.type)
        if literal.type is not term.type and not numbers:
            raise Declaring("expression", author_line()).refusal(
                f"else_ to give {article(term.type)}, as {term!r} is", shown(value)
            )
        self.term = term
        self.value = value
        floats = numbers and ValueType.FLOAT in {term.type, literal.type}
        super().__init__(ValueType.FLOAT if floats else term.type, term.unit)

    def __repr__(self) -> str:
        return f"{self.term!r}.else_({self.value!r})"

    def _combined(self, named: Naming) -> Operation | Function:
        inner = self.term.expression(named)
        if isinstance(inner, Operation | Function) and inner.otherwise is None:
            return replace(inner, otherwise=self.value)
        return Operation("else", inner, Constant(self.value), self.value)
