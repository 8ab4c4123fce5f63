"""How a declaration finds its place in the author's file and refuses what cannot mean anything.

Every refusal names the author's file and line, never one of ours, and the mend where it is known.
"""

from __future__ import annotations

import difflib
import keyword
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from types import FrameType

from definitions.errors import DefinitionError, NotDeclared
from definitions.values import shown

NAME_LENGTH = 64
"""The longest name, a feature's with its view's in front: it becomes part of topics, keys and columns."""

_OUR_PACKAGES = frozenset({"definitions", "headrace"})
_NAME = re.compile(r"_?[A-Za-z][A-Za-z0-9_]*", re.ASCII)
_WORD_STARTS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def author_frame() -> FrameType:
    """Return the innermost frame that is not headrace's: the author's line that is being run."""
    frame = sys._getframe(1)  # noqa: SLF001  # `inspect.stack` reads source files, this does not
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).partition(".")[0] in _OUR_PACKAGES:
        frame = frame.f_back
    return frame


def author_line(frame: FrameType | None = None) -> str:
    """Return the author's file and line, as ``app.py:14``."""
    frame = frame or author_frame()
    return f"{PurePath(frame.f_code.co_filename).name}:{frame.f_lineno}"


def near(name: str, names: Iterable[str]) -> str:
    """Return ``did you mean 'x'?`` for the nearest of ``names``, or nothing."""
    found = difflib.get_close_matches(name, list(names), n=1)
    return f"did you mean {found[0]!r}?" if found else ""


def listed(names: Iterable[str]) -> str:
    """Return the names as people read them, ``one of a, b, c``."""
    known = ", ".join(names)
    return f"one of {known}" if known else "none, for there are none"


def snake_case(name: str) -> str:
    """Return a class name in snake case: ``OriginTraffic`` becomes ``origin_traffic``."""
    return _WORD_STARTS.sub("_", name).lower()


def not_declared(kind: str, where: str, name: str, names: Iterable[str]) -> NotDeclared:
    """Return the error for a name that is not among ``names``."""
    known = list(names)
    mend = near(name, known)
    return NotDeclared(f"cannot find {kind}: {where}: expected {listed(known)}, got {name!r}" + (mend and f"; {mend}"))


@dataclass(frozen=True, slots=True)
class Declaring:
    """What is being declared, and where: ``event Departed`` at ``app.py:14``."""

    what: str
    where: str

    def refusal(self, expected: str, got: str, mend: str = "", *, where: str = "") -> DefinitionError:
        """Return the error that says what was expected, what was got and, if it is known, what to do."""
        text = f"cannot declare {self.what}: {where or self.where}: expected {expected}, got {got}"
        return DefinitionError(f"{text}; {mend}" if mend else text)

    def name(self, name: object, *, where: str = "", within: str = "") -> str:
        """Return ``name`` if it can name something, alone and with ``within.`` in front."""
        if not isinstance(name, str) or _NAME.fullmatch(name) is None:
            raise self.refusal("a name of letters, digits and underscores", shown(name), where=where)
        if keyword.iskeyword(name):
            raise self.refusal("a name", f"the Python keyword {name!r}", "give it another name", where=where)
        full = f"{within}.{name}" if within else name
        if len(full) > NAME_LENGTH:
            raise self.refusal(f"a name of at most {NAME_LENGTH} characters", f"{full!r} ({len(full)})", where=where)
        return name

    def names(self, value: object, keyword_name: str) -> tuple[str, ...]:
        """Return ``"x"`` or ``("x", "y")`` as a tuple of names, each once."""
        names = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, tuple | list) else ()
        if not names or not all(isinstance(each, str) for each in names):
            raise self.refusal(f"{keyword_name}= to be a name or a tuple of names", shown(value))
        if len(set(names)) < len(names):
            raise self.refusal(f"{keyword_name}= to name each once", shown(value))
        return names

    def keywords(self, given: Mapping[str, object], required: Iterable[str], optional: Iterable[str]) -> None:
        """Refuse class keywords that are unknown or missing."""
        required = sorted(required)
        known = [*required, *sorted(optional)]
        for name in given:
            if name not in known:
                raise self.refusal(f"the keywords {', '.join(known)}", f"{name}=", near(name, known))
        for name in required:
            if name not in given:
                raise self.refusal(f"the keyword {name}=", "none", f"write {self.what.split()[-1]}(…, {name}=…)")

    def text(self, value: object, keyword_name: str) -> str:
        """Return a keyword's value if it is text."""
        if not isinstance(value, str):
            raise self.refusal(f"{keyword_name}= to be text", shown(value))
        return value

    def count(self, value: object, keyword_name: str) -> int:
        """Return a keyword's value if it is a whole number from 1 on."""
        if type(value) is not int or value < 1:
            raise self.refusal(f"{keyword_name}= to be a whole number from 1 on", shown(value))
        return value

    def texts(self, value: object, keyword_name: str) -> tuple[str, ...]:
        """Return a keyword's value if it is a sequence of texts."""
        if not isinstance(value, tuple | list) or not all(isinstance(each, str) for each in value):
            raise self.refusal(f"{keyword_name}= to be a tuple of texts", shown(value))
        return tuple(value)
