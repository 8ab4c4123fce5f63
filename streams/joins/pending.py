"""What waits in a model's join, counted in its cells and held against what the join says of itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from streams.joins import CLOCK, KEY_PREFIX, TALLY, Clock, JoinCodec, JoinRule, KeyState, Tally, fold, step_ms
from streams.store import Answer, Cell, OnlineStore, Question, Row

ATTEMPTS = 5
_CELLS_A_READ = 500

_CODEC = JoinCodec()


@dataclass(slots=True)
class _Waiting:
    """What the cells of one outcomes partition hold."""

    keys: int = 0
    predictions: int = 0
    oldest_ms: int | None = None

    def add(self, key: KeyState) -> None:
        """Count a cell."""
        self.keys += 1
        self.predictions += len(key.waiting)
        for each in key.waiting:
            self.oldest_ms = each.at_ms if self.oldest_ms is None else min(self.oldest_ms, each.at_ms)


@dataclass(frozen=True, slots=True)
class PartitionPending:
    """One outcomes partition: what its predictions have become, and what waits.

    ``counted``, ``keys`` and ``oldest_ms`` are of the cells; None where the join moved whenever they were counted.
    """

    partition: str
    """The outcomes partition, as `Partition.field`."""
    row: Row
    tally: Tally
    clock: Clock
    counted: int | None
    keys: int | None
    """Label keys that something is remembered of."""
    oldest_ms: int | None
    """Event time of the oldest prediction that waits, None where none does."""

    @property
    def newest_ms(self) -> int | None:
        """Newest event time of the partition: that of a prediction, a label, or told by a label partition."""
        known = [*self.clock.newest_ms.values(), *([] if self.row.newest_ms is None else [self.row.newest_ms])]
        return max(known, default=None)

    @property
    def oldest_age_ms(self) -> int | None:
        """How long the oldest prediction has waited, in event time."""
        return None if self.oldest_ms is None or self.newest_ms is None else self.newest_ms - self.oldest_ms

    @property
    def held_by(self) -> str | None:
        """The label partition that the horizon waits for, None where all are idle or none has told its progress."""
        holding = {name: at for name, at in self.clock.newest_ms.items() if name not in self.clock.idle}
        return min(holding, key=lambda name: holding[name], default=None)

    def passed_ms(self, rule: JoinRule) -> int:
        """Return the time of prediction below which no label is waited for any more; negative while there is none."""
        return self.clock.passed * step_ms(rule.within_ms) - rule.within_ms

    @property
    def problem(self) -> str | None:
        """What does not add up, None where everything does."""
        if self.tally.imbalance:
            return (
                f"partition {self.partition}: expected predictions = matched + timed out + pending, got "
                f"{self.tally.predictions} = {self.tally.matched} + {self.tally.timed_out} + {self.tally.pending}"
            )
        if self.counted is not None and self.counted != self.tally.pending:
            return f"partition {self.partition}: expected {self.tally.pending} waiting predictions, got {self.counted}"
        return None


def read_pending(store: OnlineStore, model_key: str, *, attempts: int = ATTEMPTS) -> list[PartitionPending]:
    """Return what waits in each outcomes partition, in order; empty where the join has not started.

    A join that works meanwhile moves what is counted: it is counted again, ``attempts`` times at most.
    Cost: a scan of the database, and 10 us for each key that is remembered.

    Raises:
        StoreUnavailable: the store did not answer.
    """
    found: dict[str, PartitionPending] = {}
    for _ in range(attempts):
        before, waiting = _read(store, model_key), _count(store, model_key)
        behind = _read(store, model_key)
        for field, stored in behind.rows[0].items():
            is_still = _told(before, field) == _told(behind, field)
            if is_still or field not in found:
                cells = waiting.get(field, _Waiting())
                tally, clock = (_CODEC.decode(cell.state) if cell else None for cell in _told(behind, field)[1:])
                found[field] = PartitionPending(
                    field,
                    stored.row,
                    tally if isinstance(tally, Tally) else Tally(),
                    clock if isinstance(clock, Clock) else Clock(),
                    *((cells.predictions, cells.keys, cells.oldest_ms) if is_still else (None, None, None)),
                )
        if all(each.counted is not None for each in found.values()):
            break
    return sorted(found.values(), key=lambda each: int(each.partition.rpartition("/")[2]))


def _read(store: OnlineStore, model_key: str) -> Answer:
    name = fold(model_key)
    return store.read(Question(folds=[name], cells=[(name, TALLY), (name, CLOCK)]))


def _told(answer: Answer, field: str) -> tuple[int | None, Cell | None, Cell | None]:
    """Return what moves with every change of a partition's cells."""
    row, (tally, clock) = answer.rows[0].get(field), answer.cells
    return None if row is None else row.row.next, tally.get(field), clock.get(field)


def _count(store: OnlineStore, model_key: str) -> Mapping[str, _Waiting]:
    """Return what every cell of the join holds, by partition."""
    name, waiting = fold(model_key), dict[str, _Waiting]()
    for entities in _keys(store, name):
        for cells in store.read(Question(cells=[(name, each) for each in entities])).cells:
            for field, cell in cells.items():
                state = _CODEC.decode(cell.state)
                if isinstance(state, KeyState):
                    waiting.setdefault(field, _Waiting()).add(state)
    return waiting


def _keys(store: OnlineStore, name: str) -> Iterator[list[str]]:
    """Yield the names of the cells of label keys, each once."""
    seen, after = set[str](), None
    while True:
        part = store.some_entities(name, after)
        fresh = [each for each in dict.fromkeys(part.entities) if each.startswith(KEY_PREFIX) and each not in seen]
        seen.update(fresh)
        for at in range(0, len(fresh), _CELLS_A_READ):
            yield fresh[at : at + _CELLS_A_READ]
        if (after := part.after) is None:
            return
