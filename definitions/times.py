"""Times as authors calculate with them: the time asked about, and the calendar of a time zone."""

from __future__ import annotations

import zoneinfo
from datetime import datetime

from definitions.declaring import Declaring, author_line
from definitions.terms import Application, Leaf, Term
from definitions.values import ValueType, shown


class AskedAtTerm(Leaf):
    """The time that is asked about: a request's own time, a training question's, ``--as-of``."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "hr.asked_at()"


def asked_at() -> Term:
    """Return the time that is asked about, for calendars and differences: ``hr.asked_at() - last_seen["7d"]`` is ms."""
    return AskedAtTerm(ValueType.TIME)


def hour(time: datetime | Term | None, *, tz: str) -> Term:
    """Return the hour of the day of a time, 0 to 23, by the clocks of ``tz``."""
    return _calendar("hour", time, tz)


def weekday(time: datetime | Term | None, *, tz: str) -> Term:
    """Return the day of the week of a time, 0 for Monday to 6 for Sunday, by the calendar of ``tz``."""
    return _calendar("weekday", time, tz)


def time_zone(declaring: Declaring, name: object) -> str:
    """Return ``name`` if it is an IANA time zone, or refuse it."""
    try:
        return zoneinfo.ZoneInfo(declaring.text(name, "tz")).key
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:  # unknown, not a name, or a folder of zones
        raise declaring.refusal("tz= to be an IANA time zone", shown(name), "as in America/New_York") from error


def _calendar(name: str, time: object, tz: str) -> Term:
    declaring = Declaring(f"expression hr.{name}({time if isinstance(time, Term) else '…'})", author_line())
    if not isinstance(time, Term):
        raise declaring.refusal("a time", shown(time), f"write hr.{name}(hr.asked_at(), tz=…)")
    return Application(name, time, ValueType.INT, settings=(time_zone(declaring, tz),))
