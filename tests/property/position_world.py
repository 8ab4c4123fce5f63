"""A small world in which the position law is broken in every way a real one knows, on the real chain, store and engine.

An owner and a zombie work on one partition, and sweep its dead cells. A step is one call: a read, one link of a
pipeline, the replies coming back. In between, the other may act, the pipeline may be cut, the partition may change
hands, and the store may go back to an earlier state without a word. Afterwards the owner finishes; what is stored must
be what an undisturbed worker would have stored. `Faults` switch off the rules that safety rests on, one by one.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from definitions.declared import EventDefinition, Field
from definitions.values import ValueType
from streams.cells import CellState
from streams.chain import Chain, Prepared, Slot
from streams.engine import Applied, Engine
from streams.errors import ChainBroken
from streams.intake import DecodedBatch, Intake
from streams.records import Partition
from streams.retention import Retention
from streams.store import Cell, Link, Row, RowKey, StoredRow
from streams.store.memory import MemoryStore
from streams.sweep import Sweep
from tests.builders import aggregate, view_definition, window
from tests.records import batch_of, json_record

RECORDS, STEPS, ROLLBACK_DEPTH = 60, 700, 12
BEGIN = Row(next=0, first=0)
EVENT = EventDefinition(
    name="visit",
    topic="visits",
    fields=(Field("id", ValueType.INT), Field("user", ValueType.CATEGORY), Field("at", ValueType.TIME)),
    id="id",
    at="at",
    key=("id",),
    disorder_ms=5_000,
)
VIEW = view_definition(
    on=EVENT,
    by=["user"],
    aggregates=[
        aggregate("visits", "count", None, [window("1m", every="10s"), window("10m", every="1m")]),
        aggregate("ids", "sum", "id", [window("1m", every="10s")]),
    ],
)
KEY = RowKey(VIEW.key, Partition("visits", 0, "tid"))
ENGINE = Engine(VIEW.sources[0])
RETENTION = Retention(VIEW.sources[0], ENGINE.layout)


@dataclass(frozen=True)
class Faults:
    """Rules of the position law that are not kept."""

    mark_not_compared: bool = False
    mark_not_renewed: bool = False
    row_outside_the_chain: bool = False
    row_before_its_cells: bool = False
    first_not_compared: bool = False
    cell_position_not_the_maximum: bool = False
    cache_kept_after_a_refusal: bool = False
    mark_not_compared_in_reads: bool = False
    cells_removed_outside_the_chain: bool = False


class World:
    """The store, which can go back in time, and the log of one partition."""

    def __init__(self, chance: random.Random, faults: Faults) -> None:
        self.chance = chance
        self.faults = faults
        self.store = _Store(faults)
        self.log = _log(chance)

    def go_back(self) -> None:
        """Put the store back by a few writes."""
        past = self.store.past
        if past:
            depth = self.chance.randrange(1, min(ROLLBACK_DEPTH, len(past)) + 1)
            self.store.restore(past[-depth])
            del past[len(past) - depth :]


class _Store(MemoryStore):
    """The memory store, with a memory of its own past."""

    def __init__(self, faults: Faults) -> None:
        super().__init__()
        self._faults = faults
        self.past: list[tuple[StoredRow, dict[str, dict[str, Cell]]]] = []
        self.create_row(KEY, BEGIN)

    def write(self, links: Sequence[Link]) -> None:
        """Remember what is there, then write."""
        [link] = links
        held = self._rows[KEY.fold][KEY.partition.field]
        cells = {entity: dict(found) for entity, found in self._cells.get(KEY.fold, {}).items()}
        expected = held.mark if self._faults.mark_not_compared else link.expected
        super().write([Link(link.key, expected, link.fresh, link.cells, link.row)])
        self.past.append((held, cells))

    def read_cells(self, key: RowKey, entities: Sequence[str], *, expected: bytes | None = None) -> list[Cell | None]:
        """Read, with or without a look at the mark."""
        faults = self._faults
        compared = not faults.mark_not_compared and not faults.mark_not_compared_in_reads
        return super().read_cells(key, entities, expected=expected if compared else None)

    def restore(self, past: tuple[StoredRow, dict[str, dict[str, Cell]]]) -> None:
        """Be as it was."""
        row, cells = past
        self._rows[KEY.fold][KEY.partition.field] = row
        self._cells[KEY.fold] = {entity: dict(found) for entity, found in cells.items()}

    def remove(self, entities: Sequence[str]) -> None:
        """Take cells away without asking: what no chain does."""
        for entity in entities:
            self._cells[KEY.fold].pop(entity, None)

    def set_row(self, row: Row) -> None:
        """Put a row there without asking: what no chain does."""
        held = self._rows[KEY.fold][KEY.partition.field]
        self._rows[KEY.fold][KEY.partition.field] = StoredRow(row, held.mark)


class _InFlightError(Exception):
    """The links of a commit, on their way."""

    def __init__(self, links: list[Link]) -> None:
        super().__init__(len(links))
        self.links = links


class _Line:
    """A worker's connection: what it writes is under way until the replies are back."""

    def __init__(self, store: _Store) -> None:
        self._store = store
        self.acknowledged = False

    def __getattr__(self, name: str) -> Callable[..., object]:
        found: Callable[..., object] = getattr(self._store, name)
        return found

    def write(self, links: Sequence[Link]) -> None:
        """Send, without knowing what comes of it."""
        if not self.acknowledged:
            raise _InFlightError(list(links))


class _FaultyChain(Chain[CellState]):
    """A chain that keeps the law, but for its faults. Writes one cell a call, so that there is much in between."""

    faults: Faults

    def _cell(self, entity: str, position: int) -> Cell | None:
        if self.faults.cell_position_not_the_maximum:
            self._slots[entity].position = position
        return super()._cell(entity, position)

    def keep(self, slots: dict[str, Slot[CellState]]) -> None:
        """Trust what another chain has cached."""
        self._slots = slots

    @property
    def cached(self) -> dict[str, Slot[CellState]]:
        """What this chain has cached."""
        return self._slots


class Worker:
    """Reads batches ahead, applies the one that follows, writes it link by link."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._line = _Line(world.store)
        self._queue: list[tuple[int, int]] = []
        self._chain: _FaultyChain | None = None
        self._under_way: Iterator[None] | None = None
        self._fetched = 0
        self.acquire()

    def acquire(self) -> None:
        """Read the row, forget the rest, fetch again from there."""
        stored = self._world.store.create_row(KEY, BEGIN)
        before, faults = self._chain, self._world.faults
        chain = _FaultyChain(self._line, KEY, stored, ENGINE.codec, fresh_mark=self._fresh_mark)  # type: ignore[arg-type]
        chain.faults = faults
        if faults.cache_kept_after_a_refusal and before is not None:
            chain.keep(before.cached)
        self._chain = chain
        self._fetched = chain.row.next
        if not faults.first_not_compared:
            self._queue.clear()
        self._under_way = None
        self._line.acknowledged = False

    def step(self) -> None:
        """Make one call."""
        if self._under_way is None:
            self._under_way = self._sweep() if self._world.chance.random() < 0.3 else self._work()
        try:
            next(self._under_way)
        except StopIteration:
            self._under_way = None

    def stop(self) -> None:
        """Never act again."""
        self._under_way = iter(())

    def _fresh_mark(self) -> bytes:
        faults, chance = self._world.faults, self._world.chance
        return b"the mark" if faults.mark_not_renewed else chance.randbytes(8)

    def _work(self) -> Iterator[None]:
        batch = self._next_batch()
        chain = self._chain
        assert chain is not None
        if batch is None:
            return
        yield
        try:
            applied = self._applied(chain, batch)
        except ChainBroken:
            applied = None
        if applied is None:
            self.acquire()
            return
        # A fold may write what it did not change: half of the time this one does.
        unchanged = dict.fromkeys(event.user for event in batch.events)  # type: ignore[attr-defined]
        if self._world.chance.random() < 0.5:
            kept = [entity for entity in unchanged if entity in chain.cached]
            applied = replace(applied, changed={**dict.fromkeys(applied.changed), **dict.fromkeys(kept)})
        try:
            chain.commit(applied.row, applied.changed)
        except _InFlightError as flight:
            links = [link for each in flight.links for link in _one_by_one(each, self._fresh_mark)]
        refused = False
        for link in self._arranged(links):
            yield
            if self._world.chance.random() < 0.03:  # the pipeline is cut; nobody knows where
                self.acquire()
                return
            refused = not self._sent(link) or refused
        yield
        if self._world.faults.row_outside_the_chain:
            self._world.store.set_row(applied.row)
        if refused:
            self.acquire()
            return
        self._line.acknowledged = True
        self._settle(chain, applied, links)

    def _sweep(self) -> Iterator[None]:
        """Look for dead cells in one call, remove them in another."""
        chain = self._chain
        assert chain is not None
        try:
            removal = Sweep(self._world.store, ENGINE, chain).step()
        except ChainBroken:
            self.acquire()
            return
        if removal is None:
            return
        [link] = chain.prepare(removal.row, (), removal.removed).links
        yield
        if self._world.faults.cells_removed_outside_the_chain:
            self._world.store.remove(removal.removed)
            link = replace(link, cells={})
        if not self._sent(link):
            self.acquire()
            return
        self._line.acknowledged = True
        chain.written(Prepared(removal.row, dict.fromkeys(removal.removed), [link]))
        self._line.acknowledged = False

    def _settle(self, chain: _FaultyChain, applied: Applied, links: list[Link]) -> None:
        chain.commit(applied.row, applied.changed)
        chain._mark = links[-1].fresh  # the links were cut smaller than the chain cut them
        self._line.acknowledged = False

    def _sent(self, link: Link) -> bool:
        try:
            self._world.store.write([link])
        except ChainBroken:
            return False
        return True

    def _arranged(self, links: list[Link]) -> list[Link]:
        """Return the links as they are sent; faults put the row elsewhere."""
        faults, last = self._world.faults, links[-1]
        if faults.row_outside_the_chain:
            return [*links[:-1], Link(last.key, last.expected, last.fresh, last.cells)]
        if faults.row_before_its_cells:
            begun = links[0]
            without = [Link(each.key, each.expected, each.fresh, each.cells) for each in links[1:]]
            return [Link(begun.key, begun.expected, begun.fresh, begun.cells, last.row), *without]
        return links

    def _applied(self, chain: _FaultyChain, batch: DecodedBatch) -> Applied | None:
        if self._world.faults.first_not_compared:
            batch = DecodedBatch(
                batch.partition, 0, batch.next, batch.offsets, batch.events, batch.times_ms, (), batch.appended_ms
            )
        elif batch.first != chain.row.next:
            return None
        return ENGINE.apply(chain.row, chain.load, batch) if batch.next > chain.row.next else None

    def _next_batch(self) -> DecodedBatch | None:
        while len(self._queue) < 2 and self._fetched < RECORDS:
            end = min(RECORDS, self._fetched + self._world.chance.randrange(1, 6))
            self._queue.append((self._fetched, end))
            self._fetched = end
        return self._world.log.between(*self._queue.pop(0)) if self._queue else None


def _one_by_one(link: Link, fresh_mark: Callable[[], bytes]) -> Iterator[Link]:
    """Cut a link into links of one cell each."""
    cells: list[tuple[str, Cell | None] | None] = [*link.cells.items()] or [None]
    expected = link.expected
    for number, cell in enumerate(cells, 1):
        last = number == len(cells)
        fresh = link.fresh if last else fresh_mark()
        yield Link(link.key, expected, fresh, dict([cell] if cell else []), link.row if last else None)
        expected = fresh


def _log(chance: random.Random) -> DecodedBatch:
    at_ms, records = 1_700_000_000_000, []
    for offset in range(RECORDS):
        at_ms += chance.choice([0, 500, 4_000, 30_000, 30_000, 240_000])
        late_ms = chance.choice([0, 0, 0, 8_000, 900_000])
        event = {"id": 1 << offset, "user": f"u{chance.randrange(4)}", "at": at_ms - late_ms}
        records.append(json_record(offset, event))
    return Intake(EVENT).read(batch_of(KEY.partition, records))


def is_right(seed: int, faults: Faults, *, rollback: bool = True) -> bool:
    """Run one schedule; return whether what is stored in the end is what an undisturbed worker stores."""
    world = World(random.Random(seed), faults)
    workers, owner = [Worker(world), Worker(world)], 0
    for _ in range(STEPS):
        dice = world.chance.random()
        if dice < 0.03:
            owner = 1 - owner
            workers[owner].acquire()
        elif dice < 0.05:
            if rollback:
                world.go_back()
        elif dice < 0.35:
            workers[1 - owner].step()
        else:
            workers[owner].step()
    finish(world, workers[owner])
    return _stored(world.store) == _undisturbed(world.log)


def finish(world: World, owner: Worker) -> None:
    """Let the owner, alone now, come to the end."""
    owner.acquire()
    for _ in range(40 * RECORDS):
        owner.step()
        [stored] = world.store.read_rows([KEY])
        if stored is not None and stored.row.next >= RECORDS:
            return


def _stored(store: MemoryStore) -> tuple[Row | None, dict[str, list[list[tuple[object, ...]]]]]:
    """Return the row, and what can still be asked of each cell: a dead one counts as removed."""
    [stored] = store.read_rows([KEY])
    if stored is None:
        return None, {}
    entities = list(store.entities(KEY.fold))
    cells = store.read_cells(KEY, entities)
    kept: dict[str, list[list[tuple[object, ...]]]] = {
        name: RETENTION.kept(ENGINE.codec.decode(cell.state), stored.row)
        for name, cell in zip(entities, cells, strict=True)
        if cell
    }
    return stored.row, {name: each for name, each in kept.items() if any(each)}


def _undisturbed(log: DecodedBatch) -> tuple[Row | None, dict[str, list[list[tuple[object, ...]]]]]:
    store = MemoryStore()
    chain = Chain(store, KEY, store.create_row(KEY, BEGIN), ENGINE.codec)
    applied = ENGINE.apply(chain.row, chain.load, log)
    chain.commit(applied.row, applied.changed)
    return _stored(store)
