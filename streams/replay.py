"""The engine in memory, over history: training sets, parity and audits are answered by the code that serves.

Two ways to say how much of the log an answer contains: `PointInTime.apply` takes what it is given, at once, so that a
caller may stop at exact positions; `PointInTime.feed` and `PointInTime.advance` let records become visible in event
time, each when it and every record before it in its partition is at least the declared delay old.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate

from definitions.declared import Lookup, Source, ViewDefinition
from definitions.values import Value
from streams.cells import ORIGIN, CellState
from streams.chain import Slot
from streams.codecs import Schemas
from streams.engine import Applied, Engine
from streams.entities import asked_key
from streams.finalise import Held
from streams.intake import DecodedBatch, Intake
from streams.lookups import Looked, row_of
from streams.opened import in_order
from streams.reading import Asked, Served, Serving, ViewReader
from streams.records import Partition, RecordBatch
from streams.store import Row


class Remembered:
    """The state of one source of a view in one partition, in memory."""

    def __init__(self, engine: Engine, first: int) -> None:
        self.row = Row(next=first, first=first)
        self.slots: dict[str, Slot[CellState]] = {}
        self._engine = engine

    def apply(self, batch: DecodedBatch) -> Applied:
        """Add a batch to the state; return what became of it."""
        applied = self._engine.apply(self.row, self._load, batch)
        self.row = applied.row
        return applied

    def state(self, entity: str) -> CellState | None:
        """Return the entity's cell, None if it has none."""
        slot = self.slots.get(entity)
        return None if slot is None or slot.state[ORIGIN] is None else slot.state

    def _load(self, entities: Iterable[str]) -> Mapping[str, Slot[CellState]]:
        slots, empty = self.slots, self._engine.codec.empty
        for entity in entities:
            if entity not in slots:
                slots[entity] = Slot(0, empty())
        return slots


class _Waiting:
    """A batch of which only a prefix is visible yet."""

    def __init__(self, batch: DecodedBatch) -> None:
        self._batch = batch
        self._visible_from_ms = list(accumulate(batch.times_ms, max))
        self._end = batch.first

    @property
    def is_over(self) -> bool:
        return self._end == self._batch.next

    def visible(self, limit_ms: int) -> DecodedBatch | None:
        """Return what became visible by ``limit_ms`` and was not returned before, None for nothing."""
        batch, first = self._batch, self._end
        count = bisect_right(self._visible_from_ms, limit_ms)
        self._end = batch.next if count == len(batch.offsets) else batch.offsets[count]
        return None if self._end == first else batch.between(first, self._end)


class PointInTime:
    """The features of ``views`` as they would have been served, had exactly these records been applied.

    ``lookups`` are served behind them, for the entities that values of the views or of the request name.

    Example::

        history = PointInTime(views, delay_ms=0)
        for batch in batches:            # of every topic that the views have a source on
            history.feed(batch)
        for question in sorted_by_time:
            history.advance(question.at_ms)
            served = history.serve(question.entities, question.at_ms)
    """

    def __init__(
        self,
        views: Sequence[ViewDefinition],
        *,
        lookups: Sequence[Lookup] = (),
        delay_ms: int = 0,
        schemas: Schemas | None = None,
    ) -> None:
        every = {view.key: view for view in (*views, *(lookup.view for lookup in lookups))}
        sources = [source for view in every.values() for source in view.sources]
        self._engines = {source.key: Engine(source) for source in sources}
        self._readers = tuple(ViewReader(view) for view in views)
        self._looked = tuple(Looked.of(each) for each in lookups)
        self._intakes = {source.event.topic: Intake(source.event, schemas) for source in sources}
        self._states: dict[str, dict[str, Remembered]] = {source.key: {} for source in sources}
        self._delay_ms = delay_ms
        self._waiting: dict[Partition, deque[_Waiting]] = {}

    def decode(self, batch: RecordBatch) -> DecodedBatch:
        """Return the batch as the intake sees it."""
        return self._intakes[batch.partition.topic].read(batch)

    def apply(self, batch: RecordBatch | DecodedBatch) -> None:
        """Add a batch to every view on its topic, at once. What is already contained is skipped."""
        decoded = self.decode(batch) if isinstance(batch, RecordBatch) else batch
        for key, engine in self._engines.items():
            if engine.source.event.topic == decoded.partition.topic:
                states = self._states[key]
                name = decoded.partition.field
                if name not in states:
                    states[name] = Remembered(engine, decoded.first)
                states[name].apply(decoded)

    def feed(self, batch: RecordBatch) -> None:
        """Give a batch that becomes visible record by record; batches of a partition in order."""
        self._waiting.setdefault(batch.partition, deque()).append(_Waiting(self.decode(batch)))

    def advance(self, until_ms: int) -> None:
        """Apply what is visible at ``until_ms``: event time + delay, of the newest record up to it in its partition.

        Never goes back: what has become visible stays so.
        """
        limit_ms = until_ms - self._delay_ms
        for waiting in self._waiting.values():
            while waiting and (visible := waiting[0].visible(limit_ms)) is not None:
                self.apply(visible)
                if not waiting[0].is_over:
                    break
                waiting.popleft()

    def serve(self, entities: Asked, as_of_ms: int, inputs: Mapping[str, Value] | None = None) -> Served:
        """Return the features of one request as of ``as_of_ms``, from what has been applied.

        A source of which nothing has been applied is one without events: history is whole.

        Args:
            entities: of the request.
            as_of_ms: the time asked about.
            inputs: what the request carries; lookups may read it.
        """
        serving = Serving(as_of_ms)
        for reader in self._readers:
            self._add(serving, reader, asked_key(reader.by, entities))
        if self._looked:
            row = row_of(serving.done(None), inputs or {}, as_of_ms)
            for each in self._looked:
                if each.is_known(row):
                    self._add(serving, each.reader, each.key(row))
                else:
                    each.reader.add_unanswerable(serving, self._positions(each.reader.view))
        return serving.done(None)

    def _add(self, serving: Serving, reader: ViewReader, key: str | None) -> None:
        held: list[Held] = []
        for source, retention in zip(reader.view.sources, reader.retentions, strict=True):
            by_partition = self._states[source.key]
            oldest_ms = retention.oldest_ms(each.row for each in by_partition.values())
            held.append(Held(() if key is None else self._cells(by_partition, key), oldest_ms))
        reader.add(serving, None if key is None else held, self._positions(reader.view))

    def _positions(self, view: ViewDefinition) -> list[dict[str, int]]:
        """Return how far each source's partitions are contained."""
        return [{name: each.row.next for name, each in self._states[source.key].items()} for source in view.sources]

    def remembered(self, source: Source, partition: Partition) -> Remembered | None:
        """Return the state of one source in one partition, None if nothing of it was applied."""
        return self._states[source.key].get(partition.field)

    def _cells(self, by_partition: Mapping[str, Remembered], key: str) -> list[CellState]:
        names = in_order(by_partition) if len(by_partition) > 1 else by_partition
        return [state for name in names if (state := by_partition[name].state(key)) is not None]
