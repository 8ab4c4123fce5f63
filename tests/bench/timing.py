"""How latencies are measured here: without collections of garbage in between, and told as percentiles."""

from __future__ import annotations

import gc
import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


@contextmanager
def without_collections() -> Iterator[None]:
    """Collect now, then not while the block lasts: the measuring process's own garbage is not what is measured."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


def percentiles(name: str, took_ms: Sequence[float], *, digits: int = 3) -> dict[str, float]:
    """Return ``<name>_p50_ms`` and ``<name>_p99_ms``."""
    cuts = statistics.quantiles(took_ms, n=100)
    return {f"{name}_p50_ms": round(cuts[49], digits), f"{name}_p99_ms": round(cuts[98], digits)}
