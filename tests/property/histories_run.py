"""Every statistic against brute force on as many seeded histories as asked for; the last line is one JSON object.

``python -m tests.property.histories_run --histories 10000`` draws that many histories and compares all kinds on each.
A history that differs is named by its seed: ``--first SEED --histories 1`` is its reproduction.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback

from tests.property.histories import AGGREGATES, BY_USER, Judge

_SHOWN_FAILURES = 3


def main() -> int:
    """Run the histories; return 1 if one differs from brute force."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--histories", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    given = parser.parse_args()
    judge, began_s, wrong = Judge(BY_USER), time.monotonic(), list[int]()
    for seed in range(given.first, given.first + given.histories):
        try:
            judge.check(seed)
        except AssertionError:
            wrong.append(seed)
            if len(wrong) <= _SHOWN_FAILURES:
                traceback.print_exc()
                sys.stderr.write(f"seed {seed}\n")
    kinds = sorted({each.kind for each in AGGREGATES})
    seconds = round(time.monotonic() - began_s, 1)
    said = {"histories": given.histories, "kinds": kinds, "wrong_seeds": wrong, "seconds": seconds}
    sys.stdout.write(f"{json.dumps(said)}\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
