"""Dead cells go, part by part, and nothing that somebody may still ask for goes with them."""

from __future__ import annotations

from streams.chain import Chain, commit_together
from streams.engine import Engine
from streams.intake import Intake
from streams.records import Partition
from streams.store import PART_KEYS, Cell, Link, Part, Row, RowKey
from streams.store.memory import MemoryStore
from streams.sweep import Sweep
from tests.builders import aggregate, event_definition, view_definition, window
from tests.records import batch_of, json_record

MINUTE_MS = 60_000
START_MS = 1_700_000_000_000 // MINUTE_MS * MINUTE_MS
EVENT = event_definition(disorder_ms=0)
VIEW = view_definition(on=EVENT, aggregates=[aggregate("flights", windows=[window("1h", every="1m")])])
ENGINE = Engine(VIEW.sources[0])
KEY = RowKey(VIEW.key, Partition(EVENT.topic, 0, "tid"))


class Counting(MemoryStore):
    """Counts how often it is looked through."""

    parts = 0

    def some_entities(self, fold: str, after: str | None) -> Part:
        """Return a part."""
        self.parts += 1
        return super().some_entities(fold, after)


class World:
    """One view over one partition, its owner and his sweep."""

    def __init__(self) -> None:
        self.store = Counting()
        self.chain = Chain(self.store, KEY, self.store.create_row(KEY, Row(next=0, first=0)), ENGINE.codec)
        self.sweep = Sweep(self.store, ENGINE, self.chain)

    def depart(self, minutes: int, *origins: str) -> None:
        """Let flights leave at that minute."""
        first = self.chain.row.next
        records = [
            json_record(
                first + number,
                {
                    "flight_id": "x", "origin": origin, "dest": "LAX", "carrier": "UA", "delay_min": 4.0,
                    "departed_at": START_MS + minutes * MINUTE_MS,
                },
            )
            for number, origin in enumerate(origins)
        ]  # fmt: skip
        applied = ENGINE.apply(
            self.chain.row, self.chain.load, Intake(EVENT).read(batch_of(KEY.partition, records, first=first))
        )
        self.chain.commit(applied.row, applied.changed)

    def clean(self) -> int:
        """Sweep once; return how many cells went."""
        removal = self.sweep.step()
        commit_together(self.store, [removal] if removal else [])
        return len(removal.removed) if removal else 0

    @property
    def entities(self) -> set[str]:
        """Return who has a cell."""
        return set(self.store.entities(KEY.fold))


def test_a_cell_dies_with_the_tile_that_carries_it_out_of_the_longest_window() -> None:
    world = World()
    world.depart(0, "JFK")
    gone = []
    for minutes in (59, 60):
        world.depart(minutes, "LGA")
        gone.append((world.clean(), world.entities))

    assert gone == [(0, {"JFK", "LGA"}), (1, {"LGA"})]


def test_the_cache_forgets_what_was_removed_and_a_cell_that_comes_back_is_a_new_one() -> None:
    world = World()
    world.depart(0, "JFK")
    world.depart(100, "LGA")
    assert world.clean() == 1

    assert world.chain.load(["JFK"])["JFK"].state == ENGINE.codec.empty()
    world.depart(101, "JFK")

    assert world.entities == {"JFK", "LGA"}
    assert world.chain.row.applied == 3


def test_one_step_looks_at_a_bounded_part_and_a_round_at_all_of_it() -> None:
    world = World()
    world.depart(0, *(f"E{number}" for number in range(2 * PART_KEYS)))
    world.depart(100, "LGA")

    gone = [world.clean() for _ in range(3)]

    assert max(gone) <= PART_KEYS
    assert world.entities == {"LGA"}


def test_a_round_begins_only_when_the_floor_has_moved() -> None:
    world = World()
    world.depart(0, "JFK")
    asked = []
    for minutes in (0, 0, 1):
        world.depart(minutes, "LGA")
        before = world.store.parts
        world.clean()
        asked.append(world.store.parts - before)

    assert asked == [1, 0, 1]


def test_a_cell_ahead_of_the_row_stays_though_it_is_dead_by_it() -> None:
    world = World()
    world.depart(0, "JFK")
    [cell] = world.store.read_cells(KEY, ["JFK"])
    assert cell is not None
    world.depart(100, "LGA")
    [stored] = world.store.read_rows([KEY])
    assert stored is not None
    world.store.write([Link(KEY, stored.mark, b"nextmark", {"JFK": Cell(9, cell.state)})])
    world.chain = Chain(world.store, KEY, world.store.create_row(KEY, Row(next=0, first=0)), ENGINE.codec)
    world.sweep = Sweep(world.store, ENGINE, world.chain)

    assert world.clean() == 0
    assert world.entities == {"JFK", "LGA"}


def test_stored_cells_are_bounded_by_who_is_alive() -> None:
    world, most = World(), 0
    for minute in range(600):
        world.depart(minute, *(f"M{minute}E{number}" for number in range(3)))
        world.clean()
        most = max(most, len(world.entities))

    assert 3 * 60 <= most <= 3 * 62
