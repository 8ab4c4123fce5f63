"""What a view and a request may cost: ``[tool.headrace.budget]``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from headrace.errors import SettingsError

READ_MS = 10.0
"""A request has 50 ms at the 99th percentile, and shares its process with others: a fifth of that for its features."""
TYPICAL_ENTITY_BYTES = 4 * 1024
"""Memory of a typical entity in one view: a million of them in 4 GiB."""
HOT_ENTITY_BYTES = 256 * 1024
"""Memory of an entity that is as hot as can be: one Redis call should not have to carry more."""
GRAPH_CELLS = 10_000
"""Cells of one request to a graph: Redis alone takes 2.5 us for each, so half of the 50 ms that a ranking may take."""


@dataclass(frozen=True, slots=True)
class Budget:
    """The most that is allowed."""

    read_ms: float = READ_MS
    """For the features of one request, hot entities all of them."""
    typical_entity_bytes: float = TYPICAL_ENTITY_BYTES
    """Memory in Redis of a typical entity, per view."""
    hot_entity_bytes: float = HOT_ENTITY_BYTES
    """Memory in Redis of a hot entity, per view."""
    graph_cells: float = GRAPH_CELLS
    """Cells fetched for one request to a graph, as many candidates as it takes, over all stages."""


DEFAULT_BUDGET = Budget()


def read_budget(table: Mapping[str, object], where: str) -> Budget:
    """Return the budget with what the table says in place of the defaults.

    Raises:
        SettingsError: a name is unknown, or a value is no number above zero.
    """
    known = [each.name for each in fields(Budget)]
    chosen: dict[str, float] = {}
    for name, value in table.items():
        if name not in known:
            raise SettingsError(f"cannot read settings: {where}: expected {' or '.join(known)}, got {name!r}")
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            raise SettingsError(f"cannot read settings: {where}: {name}: expected a number above 0, got {value!r:.80}")
        chosen[name] = value
    return Budget(**chosen)
