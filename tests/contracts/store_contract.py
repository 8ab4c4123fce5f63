"""What every online store does. A test file per store subclasses `StoreContract` and provides ``store``."""

from __future__ import annotations

from itertools import pairwise

import pytest

from streams.errors import ChainBroken, StoreError
from streams.records import Partition
from streams.store import PART_KEYS, Answer, Cell, Link, OnlineStore, Pointer, Question, Row, RowKey

FIRST = RowKey("visits.v1.aa", Partition("visits", 0, "t1"))
SECOND = RowKey("visits.v1.aa", Partition("visits", 1, "t1"))
OTHER = RowKey("sales.v1.bb", Partition("visits", 0, "t1"))


def started(store: OnlineStore, key: RowKey = FIRST) -> bytes:
    """Create the row of ``key`` and return its mark."""
    return store.create_row(key, Row(next=0, first=0)).mark


def mark(number: int) -> bytes:
    """Return a mark that says which one it is."""
    return number.to_bytes(8, "big")


class StoreContract:
    """The laws of `streams.store.OnlineStore`."""

    def test_a_row_is_created_only_if_it_is_absent(self, store: OnlineStore) -> None:
        created = store.create_row(FIRST, Row(next=7, first=7))

        again = store.create_row(FIRST, Row(next=0, first=0))

        assert again == created
        assert created.row == Row(next=7, first=7)
        assert len(created.mark) == 8

    def test_a_fold_with_a_colon_is_refused(self, store: OnlineStore) -> None:
        with pytest.raises(StoreError, match="without colons"):
            store.create_row(RowKey("a:b", FIRST.partition), Row(next=0, first=0))

    def test_rows_come_in_the_order_asked_and_none_where_not_started(self, store: OnlineStore) -> None:
        store.create_row(SECOND, Row(next=2, first=0))
        store.create_row(FIRST, Row(next=1, first=0))

        rows = store.read_rows([SECOND, OTHER, FIRST])

        assert [stored and stored.row.next for stored in rows] == [2, None, 1]

    def test_every_tally_of_a_row_is_kept(self, store: OnlineStore) -> None:
        full = Row(
            next=9, first=1, newest_ms=2**41, applied_through_ms=2**41 + 1,
            applied=3, late=2, duplicate=1, too_late=4, no_entity=5, dead=6,
        )  # fmt: skip

        store.write([Link(FIRST, started(store), mark(1), {}, full)])

        [stored] = store.read_rows([FIRST])
        assert stored is not None
        assert stored.row == full
        assert stored.mark == mark(1)

    def test_links_that_follow_each_other_are_all_written(self, store: OnlineStore) -> None:
        store.write(
            [
                Link(FIRST, started(store), mark(1), {"ann": Cell(3, b"a")}),
                Link(FIRST, mark(1), mark(2), {"bob": Cell(3, b"b")}, Row(next=3, first=0)),
            ]
        )

        assert store.read_cells(FIRST, ["bob", "zoe", "ann"]) == [Cell(3, b"b"), None, Cell(3, b"a")]
        [stored] = store.read_rows([FIRST])
        assert stored is not None
        assert (stored.row.next, stored.mark) == (3, mark(2))

    def test_a_link_without_a_row_keeps_the_row_and_renews_the_mark(self, store: OnlineStore) -> None:
        row = Row(next=5, first=0, applied=5)
        store.write([Link(FIRST, started(store), mark(1), {}, row)])

        store.write([Link(FIRST, mark(1), mark(2), {"ann": Cell(9, b"a")})])

        [stored] = store.read_rows([FIRST])
        assert stored is not None
        assert (stored.row, stored.mark) == (row, mark(2))

    def test_a_refused_link_writes_nothing(self, store: OnlineStore) -> None:
        held = started(store)

        with pytest.raises(ChainBroken):
            store.write([Link(FIRST, mark(9), mark(1), {"ann": Cell(3, b"a")}, Row(next=3, first=0))])

        assert store.read_cells(FIRST, ["ann"]) == [None]
        [stored] = store.read_rows([FIRST])
        assert stored is not None
        assert (stored.row.next, stored.mark) == (0, held)

    def test_every_link_behind_a_refused_one_is_refused(self, store: OnlineStore) -> None:
        held = started(store)

        with pytest.raises(ChainBroken):
            store.write(
                [
                    Link(FIRST, held, mark(1), {"ann": Cell(3, b"a")}),
                    Link(FIRST, mark(7), mark(2), {"bob": Cell(3, b"b")}),
                    Link(FIRST, mark(2), mark(3), {"cid": Cell(3, b"c")}, Row(next=3, first=0)),
                ]
            )

        assert store.read_cells(FIRST, ["ann", "bob", "cid"]) == [Cell(3, b"a"), None, None]
        [stored] = store.read_rows([FIRST])
        assert stored is not None
        assert (stored.row.next, stored.mark) == (0, mark(1))

    def test_a_write_of_a_megabyte_is_whole_up_to_the_link_that_is_refused(self, store: OnlineStore) -> None:
        held = started(store)
        marks = [held, *(mark(number) for number in range(1, 13))]
        links = [
            Link(FIRST, before, after, {f"e{number}": Cell(number, bytes(100_000))}, Row(next=number + 1, first=0))
            for number, (before, after) in enumerate(pairwise(marks))
        ]
        links[9] = Link(FIRST, mark(99), mark(10), {"e9": Cell(9, b"")})

        with pytest.raises(ChainBroken):
            store.write(links)

        found = store.read_cells(FIRST, [f"e{number}" for number in range(12)])
        assert found == [*(Cell(number, bytes(100_000)) for number in range(9)), None, None, None]
        [stored] = store.read_rows([FIRST])
        assert stored is not None
        assert (stored.row.next, stored.mark) == (9, mark(9))

    def test_a_mark_is_good_for_one_link(self, store: OnlineStore) -> None:
        held = started(store)
        store.write([Link(FIRST, held, mark(1))])

        with pytest.raises(ChainBroken):
            store.write([Link(FIRST, held, mark(2))])

    def test_a_link_of_a_row_that_was_never_created_is_refused(self, store: OnlineStore) -> None:
        with pytest.raises(ChainBroken):
            store.write([Link(FIRST, mark(0), mark(1), {"ann": Cell(1, b"a")}, Row(next=1, first=0))])

        assert store.read_rows([FIRST]) == [None]
        assert store.read_cells(FIRST, ["ann"]) == [None]

    def test_one_row_refused_does_not_stop_another(self, store: OnlineStore) -> None:
        started(store)
        other = started(store, SECOND)

        with pytest.raises(ChainBroken):
            store.write(
                [
                    Link(FIRST, mark(9), mark(1), {"ann": Cell(1, b"1")}),
                    Link(SECOND, other, mark(1), {"ann": Cell(2, b"2")}),
                ]
            )

        assert store.read_cells(FIRST, ["ann"]) == [None]
        assert store.read_cells(SECOND, ["ann"]) == [Cell(2, b"2")]

    def test_a_mark_of_another_length_is_refused_before_anything_is_written(self, store: OnlineStore) -> None:
        held = started(store)

        with pytest.raises(ValueError, match="8 bytes"):
            store.write(
                [
                    Link(FIRST, held, mark(1), {"ann": Cell(1, bytes(500_000))}),
                    Link(FIRST, mark(1), b"short", {"ann": Cell(1, b"a")}),
                ]
            )

        assert store.read_cells(FIRST, ["ann"]) == [None]

    def test_cells_of_two_partitions_of_one_entity_lie_side_by_side(self, store: OnlineStore) -> None:
        store.write([Link(FIRST, started(store), mark(1), {"ann": Cell(3, b"one")})])
        store.write([Link(SECOND, started(store, SECOND), mark(2), {"ann": Cell(8, b"two")})])

        answer = store.read(Question(cells=[(FIRST.fold, "ann")]))

        assert answer.cells == [{"t1/0": Cell(3, b"one"), "t1/1": Cell(8, b"two")}]
        assert store.read_cells(SECOND, ["ann"]) == [Cell(8, b"two")]

    def test_cells_read_under_another_mark_are_refused(self, store: OnlineStore) -> None:
        held = started(store)
        store.write([Link(FIRST, held, mark(1), {"ann": Cell(3, b"one")})])

        assert store.read_cells(FIRST, ["ann"], expected=mark(1)) == [Cell(3, b"one")]
        with pytest.raises(ChainBroken):
            store.read_cells(FIRST, ["ann"], expected=held)
        with pytest.raises(ChainBroken):
            store.read_cells(OTHER, ["ann"], expected=mark(1))

    def test_a_cell_is_replaced_and_removed(self, store: OnlineStore) -> None:
        held = started(store)
        store.write([Link(FIRST, held, mark(1), {"ann": Cell(1, b"a"), "bob": Cell(1, b"b")})])

        store.write([Link(FIRST, mark(1), mark(2), {"ann": None, "bob": Cell(2, b"bb"), "zoe": None})])

        assert store.read_cells(FIRST, ["ann", "bob", "zoe"]) == [None, Cell(2, b"bb"), None]
        assert store.entities(FIRST.fold) == ["bob"]

    def test_removing_one_partitions_cell_leaves_the_others(self, store: OnlineStore) -> None:
        store.write([Link(FIRST, started(store), mark(1), {"ann": Cell(3, b"one")})])
        store.write([Link(SECOND, started(store, SECOND), mark(2), {"ann": Cell(8, b"two")})])

        store.write([Link(FIRST, mark(1), mark(3), {"ann": None})])

        assert store.read(Question(cells=[(FIRST.fold, "ann")])).cells == [{"t1/1": Cell(8, b"two")}]

    def test_a_question_is_answered_in_the_order_asked(self, store: OnlineStore) -> None:
        first = started(store)
        started(store, SECOND)
        store.write([Link(FIRST, first, mark(1), {"ann": Cell(3, b"a")}, Row(next=3, first=0))])
        store.advance_pointer("late.v1.online", Pointer(1, 5, "d1"))

        answer = store.read(
            Question(
                folds=[OTHER.fold, FIRST.fold],
                cells=[(FIRST.fold, "bob"), (FIRST.fold, "ann"), (OTHER.fold, "ann")],
                pointers=["nobody", "late.v1.online"],
            ),
            timeout_ms=1_000,
        )

        assert [{field: stored.row.next for field, stored in rows.items()} for rows in answer.rows] == [
            {},
            {"t1/0": 3, "t1/1": 0},
        ]
        assert answer.cells == [{}, {"t1/0": Cell(3, b"a")}, {}]
        assert answer.pointers == [None, Pointer(1, 5, "d1")]

    def test_an_empty_question_has_an_empty_answer(self, store: OnlineStore) -> None:
        assert store.read(Question()) == Answer([], [], [])
        assert store.read_rows([]) == []
        assert store.read_cells(FIRST, []) == []
        store.write([])

    @pytest.mark.parametrize(
        ("replacing", "wins"),
        [
            (Pointer(2, 0, "b"), True),
            (Pointer(1, 6, "b"), True),
            (Pointer(1, 5, "z"), False),
            (Pointer(1, 4, "b"), False),
            (Pointer(0, 9, "b"), False),
        ],
    )
    def test_a_pointer_moves_forward_only(self, store: OnlineStore, replacing: Pointer, *, wins: bool) -> None:
        held = Pointer(1, 5, "a")
        assert store.advance_pointer("p", held)

        assert store.advance_pointer("p", replacing) is wins

        assert store.read(Question(pointers=["p"])).pointers == [replacing if wins else held]

    @pytest.mark.parametrize("entity", ["", "a:b", "*", "café ☕", '["JFK","LAX"]', "a\x00b", "[x]\\"])
    def test_any_text_is_an_entity(self, store: OnlineStore, entity: str) -> None:
        store.write([Link(FIRST, started(store), mark(1), {entity: Cell(1, b"s")})])

        assert store.read_cells(FIRST, [entity]) == [Cell(1, b"s")]
        assert store.read(Question(cells=[(FIRST.fold, entity)])).cells == [{"t1/0": Cell(1, b"s")}]
        assert store.entities(FIRST.fold) == [entity]

    def test_any_bytes_are_a_state(self, store: OnlineStore) -> None:
        state = bytes(range(256)) * 3

        store.write([Link(FIRST, started(store), bytes(8), {"ann": Cell(2**40, state)})])

        assert store.read_cells(FIRST, ["ann"]) == [Cell(2**40, state)]

    def test_entities_are_those_of_the_fold(self, store: OnlineStore) -> None:
        cells: dict[str, Cell | None] = {f"e{number}": Cell(1, b"s") for number in range(2_500)}
        store.write([Link(FIRST, started(store), mark(1), cells)])
        store.write([Link(OTHER, started(store, OTHER), mark(1), {"else": Cell(1, b"s")})])

        assert sorted(store.entities(FIRST.fold)) == sorted(cells)
        assert store.entities("nobody") == []

    def test_entities_come_in_parts_each_of_them_once_at_least(self, store: OnlineStore) -> None:
        cells: dict[str, Cell | None] = {f"e{number}": Cell(1, b"s") for number in range(2_500)}
        store.write([Link(FIRST, started(store), mark(1), cells)])
        store.write([Link(OTHER, started(store, OTHER), mark(1), {"else": Cell(1, b"s")})])

        parts = [store.some_entities(FIRST.fold, None)]
        while (after := parts[-1].after) is not None:
            parts.append(store.some_entities(FIRST.fold, after))

        assert len(parts) > 1
        assert max(len(part.entities) for part in parts) < 2 * PART_KEYS
        assert {entity for part in parts for entity in part.entities} == set(cells)

    def test_a_fold_without_cells_has_one_empty_part_at_least(self, store: OnlineStore) -> None:
        part = store.some_entities("nobody", None)
        while part.after is not None:
            assert part.entities == []
            part = store.some_entities("nobody", part.after)
        assert part.entities == []

    def test_rows_behind_the_cells_are_those_before_them_where_nobody_writes(self, store: OnlineStore) -> None:
        store.write([Link(FIRST, started(store), mark(1), {"ann": Cell(1, b"s")}, Row(next=1, first=0))])

        answer = store.read(Question(folds=[FIRST.fold], cells=[(FIRST.fold, "ann")], pointers=["p"]))

        assert answer.rows_behind in ((), answer.rows)
        assert answer.pointers == [None]

    def test_a_removed_fold_has_no_rows_nor_the_cells_named_and_takes_no_write(self, store: OnlineStore) -> None:
        for key in (FIRST, SECOND, OTHER):
            store.write([Link(key, started(store, key), mark(1), {"ann": Cell(3, b"one"), "bob": Cell(4, b"two")})])

        store.remove(FIRST.fold, ["ann", "nobody"])
        with pytest.raises(ChainBroken):
            store.write([Link(FIRST, mark(1), mark(2), {"ann": Cell(5, b"back")})])

        assert store.read_rows([FIRST, SECOND]) == [None, None]
        assert store.read_cells(FIRST, ["ann", "bob"]) == [None, Cell(4, b"two")]
        assert store.entities(FIRST.fold) == ["bob"]
        assert store.read_cells(OTHER, ["ann"]) == [Cell(3, b"one")]
        store.remove(FIRST.fold, ["bob"])
        assert store.entities(FIRST.fold) == []
