"""``python -m tests.bench.river_alone COUNT SEED``: River on the same vectors with nothing around it, test then train.

What a loop of one's own would cost: vectors are dictionaries already, nothing is read, kept or told. The only line of
output is one JSON object.
"""

from __future__ import annotations

import gc
import json
import sys
import time

from river.linear_model import LogisticRegression
from river.preprocessing import StandardScaler

from tests.bench.learned_project import Asked


def main() -> None:
    """Learn what the command line says."""
    asked = Asked(count=int(sys.argv[1]), seed=int(sys.argv[2]))
    names = [f"x{n:02d}" for n in range(len(asked.vectors[0]))]
    examples = [
        (dict(zip(names, vector, strict=True)), label)
        for vector, label in zip(asked.vectors, asked.labels, strict=True)
    ]
    estimator = StandardScaler() | LogisticRegression()
    gc.collect()
    gc.freeze()
    begun_s, cpu_s = time.perf_counter(), time.process_time()
    for features, label in examples:
        estimator.predict_proba_one(features)
        estimator.learn_one(features, label)
    took = {"seconds": time.perf_counter() - begun_s, "cpu_s": time.process_time() - cpu_s, "count": len(examples)}
    sys.stdout.write(json.dumps(took) + "\n")


if __name__ == "__main__":
    main()
