"""The identity of an author's Python function: a digest of what it does, not of where it is written.

It covers the function's bytecode, constants, names and defaults; of the names that it reads, the values where they are
plain, and the functions of the author's own package in the same way. Comments, line numbers and names of local
variables are outside. Another minor version of Python compiles to other bytecode, and so gives another digest.
"""

from __future__ import annotations

import builtins
import dis
import hashlib
import json
from collections.abc import Callable, Collection, Iterator
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType

from definitions.values import shown

_GLOBAL_LOADS = frozenset({"LOAD_GLOBAL", "LOAD_NAME"})
_PLAIN = (bool, int, float, str, bytes, type(None), type(Ellipsis))


class Untold(Exception):  # noqa: N818  # becomes a refusal of the declaration
    """A function reads what no digest can tell; ``str(error)`` names it."""


def code_digest(function: Callable[..., object]) -> str:
    """Return the digest of a function's code and of what it reads, 64 hex digits.

    Raises:
        Untold: it is not written in Python, or reads an object whose content no digest can tell.
    """
    if not isinstance(function, FunctionType):
        raise Untold(f"{shown(function)}, which is not a function written in Python")
    text = json.dumps(_Telling(function).tell(function), separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


class _Telling:
    """Tells a function and what it reads as plain JSON, each function once."""

    def __init__(self, function: FunctionType) -> None:
        self._package = function.__module__.partition(".")[0]
        self._told: dict[FunctionType, int] = {}

    def tell(self, function: FunctionType) -> object:
        if function.__module__.partition(".")[0] != self._package:
            return ["foreign", function.__module__, function.__qualname__]
        if function in self._told:
            return ["told", self._told[function]]
        self._told[function] = len(self._told)
        code = function.__code__
        return {
            "code": self._code(code),
            "defaults": self._value("its defaults", function.__defaults__),
            "keywords": self._value("its defaults", function.__kwdefaults__),
            "closed_over": self._closed_over(function),
            "reads": {name: self._read(function, name) for name in sorted(set(_globals_read(code)))},
        }

    def _code(self, code: CodeType) -> object:
        constants = [
            self._code(each) if isinstance(each, CodeType) else self._value("a constant", each)
            for each in code.co_consts
        ]
        arguments = [code.co_argcount, code.co_kwonlyargcount, code.co_flags]
        return [code.co_code.hex(), code.co_exceptiontable.hex(), constants, list(code.co_names), arguments]

    def _closed_over(self, function: FunctionType) -> list[object]:
        told = []
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            try:
                content = cell.cell_contents
            except ValueError:
                raise Untold(f"{name}, which has no value yet") from None
            told.append(self._value(name, content))
        return told

    def _read(self, function: FunctionType, name: str) -> object:
        if name in function.__globals__:
            return self._value(name, function.__globals__[name])
        if hasattr(builtins, name):
            return ["builtin", name]
        raise Untold(f"{name}, which has no value yet")

    def _value(self, name: str, value: object) -> object:
        if isinstance(value, _PLAIN):
            return [type(value).__name__, repr(value)]
        if isinstance(value, list | tuple | set | frozenset | dict):
            return [type(value).__name__, self._content(name, value)]
        if isinstance(value, FunctionType):
            return self.tell(value)
        if isinstance(value, ModuleType):
            return ["module", value.__name__]
        if isinstance(value, type | BuiltinFunctionType):
            return ["named", value.__module__, value.__qualname__]
        raise Untold(f"{name}, {shown(value)}")

    def _content(self, name: str, value: Collection[object]) -> list[object]:
        if isinstance(value, dict):
            return [[self._value(name, key), self._value(name, each)] for key, each in value.items()]
        told = [self._value(name, each) for each in value]
        # A set has no order of its own: it differs from process to process.
        return sorted(told, key=json.dumps) if isinstance(value, set | frozenset) else told


def _globals_read(code: CodeType) -> Iterator[str]:
    """Yield the global names that the code and the functions written inside it read."""
    for step in dis.get_instructions(code):
        if step.opname in _GLOBAL_LOADS and isinstance(step.argval, str):
            yield step.argval
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield from _globals_read(each)
