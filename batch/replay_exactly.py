"""The log replayed once, forward, to exact positions: what any entity's cell held when a partition had come so far.

A prediction names a position per source of a view and partition, and each of those states is a function of its own
prefix alone. So a probe is taken apart: every source of every partition is asked for its own entity at its own
position, answers in order of position in one pass, and the answers are put together again. Nothing has to be in step.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

from batch.context import Tell, tell_nobody
from batch.history import History
from batch.look_back import Hindsight, Reach
from definitions.declared import Source
from streams.cells import CellState
from streams.codecs import Schemas
from streams.engine import Engine
from streams.intake import DecodedBatch, Intake
from streams.records import Partition, RecordBatch
from streams.replay import Remembered
from streams.store import OnlineStore, Row, RowKey

MOST_HELD = 200_000
"""How many records the slowest source of a topic's partition may be behind the furthest, read for both at once."""


@dataclass(frozen=True, slots=True)
class Shot:
    """A cell's bytes at a position, None for no cell: as served, and with every id counted once."""

    served: bytes | None
    once: bytes | None


class SourceReplay:
    """One source of a view in one partition, replayed forward.

    Args:
        source: what is kept.
        first: the offset at which its state began.
        hindsight: whether to tell, too, what was not known at a position: the duplicates and the late.
    """

    def __init__(self, source: Source, first: int, *, hindsight: bool) -> None:
        self.first = first
        self._engine = Engine(source)
        self._remembered = Remembered(self._engine, first)
        self._hindsight = Hindsight(source, first) if hindsight else None
        self._stops: list[int] = []
        self._asked: dict[int, dict[str, int]] = {}
        self._shots: dict[tuple[int, str], Shot] = {}
        self._rows: dict[int, Row] = {}
        self._unchanged: dict[str, Shot] = {}

    @property
    def reached(self) -> int:
        """The position that the state is at: nothing below it can be asked any more."""
        return self._remembered.row.next

    @property
    def furthest(self) -> int:
        """The furthest position that is asked and not answered yet, 0 where nothing is."""
        return max(self._stops, default=0)

    def ask(self, reach: Reach, at_ms: int) -> None:
        """Want an entity's cell at a position from `reached` on, for a question about ``at_ms``."""
        if reach.position not in self._asked:
            self._asked[reach.position] = {}
            heappush(self._stops, reach.position)
        times = self._asked[reach.position]
        times[reach.entity] = max(at_ms, times.get(reach.entity, at_ms))
        if self._hindsight is not None:
            self._hindsight.open(reach.entity)

    def take(self, batch: DecodedBatch) -> None:
        """Replay a batch, answering whatever is asked at a position in it."""
        while self._stops and self._stops[0] <= batch.next:
            self._apply(batch, self._stops[0])
            self.answer()
        self._apply(batch, batch.next)

    def answer(self) -> None:
        """Answer what is asked at the position that is reached."""
        while self._stops and self._stops[0] <= self.reached:
            position = heappop(self._stops)
            self._rows[position] = self._remembered.row
            for entity, at_ms in self._asked.pop(position).items():
                self._shots[position, entity] = self._shot(entity)
                if self._hindsight is not None:
                    self._hindsight.watch(entity, at_ms)

    def shot(self, reach: Reach) -> Shot:
        """Return the answer to what was asked."""
        return self._shots[reach.position, reach.entity]

    def row(self, position: int) -> Row:
        """Return the row at a position that was asked about."""
        return self._rows[position]

    def forget_shots(self) -> None:
        """Drop the answers of this round."""
        self._shots.clear()
        self._rows.clear()
        self._unchanged.clear()

    def state(self, cell: bytes) -> CellState:
        """Return what a cell's bytes were made from."""
        return self._engine.codec.decode(cell)

    def with_late(self, reach: Reach, shot: Shot, at_ms: int) -> CellState | None:
        """Return the cell with every id once and what came after its position of times up to ``at_ms``."""
        assert self._hindsight is not None  # noqa: S101  # asked only where it is on
        state = None if shot.once is None else self.state(shot.once)
        return self._hindsight.with_late(state, reach, at_ms)

    def close(self, entity: str) -> None:
        """Take back one `ask` of an entity: what is late for it is wanted no longer."""
        if self._hindsight is not None:
            self._hindsight.close(entity)

    def _apply(self, batch: DecodedBatch, end: int) -> None:
        if end <= self.reached:
            return
        part = batch.between(self.reached, end)
        changed = self._remembered.apply(part).changed
        if self._hindsight is not None:
            changed = (*changed, *self._hindsight.apply(part))
        if self._unchanged:
            for entity in changed:
                self._unchanged.pop(entity, None)

    def _shot(self, entity: str) -> Shot:
        shot = self._unchanged.get(entity)
        if shot is None:
            served = self._encoded(self._remembered, entity)
            once = served if self._hindsight is None else self._encoded(self._hindsight.once, entity)
            # Equal bytes are kept once: a probe in wait for what is late holds on to both.
            shot = self._unchanged[entity] = Shot(served, served if once == served else once)
        return shot

    def _encoded(self, remembered: Remembered, entity: str) -> bytes | None:
        state = remembered.state(entity)
        return None if state is None else self._engine.codec.encode(state)


class _Tape:
    """One partition of the log, read forward, and every source on it, each replayed no further than it is asked.

    What is read stays until the slowest source has taken it: views of one topic go on together, so that is little. A
    source that has fallen far behind, as one does that was declared later, gets a tape of its own from `split`.
    """

    def __init__(self, partition: Partition, history: History, intake: Intake, sources: Sequence[SourceReplay]) -> None:
        self.partition = partition
        self._sources = list(sources)
        self._history = history
        self._intake = intake
        self._read_to = min(each.reached for each in sources)
        self._batches: Generator[RecordBatch] | None = None
        self._held: deque[DecodedBatch] = deque()

    def advance(self, tell: Tell, until: int | None = None) -> None:
        """Replay each source as far as it is asked, or up to ``until``, which the log has."""
        wanted = {source: source.furthest if until is None else until for source in self._sources}
        furthest = max(wanted.values())
        for batch in self._held:
            self._hand_out(batch, wanted)
        while self._read_to < furthest:
            batch = self._read(furthest)
            self._held.append(batch)
            self._hand_out(batch, wanted)
            tell(f"{self.partition.topic}[{self.partition.index}]", min(batch.next, furthest), furthest)
            self._forget()
        for source in self._sources:
            source.answer()
        self._forget()

    def split(self, most_held: int) -> _Tape | None:
        """Move the sources that hold back more to a tape of their own, and return it; None where there are none."""
        furthest = max(source.reached for source in self._sources)
        slow = [source for source in self._sources if furthest - source.reached > most_held]
        if not slow:
            return None
        self._sources = [source for source in self._sources if source not in slow]
        self._forget()
        return _Tape(self.partition, self._history, self._intake, slow)

    def close(self) -> None:
        """Stop reading."""
        if self._batches is not None:
            self._batches.close()

    def _hand_out(self, batch: DecodedBatch, wanted: Mapping[SourceReplay, int]) -> None:
        for source, until in wanted.items():
            if source.reached < min(batch.next, until) and batch.first < until:
                source.take(batch.between(batch.first, until))

    def _forget(self) -> None:
        """Drop what every source has taken."""
        slowest = min(source.reached for source in self._sources)
        while self._held and self._held[0].next <= slowest:
            self._held.popleft()

    def _read(self, until: int) -> DecodedBatch:
        batch = None if self._batches is None else next(self._batches, None)
        while batch is None:
            end = max(until, self._history.bounds(self.partition)[1])
            self._batches = _closing(self._history.read(self.partition, self._read_to, end))
            batch = next(self._batches, None)
        self._read_to = batch.next
        return self._intake.read(batch)


def _closing(batches: Iterator[RecordBatch]) -> Generator[RecordBatch]:
    """Return the same batches, from an iterator that can be closed."""
    yield from batches


class LogReplay:
    """Every source of some views in every partition of their topics. Cost: 2 us a record and source, 4 with hindsight.

    Memory: the state of every entity once, twice with hindsight, and ids of an hour.

    Args:
        sources: what is replayed, under the names that a `Reach` says.
        history: the log.
        store: whose rows say where each state began; nothing else is read from it.
        schemas: the schema registry, where an event's codec needs one.
        hindsight: whether to tell, too, what was not known at a position.
        most_held: how many records are kept for a source that is behind another.
    """

    def __init__(
        self,
        sources: Mapping[str, Source],
        history: History,
        store: OnlineStore,
        *,
        schemas: Schemas | None = None,
        hindsight: bool = True,
        most_held: int = MOST_HELD,
    ) -> None:
        self._history = history
        self._most_held = most_held
        self._tapes: list[_Tape] = []
        self._replays: dict[tuple[str, str], SourceReplay] = {}
        topics = dict.fromkeys(source.event.topic for source in sources.values())
        for topic in topics:
            on_topic = [(name, source) for name, source in sources.items() if source.event.topic == topic]
            for partition in history.partitions(topic):
                rows = store.read_rows([RowKey(source.key, partition) for _, source in on_topic])
                oldest, _ = history.bounds(partition)
                found = {
                    name: SourceReplay(source, first, hindsight=hindsight)
                    for (name, source), stored in zip(on_topic, rows, strict=True)
                    if (first := 0 if stored is None else stored.row.first) >= oldest
                }
                if found:
                    intake = Intake(on_topic[0][1].event, schemas)
                    self._tapes.append(_Tape(partition, history, intake, tuple(found.values())))
                    self._replays |= {(key, partition.field): replay for key, replay in found.items()}
        self._ends = {tape.partition.field: 0 for tape in self._tapes}
        self._is_end_known = False

    def of(self, reach: Reach) -> SourceReplay | None:
        """Return the replay that answers, None where the log does not hold what it takes."""
        replay = self._replays.get((reach.source, reach.partition))
        if replay is None or reach.position < replay.first:
            return None
        if reach.position > self._ends[reach.partition] and not self._is_end_known:
            self._is_end_known = True
            self._ends = {tape.partition.field: self._history.bounds(tape.partition)[1] for tape in self._tapes}
        return replay if reach.position <= self._ends[reach.partition] else None

    def answer(self, tell: Tell = tell_nobody) -> None:
        """Replay as far as is asked, and no further."""
        for tape in self._tapes:
            tape.advance(tell)
        split = (tape.split(self._most_held) for tape in self._tapes)
        self._tapes += [tape for tape in split if tape is not None]

    def finish(self, tell: Tell = tell_nobody) -> None:
        """Replay to the log's end as it is now: what came late is told from there."""
        for tape in self._tapes:
            tape.advance(tell, self._history.bounds(tape.partition)[1])

    def forget_shots(self) -> None:
        """Drop the answers of this round."""
        self._is_end_known = False
        for replay in self._replays.values():
            replay.forget_shots()

    def close(self) -> None:
        """Stop reading."""
        for tape in self._tapes:
            tape.close()
