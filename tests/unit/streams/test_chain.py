"""A chain writes what follows, in one round trip, and takes away a cell only together with the row's advance."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest

from streams.chain import CELLS_A_LINK, Chain
from streams.errors import ChainBroken
from streams.records import Partition
from streams.store import MARK_BYTES, Cell, Link, Row, RowKey, fresh_mark
from streams.store.memory import MemoryStore

KEY = RowKey("fold", Partition("topic", 0, "tid"))


class Texts:
    """State is a list of texts; an empty one is nothing to keep."""

    def empty(self) -> list[str]:
        return []

    def encode(self, state: list[str]) -> bytes | None:
        return ",".join(state).encode() or None

    def decode(self, data: bytes) -> list[str]:
        return data.decode().split(",")


class Watched(MemoryStore):
    """Remembers the links it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[Link] = []

    def write(self, links: Sequence[Link]) -> None:
        """Write them."""
        self.links = list(links)
        super().write(links)


def opened(store: MemoryStore, cached_cells: int = 100_000) -> Chain[list[str]]:
    return Chain(store, KEY, store.create_row(KEY, Row(next=0, first=0)), Texts(), cached_cells=cached_cells)


def test_cells_go_in_links_of_a_hundred_and_the_row_in_the_last() -> None:
    store = Watched()
    chain = opened(store)
    names = [f"e{number}" for number in range(2 * CELLS_A_LINK + 1)]
    for slot in chain.load(names).values():
        slot.state.append("x")

    chain.commit(Row(next=9, first=0), names)

    assert [len(link.cells) for link in store.links] == [CELLS_A_LINK, CELLS_A_LINK, 1]
    assert [link.row is not None for link in store.links] == [False, False, True]
    assert [after.expected for after in store.links[1:]] == [before.fresh for before in store.links[:-1]]
    assert store.read_cells(KEY, ["e0"]) == [Cell(9, b"x")]


def test_a_cell_is_removed_by_the_call_that_advances_the_row() -> None:
    store = Watched()
    chain = opened(store)
    names = [f"e{number}" for number in range(CELLS_A_LINK + 5)]
    for slot in chain.load(names).values():
        slot.state.append("x")
    chain.commit(Row(next=5, first=0), names)
    chain.load(names)["e0"].state.clear()

    chain.commit(Row(next=6, first=0), names)

    first, last = store.links
    assert "e0" not in first.cells
    assert last.cells["e0"] is None
    assert store.read_cells(KEY, ["e0"]) == [None]
    assert chain.load(["e0"])["e0"].position == 0


def test_what_was_left_ahead_of_the_row_keeps_its_position() -> None:
    store = Watched()
    store.write([Link(KEY, store.create_row(KEY, Row(next=0, first=0)).mark, b"01234567", {"e": Cell(7, b"a")})])
    chain = opened(store)
    slot = chain.load(["e"])["e"]
    assert (slot.position, slot.state) == (7, ["a"])

    chain.commit(Row(next=3, first=0), ["e"])

    assert store.read_cells(KEY, ["e"]) == [Cell(7, b"a")]


def test_reading_under_anothers_mark_breaks_the_chain() -> None:
    store = MemoryStore()
    chain, other = opened(store), opened(store)
    other.commit(Row(next=1, first=0), ())

    with pytest.raises(ChainBroken):
        chain.load(["e"])


def test_no_more_cells_are_kept_than_asked_for() -> None:
    store = Watched()
    chain = opened(store, cached_cells=2)
    for slot in chain.load(["a", "b", "c"]).values():
        slot.state.append("x")
    chain.commit(Row(next=1, first=0), ["a", "b", "c"])

    assert len(chain.load([])) == 2
    assert chain.load(["a"])["a"].state == ["x"]


def test_what_is_begun_is_not_read_and_what_is_kept_is_not_begun_anew() -> None:
    store = MemoryStore()
    chain, other = opened(store), opened(store)
    other.commit(Row(next=1, first=0), ())

    chain.begin(["e"])["e"].state.append("x")

    assert chain.begin(["e"])["e"].state == ["x"]
    with pytest.raises(ChainBroken):
        chain.commit(Row(next=2, first=0), ["e"])


def test_no_two_marks_are_the_same_in_a_process_and_in_one_forked_from_it() -> None:
    mine, (there, back) = [fresh_mark() for _ in range(700)], os.pipe()
    child = os.fork()
    if not child:
        os.write(back, b"".join(fresh_mark() for _ in range(300)))
        os._exit(0)
    os.close(back)
    with os.fdopen(there, "rb") as told:
        theirs = told.read()
    os.waitpid(child, 0)

    marks = [*mine, *(theirs[at : at + MARK_BYTES] for at in range(0, len(theirs), MARK_BYTES))]
    marks += [fresh_mark() for _ in range(700)]
    assert len(set(marks)) == len(marks) == 1_700
    assert {len(each) for each in marks} == {MARK_BYTES}
