"""What authors calculate with: fields of an event and features of a view, combined by Python's operators.

A term knows its type when it is written, so a wrong combination is refused on the author's own line. It becomes an
`Expression` when the view or the label that it belongs to is declared, for only then do its parts have names.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from definitions.declared import EventDefinition, Feature, Field, ViewDefinition
from definitions.declaring import Declaring, author_line
from definitions.expressions import Constant, Expression, Name, Operation
from definitions.values import ValueType, shown

Literal = int | float | bool | str

_NUMBERS = (ValueType.INT, ValueType.FLOAT)
_ARITHMETIC = frozenset("+-*/")
_EQUALITY = frozenset({"==", "!="})
_LITERALS = {int: ValueType.INT, float: ValueType.FLOAT, bool: ValueType.BOOL, str: ValueType.CATEGORY}


class Term:
    """A value that is not there yet: it can be combined and compared, but not looked at."""

    __slots__ = ("type", "where")

    def __init__(self, kind: ValueType) -> None:
        self.type = kind
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

    __hash__ = object.__hash__

    def __bool__(self) -> NoReturn:
        raise Declaring("expression", author_line()).refusal(
            "one comparison at a time", "a value that is not there yet", "and, or, not and a < b < c cannot be used"
        )

    def else_(self, value: Literal) -> Term:
        """Return this term with ``value`` in place of a missing result."""
        return Alternative(self, value)

    def expression(self, named: Callable[[Term], str | None]) -> Expression:
        """Return the term as data; ``named`` gives the name of a term that has one, or refuses it."""
        name = named(self)
        return self._combined(named) if name is None else Name(name)

    def _combined(self, named: Callable[[Term], str | None]) -> Expression:
        raise NotImplementedError


class FieldTerm(Term):
    """A field of an event: what ``Departed.delay_min`` is at run time."""

    __slots__ = ("event", "field")

    def __init__(self, event: EventDefinition, field: Field) -> None:
        super().__init__(field.type)
        self.event = event
        self.field = field

    def __repr__(self) -> str:
        return f"{self.event.name}.{self.field.name}"


class FeatureTerm(Term):
    """A feature of a declared view: what ``OriginTraffic.flights["1h"]`` is at run time."""

    __slots__ = ("feature", "view")

    def __init__(self, view: ViewDefinition, feature: Feature) -> None:
        super().__init__(feature.type)
        self.view = view
        self.feature = feature

    def __repr__(self) -> str:
        return f"{self.view.name}.{self.feature.name}"


class ConstantTerm(Term):
    """A literal among terms."""

    __slots__ = ("value",)

    def __init__(self, value: Literal) -> None:
        kind = _LITERALS.get(type(value))
        if kind is None or value != value or value in (float("inf"), float("-inf")):  # noqa: PLR0124  # NaN alone
            raise Declaring("expression", author_line()).refusal("a number, a text or a term", shown(value))
        super().__init__(kind)
        self.value = value

    def __repr__(self) -> str:
        return repr(self.value)

    def _combined(self, named: Callable[[Term], str | None]) -> Constant:
        del named
        return Constant(self.value)


class Combination(Term):
    """Two terms under an operator."""

    __slots__ = ("left", "operator", "right")

    def __init__(self, operator: str, left: Term | Literal, right: Term | Literal) -> None:
        self.operator = operator
        self.left = left if isinstance(left, Term) else ConstantTerm(left)
        self.right = right if isinstance(right, Term) else ConstantTerm(right)
        super().__init__(_type(operator, self.left, self.right))

    def __repr__(self) -> str:
        return f"({self.left!r} {self.operator} {self.right!r})"

    def _combined(self, named: Callable[[Term], str | None]) -> Operation:
        return Operation(self.operator, self.left.expression(named), self.right.expression(named))


class Alternative(Term):
    """A term, or a literal where the term has no value."""

    __slots__ = ("term", "value")

    def __init__(self, term: Term, value: Literal) -> None:
        literal = ConstantTerm(value)
        numbers = term.type in _NUMBERS and literal.type in _NUMBERS
        if literal.type is not term.type and not numbers:
            raise Declaring("expression", author_line()).refusal(
                f"else_ to give {article(term.type)}, as {term!r} is", shown(value)
            )
        self.term = term
        self.value = value
        super().__init__(ValueType.FLOAT if numbers and ValueType.FLOAT in (term.type, literal.type) else term.type)

    def __repr__(self) -> str:
        return f"{self.term!r}.else_({self.value!r})"

    def _combined(self, named: Callable[[Term], str | None]) -> Operation:
        inner = self.term.expression(named)
        if isinstance(inner, Operation) and inner.otherwise is None:
            return Operation(inner.operator, inner.left, inner.right, self.value)
        return Operation("else", inner, Constant(self.value), self.value)


def article(kind: ValueType) -> str:
    """Return a type as authors write it, with its article: ``an int``, ``a str``."""
    return f"an {kind.written}" if kind is ValueType.INT else f"a {kind.written}"


def _type(operator: str, left: Term, right: Term) -> ValueType:
    numbers = left.type in _NUMBERS and right.type in _NUMBERS
    if operator in _ARITHMETIC:
        if not numbers:
            raise _mixed(operator, left, right, "numbers on both sides")
        only_ints = operator != "/" and left.type is right.type is ValueType.INT
        return ValueType.INT if only_ints else ValueType.FLOAT
    comparable = numbers or (operator in _EQUALITY and left.type is right.type and left.type is not ValueType.TIME)
    if not comparable:
        raise _mixed(operator, left, right, "values that can be compared")
    return ValueType.BOOL


def _mixed(operator: str, left: Term, right: Term, expected: str) -> Exception:
    got = f"{article(left.type)} {operator} {article(right.type)}"
    return Declaring(f"expression {left!r} {operator} {right!r}", author_line()).refusal(expected, got)
