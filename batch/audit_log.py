"""The proof that nothing vanished: rows against the log, and stored state against a replay of it by the same engine.

Two laws are checked for every (view, partition). *Conservation*: the tallies of the resume row add up to the records
below it, and are those of a replay. *State*: every cell holds exactly the events below its position, no less (lost), no
more (counted twice). A cell says itself how far it reaches, so an audit may run beside the roles: rows are read before
cells, and each cell is compared with a replay up to its own position.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from batch.audit_copies import audit_copies
from batch.context import Tell, tell_nobody
from batch.findings import Audit, PartitionAudit, begun, can_begin, compare_rows, difference
from batch.history import History
from definitions.declared import AppDefinition, Source
from streams import intake as intakes
from streams.codecs import Schemas
from streams.engine import Engine, advance_intake
from streams.entities import RESERVED
from streams.intake import DecodedBatch, Intake
from streams.records import Partition
from streams.replay import Remembered
from streams.retention import Retention
from streams.store import Cell, OnlineStore, Question, Row, RowKey, StoredRow

_CELLS_A_READ = 500


def audit_log(
    app: AppDefinition,
    history: History,
    store: OnlineStore,
    *,
    schemas: Schemas | None = None,
    tell: Tell = tell_nobody,
) -> Audit:
    """Compare what is stored with the log. Cost: a replay of every partition, 1-2 us an event and view, twice at most.

    Args:
        app: whose events and views.
        history: the log; every record that the rows account for has to be in it still.
        store: the online store.
        schemas: the schema registry, where an event's codec needs one.
        tell: is told of progress, in records.

    Raises:
        HistoryUnavailable: the log does not answer.
        StoreUnavailable: the store does not answer.
        RegistryUnavailable: the schema registry does not.
    """
    views: dict[str, list[PartitionAudit]] = {source.key: [] for view in app.views for source in view.sources}
    taken_in: list[PartitionAudit] = []
    copies = [
        finding
        for copy in app.copies
        for finding in audit_copies(app, copy, history, store, schemas=schemas, tell=tell)
    ]
    for event in (*app.events, *app.copies):
        sources = app.sources_on(event.topic)
        stored = {source.key: _Stored.read(store, source) for source in sources}
        for partition in history.partitions(event.topic):
            end = history.bounds(partition)[1]
            checks = [_SourceCheck(source, partition, stored[source.key], end) for source in sources]
            taken = _IntakeCheck(store, partition, end)
            _replay(Intake(event, schemas), partition, history, [*checks, taken], tell)
            for check in checks:
                views[check.source.key].append(check.finding())
            taken_in.append(taken.finding())
    return Audit([each for found in views.values() for each in found], taken_in, copies)


@dataclass(frozen=True, slots=True)
class _Stored:
    """What the store holds of one source of a view: rows, then cells by entity and partition, then the rows again."""

    rows: Mapping[str, StoredRow]
    cells: Mapping[str, Mapping[str, Cell]]
    rows_behind: Mapping[str, StoredRow]

    @classmethod
    def read(cls, store: OnlineStore, source: Source) -> _Stored:
        rows = store.read(Question(folds=[source.key])).rows[0]
        entities = iter(store.entities(source.key))
        cells: dict[str, Mapping[str, Cell]] = {}
        while some := list(islice(entities, _CELLS_A_READ)):
            answer = store.read(Question(cells=[(source.key, entity) for entity in some]))
            cells.update(zip(some, answer.cells, strict=True))
        return cls(rows, cells, store.read(Question(folds=[source.key])).rows[0])

    def of(self, partition: Partition) -> dict[str, Cell]:
        """Return the cells of one partition, by entity."""
        name = partition.field
        return {entity: found[name] for entity, found in self.cells.items() if name in found}


class _SourceCheck:
    """One source of a view in one partition, replayed beside its stored state."""

    def __init__(self, source: Source, partition: Partition, stored: _Stored, end: int) -> None:
        self.source = source
        held = stored.rows.get(partition.field)
        row = Row(next=0, first=0) if held is None else held.row
        self._found = begun(source.view, partition, row, end)
        self._found.version = source.version
        self._engine = Engine(source)
        self._retention = Retention(source, self._engine.layout)
        self._widest = max(self._engine.layout.series, key=lambda each: each.grid_ms * each.span_tiles)
        self._replayed = Remembered(self._engine, row.first)
        self._row_behind = stored.rows_behind[partition.field].row if held is not None else row
        self._cells = stored.of(partition)
        self._compared: set[str] = set()
        self._stops = sorted({row.next, *(cell.position for cell in self._cells.values() if cell.position > row.next)})
        self.span = (row.first, self._stops[-1])
        if held is None and end:
            self._found.problems.append("expected a resume row, got none: the view waits for a backfill")

    def can_begin_at(self, oldest: int) -> bool:
        """Return whether there is something to replay; what is no longer in the log is a problem."""
        return can_begin(self._found, self.span, oldest)

    def take(self, batch: DecodedBatch) -> None:
        """Replay a batch, stopping wherever something stored says that it reaches so far."""
        while self._stops and self._stops[0] <= batch.next:
            self._replayed.apply(batch.between(batch.first, self._stops[0]))
            self._compare(self._stops.pop(0))
        self._replayed.apply(batch)

    def finding(self) -> PartitionAudit:
        """Return what was found, after the last batch."""
        if self._found.audited:
            for stop in self._stops:
                self._compare(stop)
        return self._found

    def _compare(self, reached: int) -> None:
        row = self._found.row
        if reached == row.next:
            compare_rows(self._found, self._replayed.row)
            entities = {entity for entity, cell in self._cells.items() if cell.position <= reached}
            entities |= {entity for entity in self._replayed.slots if entity not in self._cells}
        else:
            entities = {entity for entity, cell in self._cells.items() if cell.position == reached}
        for entity in entities:
            self._compare_cell(entity)

    def _compare_cell(self, entity: str) -> None:
        found, cell = self._found, self._cells.get(entity)
        codec, expected = self._engine.codec, self._replayed.state(entity)
        held = None if cell is None else codec.decode(cell.state)
        if (None if expected is None else codec.encode(expected)) == (None if cell is None else cell.state):
            return
        # A dead cell may have been removed, even while the others were read, and may be back since.
        is_index = entity.startswith(RESERVED)
        row = self._row_behind if cell is None else self._replayed.row
        if not is_index and self._retention.kept(expected, row) == self._retention.kept(held, row):
            return
        # An id cell that differs guards against nothing: as good as one event lost and another counted twice.
        lost, twice = (1, 1) if is_index else difference(expected, held, self._widest)
        found.lost += lost
        found.counted_twice += twice
        found.problems.append(f"cell of {entity!r}: {lost} lost, {twice} counted twice")


class _IntakeCheck:
    """The intake of one partition: its tallies against the log."""

    def __init__(self, store: OnlineStore, partition: Partition, end: int) -> None:
        [held] = store.read_rows([RowKey(intakes.FOLD, partition)])
        row = Row(next=0, first=0) if held is None else held.row
        self._found = begun(intakes.FOLD, partition, row, end)
        self._replayed = Row(next=row.first, first=row.first)
        self.span = (row.first, row.next)

    def can_begin_at(self, oldest: int) -> bool:
        """Return whether there is something to replay; what is no longer in the log is a problem."""
        return can_begin(self._found, self.span, oldest)

    def take(self, batch: DecodedBatch) -> None:
        """Count a batch."""
        self._replayed = advance_intake(self._replayed, batch)

    def finding(self) -> PartitionAudit:
        """Return what was found, after the last batch."""
        if self._found.audited:
            compare_rows(self._found, self._replayed)
        return self._found


def _replay(
    intake: Intake,
    partition: Partition,
    history: History,
    checks: Sequence[_SourceCheck | _IntakeCheck],
    tell: Tell,
) -> None:
    oldest, newest = history.bounds(partition)
    checks = [check for check in checks if check.can_begin_at(oldest)]
    if not checks:
        return
    first = min(check.span[0] for check in checks)
    end = min(newest, max(check.span[1] for check in checks))
    where = f"{partition.topic}[{partition.index}]"
    for records in history.read(partition, first, end):
        batch = intake.read(records)
        for check in checks:
            if batch.next > check.span[0] and batch.first < check.span[1]:
                check.take(batch.between(*check.span))
        tell(where, batch.next - first, end - first)
