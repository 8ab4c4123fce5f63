"""Which mutants the seeded check catches; the last line is one JSON object.

``python -m tests.property.mutants_run [--joins]`` copies `streams` to a folder of its own and imports it from there
with each mutant, or with those of the label join only. A mutant is caught by the first history on which its answer, its
tallies or its bytes differ from brute force, or on which it fails; and the package as it is must be right on that one.
"""

from __future__ import annotations

import importlib
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import ModuleType

from tests.property.join_mutants import JOINS
from tests.property.mutants import STATE, STATISTICS, Mutant

REPOSITORY = Path(__file__).parents[2]
SCALE = -1
"""Stands for what is no history: `check_scale`, and that the package can be imported."""

HISTORIES = (*range(40), SCALE, *range(40, 600))  # the scale takes as long as many histories
JOIN_HISTORIES = (SCALE, *range(4_000))
_LOADED_ANEW = ("streams", "tests.property.histories", "tests.property.join_histories", "tests.records")


def first_difference(seeds: Iterable[int]) -> int | None:
    """Return the first of the seeds that shows the engine to be wrong, None if none does."""
    return _first(seeds, "histories", lambda histories: histories.Judge(histories.BY_USER).check)


def first_difference_of_joins(seeds: Iterable[int]) -> int | None:
    """Return the first of the seeds that shows the label join to be wrong, None if none does."""
    return _first(seeds, "join_histories", lambda histories: histories.check)


def _first(seeds: Iterable[int], module: str, check_of: Callable[[ModuleType], Callable[[int], None]]) -> int | None:
    for name in [*sys.modules]:
        if name.startswith(_LOADED_ANEW):
            del sys.modules[name]
    importlib.invalidate_caches()
    seed = SCALE
    try:
        histories = importlib.import_module(f"tests.property.{module}")
        check = check_of(histories)
        for seed in seeds:
            if seed == SCALE:
                histories.check_scale()
            else:
                check(seed)
    except Exception:  # noqa: BLE001  # AssertionError, or whatever a broken package raises
        return seed
    return None


def run(
    mutants: Sequence[Mutant],
    folder: Path,
    first_difference: Callable[[Iterable[int]], int | None],
    seeds: Sequence[int],
) -> dict[str, int | None]:
    """Return the seed that caught each mutant, None where none did.

    Raises:
        ValueError: a mutant's text is not in its file exactly once: it is out of date.
        RuntimeError: a seed that caught a mutant catches the package as it is.
    """
    caught: dict[str, int | None] = {}
    for mutant in mutants:
        path = folder / "streams" / mutant.file
        source = path.read_text(encoding="utf-8")
        if source.count(mutant.text) != 1:
            times = source.count(mutant.text)
            raise ValueError(f"cannot make mutant {mutant.name!r}: {mutant.file}: expected its text once, got {times}")
        path.write_text(source.replace(mutant.text, mutant.instead), encoding="utf-8")
        caught[mutant.name] = first_difference(seeds)
        path.write_text(source, encoding="utf-8")
    decisive = {SCALE, *(seed for seed in caught.values() if seed is not None)}
    if (seed := first_difference(sorted(decisive))) is not None:
        raise RuntimeError(f"cannot judge mutants: expected no difference, got one at seed {seed}")
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
        caught = run(JOINS, Path(folder), first_difference_of_joins, JOIN_HISTORIES)
        if "--joins" not in sys.argv[1:]:
            caught |= run([*STATE, *STATISTICS], Path(folder), first_difference, HISTORIES)
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
