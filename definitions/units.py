"""Units of measure: text for people, and a check that what is added or compared is of one kind.

A unit is written with ``*``, ``/`` and ``^``: ``min``, ``km/h``, ``m/s^2``, ``1/s``. The empty text is *unknown*: it
combines with everything, and what it touches by multiplication is unknown too. ``1`` is a pure number. Units are not
converted: ``s`` and ``min`` are two units. They decide no state, so no hash covers them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

UNKNOWN = ""
PURE = "1"
MILLISECONDS = "ms"

KEEPING = frozenset({"sum", "mean", "min", "max", "first", "last", "last_k", "quantile", "std", "decayed_mean"})
"""The aggregates whose values are in their field's unit."""

_FACTOR = re.compile(r"([^\W\d_]+|[%°€$£¥]|1)(?:\^(-?[1-9]))?")

_Powers = dict[str, int]


def canonical_unit(text: str) -> str | None:
    """Return a unit in the one way it is written here, None where the text is none.

    Example:
        >>> canonical_unit("m/s/s"), canonical_unit("s*m"), canonical_unit("a b")
        ('m/s^2', 'm*s', None)
    """
    powers: _Powers = {}
    for place, part in enumerate(text.replace("/", "*/").split("*")):
        is_under = place > 0 and part.startswith("/")
        factor = _FACTOR.fullmatch(part.removeprefix("/") if is_under else part)
        if factor is None:
            return None
        _raise(powers, factor[1], int(factor[2] or 1) * (-1 if is_under else 1))
    return _written(powers)


def product(left: str, right: str) -> str:
    """Return the unit of a product."""
    return _combined(left, right, 1)


def quotient(left: str, right: str) -> str:
    """Return the unit of a quotient; of equal units it is a pure number."""
    return _combined(left, right, -1)


def common(left: str, right: str) -> str | None:
    """Return the unit of a sum, a difference or a choice of both, None where they clash."""
    return left or right if UNKNOWN in {left, right} or left == right else None


def _combined(left: str, right: str, sign: int) -> str:
    if UNKNOWN in {left, right}:
        return UNKNOWN
    powers = _powers(left)
    for symbol, power in _powers(right).items():
        _raise(powers, symbol, sign * power)
    return _written(powers)


def _powers(unit: str) -> _Powers:
    """Return the powers of a canonical unit."""
    powers: _Powers = {}
    over, *under = unit.split("/")
    for sign, factors in ((1, over.split("*")), (-1, under)):
        for factor in factors:
            symbol, _, power = factor.partition("^")
            _raise(powers, symbol, sign * int(power or 1))
    return powers


def _raise(powers: _Powers, symbol: str, power: int) -> None:
    if symbol != PURE:
        powers[symbol] = powers.get(symbol, 0) + power


def _written(powers: Mapping[str, int]) -> str:
    over = [_factor(symbol, power) for symbol, power in sorted(powers.items()) if power > 0]
    under = [f"/{_factor(symbol, -power)}" for symbol, power in sorted(powers.items()) if power < 0]
    return ("*".join(over) or PURE) + "".join(under)


def _factor(symbol: str, power: int) -> str:
    return symbol if power == 1 else f"{symbol}^{power}"
