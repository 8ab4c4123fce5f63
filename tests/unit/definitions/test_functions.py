"""A function's digest says what it does: equal functions are equal wherever they stand, others are others."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from definitions.functions import Untold, code_digest

BASE = """
import math
LIMIT = 15
KINDS = {"AA", "UA", "DL"}
def helper(x): return x + 1
def score(row, scale=2):
    return helper(row["delay"]) / scale if row["carrier"] in KINDS else math.exp(-LIMIT)
"""


def function(source: str, name: str = "score") -> Callable[..., object]:
    module: dict[str, Any] = {"__name__": "author"}
    exec(compile(source, "author.py", "exec"), module)  # noqa: S102  # an author's module, as an import would run it
    found: Callable[..., object] = module[name]
    return found


def digest(*changes: tuple[str, str]) -> str:
    source = BASE
    for old, new in changes:
        assert old in source
        source = source.replace(old, new)
    return code_digest(function(source))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("LIMIT = 15", "LIMIT = 16"),
        ("LIMIT = 15", "LIMIT = 15.0"),
        ('"DL"}', '"B6"}'),
        ("x + 1", "x + 2"),
        ("scale=2", "scale=3"),
        ('row["delay"]', 'row["late"]'),
        ("math.exp", "math.log"),
        (") / scale", ") * scale"),
        ("row, scale=2", "row, *, scale=2"),
    ],
)
def test_what_it_does_changes_the_digest(old: str, new: str) -> None:
    assert digest((old, new)) != digest()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("LIMIT = 15", "\n\n# a comment\nLIMIT = 15"),
        ("def helper(x): return x + 1", "def helper(number):\n    return number + 1  # one more"),
        ('{"AA", "UA", "DL"}', '{"DL", "AA", "UA"}'),
        ("LIMIT = 15", "LIMIT = 15\nUNREAD = object()"),
    ],
)
def test_how_it_is_written_does_not(old: str, new: str) -> None:
    assert digest((old, new)) == digest()


def test_what_it_closed_over_is_covered() -> None:
    source = "def made(n):\n    return lambda row: row['delay'] > n\nfirst, second, again = made(1), made(2), made(1)\n"

    assert code_digest(function(source, "first")) != code_digest(function(source, "second"))
    assert code_digest(function(source, "first")) == code_digest(function(source, "again"))


def test_functions_may_call_each_other() -> None:
    source = "def odd(n): return n and even(n - 1)\ndef even(n): return not n or odd(n - 1)\n"

    assert code_digest(function(source, "odd")) == code_digest(function(source, "odd"))
    assert code_digest(function(source, "odd")) != code_digest(function(source, "even"))


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("held = object()\nscore = lambda row: held", "held, <object object"),
        ("score = lambda row: later", "later, which has no value yet"),
        ("import functools\nscore = functools.partial(max, 1)", "not a function written in Python"),
    ],
)
def test_what_no_digest_can_tell_is_named(source: str, told: str) -> None:
    with pytest.raises(Untold) as untold:
        code_digest(function(source))

    assert told in str(untold.value)


def test_it_is_the_same_in_every_process(tmp_path: Path) -> None:
    script = tmp_path / "other.py"
    script.write_text(
        "from definitions.functions import code_digest\n"
        "from tests.unit.definitions.test_functions import BASE, function\n"
        "print(code_digest(function(BASE)))\n"
    )
    found = {
        subprocess.run(
            [sys.executable, str(script)],
            env={"PYTHONPATH": str(Path(__file__).parents[3]), "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }

    assert found == {digest()}


def test_a_library_s_function_is_named_not_opened() -> None:
    assert code_digest(lambda row: math.sqrt(row["delay"])) != code_digest(lambda row: math.exp(row["delay"]))
