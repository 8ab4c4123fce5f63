"""Cells that no question needs any more are found part by part, and removed in a link of their own.

An owner looks for them where nothing waits for it: at the end of its partition, and now and then on the way there. One
`Sweep.step` looks at `streams.store.PART_KEYS` keys of the database: 2 ms where all are cells of the fold and cached,
10 ms where they have to be read, removal included (measured on a busy 2-core machine). The database is gone through in
(keys / PART_KEYS) steps, so a dead cell outlives its last question by that long. A round begins only when the floor has
moved since the last one began: a quiet partition costs nothing.
"""

from __future__ import annotations

from streams.cells import CellState
from streams.chain import Advance, Chain
from streams.engine import Engine
from streams.entities import RESERVED
from streams.retention import Retention
from streams.store import OnlineStore


class Sweep:
    """Goes round the cells of one source of a view in one partition. Thrown away with its chain."""

    def __init__(self, store: OnlineStore, engine: Engine, chain: Chain[CellState]) -> None:
        self._store = store
        self._chain = chain
        self._retention = Retention(engine.source, engine.layout)
        self._after: str | None = None
        self._floor: int | None = None

    def step(self) -> Advance | None:
        """Look at the next part; return the link that removes what is dead there, None if nothing is.

        Judged by the row as committed: a cell dead by it is not needed by any record or question behind it.

        Raises:
            ChainBroken, StoreUnavailable: throw the chain away.
        """
        chain = self._chain
        if self._after is None:
            begun, self._floor = self._floor, self._retention.floor(chain.row)
            if self._floor == begun:
                return None
        part = self._store.some_entities(chain.key.fold, self._after)
        self._after = part.after
        slots = chain.look([each for each in part.entities if not each.startswith(RESERVED)])
        # A cell that is ahead of the row stays until the row is there: without it nobody knew what it contains.
        dead = [
            entity
            for entity, slot in slots.items()
            if slot.position <= chain.row.next and self._retention.is_dead(slot.state, chain.row)
        ]
        return Advance(chain, chain.row, removed=dead) if dead else None
