"""Which mutants the seeded check catches; the last line is one JSON object.

``python -m tests.property.mutants_run [--joins]`` copies `streams` to a folder of its own and imports it from there,
once as it is and once with each mutant, or with those of the label join only. A mutant is caught by the first history
on which its answer, its tallies or its bytes differ from brute force, or on which it fails.
"""

from __future__ import annotations

import importlib
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.property.join_mutants import JOINS
from tests.property.mutants import STATE, STATISTICS, Mutant

HISTORIES_FIRST, HISTORIES = 40, 600
REPOSITORY = Path(__file__).parents[2]
JOIN_HISTORIES = 4_000
_LOADED_ANEW = ("streams", "tests.property.histories", "tests.property.join_histories", "tests.records")


def first_difference() -> int | None:
    """Return the first seed that shows the engine to be wrong, None if none does; -1 for what is no history."""
    _forget()
    seed = -1
    try:
        histories = importlib.import_module("tests.property.histories")
        judge = histories.Judge(histories.BY_USER)
        for seed in range(HISTORIES_FIRST):
            judge.check(seed)
        seed = -1
        histories.check_scale()
        for seed in range(HISTORIES_FIRST, HISTORIES):
            judge.check(seed)
    except Exception:  # noqa: BLE001  # AssertionError, or whatever a broken package raises
        return seed
    return None


def first_difference_of_joins() -> int | None:
    """Return the first seed that shows the label join to be wrong, None if none does; -1 for what is no history."""
    _forget()
    seed = -1
    try:
        histories = importlib.import_module("tests.property.join_histories")
        histories.check_scale()
        for seed in range(JOIN_HISTORIES):
            histories.check(seed)
    except Exception:  # noqa: BLE001  # AssertionError, or whatever a broken package raises
        return seed
    return None


def _forget() -> None:
    for name in [*sys.modules]:
        if name.startswith(_LOADED_ANEW):
            del sys.modules[name]
    importlib.invalidate_caches()


def run(
    mutants: Sequence[Mutant], folder: Path, first_difference: Callable[[], int | None] = first_difference
) -> dict[str, int | None]:
    """Return the seed that caught each mutant, None where none did.

    Raises:
        ValueError: a mutant's text is not in its file exactly once: it is out of date.
        RuntimeError: the package is caught as it is.
    """
    if (seed := first_difference()) is not None:
        raise RuntimeError(f"cannot judge mutants: expected no difference, got one at seed {seed}")
    caught: dict[str, int | None] = {}
    for mutant in mutants:
        path = folder / "streams" / mutant.file
        source = path.read_text(encoding="utf-8")
        if source.count(mutant.text) != 1:
            times = source.count(mutant.text)
            raise ValueError(f"cannot make mutant {mutant.name!r}: {mutant.file}: expected its text once, got {times}")
        path.write_text(source.replace(mutant.text, mutant.instead), encoding="utf-8")
        caught[mutant.name] = first_difference()
        path.write_text(source, encoding="utf-8")
    return caught


def copy_streams(folder: Path) -> None:
    """Put a copy of `streams` into the folder, and let it be the one that is imported."""
    shutil.copytree(REPOSITORY / "streams", folder / "streams", ignore=shutil.ignore_patterns("__pycache__"))
    sys.path.insert(0, str(folder))
    sys.dont_write_bytecode = True  # a file of the same size in the same second would be taken for the one before


def main() -> int:
    """Judge every mutant; return 1 if one is not caught."""
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        copy_streams(Path(folder))
        caught = run(JOINS, Path(folder), first_difference_of_joins)
        if "--joins" not in sys.argv[1:]:
            caught |= run([*STATE, *STATISTICS], Path(folder))
    missed = [name for name, seed in caught.items() if seed is None]
    said = {
        "mutants": len(caught),
        "mutants_caught": len(caught) - len(missed),
        "missed": missed,
        "seeds": caught,
        "seconds": round(time.monotonic() - began_s, 1),
    }
    sys.stdout.write(f"{json.dumps(said)}\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
