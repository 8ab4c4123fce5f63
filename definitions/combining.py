"""What may be combined with what, and what it gives: the types and units of authors' expressions."""

from __future__ import annotations

from definitions.declaring import Declaring
from definitions.units import MILLISECONDS, UNKNOWN, common, product, quotient
from definitions.values import ValueType

_NUMBERS = frozenset({ValueType.INT, ValueType.FLOAT})
_ARITHMETIC = frozenset("+-*/")
_LOGIC = frozenset("&|")
_EQUALITY = frozenset({"==", "!="})
_EQUATABLE = frozenset({ValueType.BOOL, ValueType.CATEGORY})
_OPERANDS = {
    "not": (frozenset({ValueType.BOOL}), "a bool"),
    "hour": (frozenset({ValueType.TIME}), "a datetime"),
    "weekday": (frozenset({ValueType.TIME}), "a datetime"),
}


def is_number(kind: ValueType) -> bool:
    """Return whether values of the type can be added up. A bool is no number."""
    return kind in _NUMBERS


def article(kind: ValueType) -> str:
    """Return a type as authors write it, with its article: ``an int``, ``a str``."""
    return f"an {kind.written}" if kind is ValueType.INT else f"a {kind.written}"


def combined_type(declaring: Declaring, operator: str, left: ValueType, right: ValueType) -> ValueType:
    """Return the type of two values under an operator, or refuse them. The difference of two times is ms, an int."""
    numbers, times = is_number(left) and is_number(right), left is right is ValueType.TIME
    got = f"{article(left)} {operator} {article(right)}"
    if operator in _LOGIC:
        if not (left is right is ValueType.BOOL):
            raise declaring.refusal(
                "a bool on both sides", got, "put each comparison in parentheses: (a > 1) & (b > 2)"
            )
        return ValueType.BOOL
    if operator in _ARITHMETIC:
        if times and operator == "-":
            return ValueType.INT
        if not numbers:
            raise declaring.refusal("numbers on both sides", got)
        only_ints = operator != "/" and left is right is ValueType.INT
        return ValueType.INT if only_ints else ValueType.FLOAT
    if not (numbers or times or (operator in _EQUALITY and left is right and left in _EQUATABLE)):
        raise declaring.refusal("values that can be compared", got)
    return ValueType.BOOL


def combined_unit(
    declaring: Declaring, operator: str, types: tuple[ValueType, ValueType], units: tuple[str, str]
) -> str:
    """Return the unit of two values under an operator, or refuse two that clash."""
    if operator in _LOGIC:
        return UNKNOWN
    if operator == "*":
        return product(*units)
    if operator == "/":
        return quotient(*units)
    unit = common(*units)
    if unit is None:
        mend = "convert one of them, or leave out its unit"
        raise declaring.refusal("one unit on both sides", f"{units[0]} {operator} {units[1]}", mend)
    if operator not in _ARITHMETIC:
        return UNKNOWN
    return MILLISECONDS if types[0] is ValueType.TIME else unit


def require_operand(declaring: Declaring, function: str, kind: ValueType) -> None:
    """Refuse an operand that the function has no value for."""
    accepted, expected = _OPERANDS.get(function, (_NUMBERS, "a number"))
    if kind not in accepted:
        raise declaring.refusal(expected, article(kind))
