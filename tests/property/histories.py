"""Histories of every statistic, and what is asked of them: shared by Hypothesis, the seeded check and the mutants.

The seeded check draws a history from a number and compares every statistic with brute force, at times where rules have
their edges. It is many times quicker than Hypothesis, which shrinks and this does not; the number is its reproduction.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from random import Random
from types import SimpleNamespace
from typing import Any

import msgspec

from definitions.declared import EventDefinition, Field, ViewDefinition
from definitions.expressions import Constant, Name, Operation
from definitions.values import ValueType
from streams.aggregates import KINDS, Operand
from streams.engine import Engine
from streams.finalise import Held
from streams.intake import Intake
from streams.reading import Served, Serving, ViewReader
from streams.records import Partition
from streams.replay import Remembered
from tests import oracle
from tests.builders import OPTIONS, aggregate, view_definition, window
from tests.records import GivenRecord, batch_of, cut, json_record

SALE = EventDefinition(
    name="sale",
    topic="sales",
    fields=(
        Field("id", ValueType.CATEGORY),
        Field("user", ValueType.CATEGORY, nullable=True),
        Field("shop", ValueType.INT),
        Field("amount", ValueType.FLOAT, nullable=True),
        Field("pieces", ValueType.INT),
        Field("level", ValueType.INT, nullable=True),
        Field("paid", ValueType.BOOL),
        Field("colour", ValueType.CATEGORY, nullable=True),
        Field("at", ValueType.TIME),
    ),
    id="id",
    at="at",
    key=("id",),
    disorder_ms=20_000,
)
SPANS = (window("1m", every="10s"), window("5m", every="10s"), window("10m", every="1m"))
PAID = Name("paid")
DEAR = Operation(">", Name("amount"), Constant(20))
RED = Operation("==", Name("colour"), Constant("red"))

NUMBERS = [
    aggregate("sales", "count", None, SPANS),
    aggregate("amount", "sum", "amount", SPANS[:2]),
    aggregate("amount_mean", "mean", "amount", SPANS),
    aggregate("amount_min", "min", "amount", SPANS[1:]),
    aggregate("amount_max", "max", "amount", SPANS),
    aggregate("pieces", "sum", "pieces", SPANS),
    aggregate("pieces_mean", "mean", "pieces", SPANS[:1]),
    aggregate("paid", "mean", "paid", SPANS[2:]),
    aggregate("amount_variance", "variance", "amount", SPANS),
    aggregate("level_variance", "variance", "level", SPANS[2:]),
    aggregate("amount_std", "std", "amount", SPANS[1:2]),
]
ORDERED = [
    aggregate("colour", "last", "colour", SPANS),
    aggregate("pieces_last", "last", "pieces", SPANS[1:2]),
    aggregate("colour_first", "first", "colour", SPANS),
    aggregate("pieces_first", "first", "pieces", SPANS[2:]),
    aggregate("levels", "last_k", "level", SPANS, k=3),
    aggregate("colours", "last_k", "colour", SPANS[2:], k=2),
]
SKETCHES = [
    aggregate("amounts", "distinct", "amount", SPANS[2:]),
    aggregate("different", "distinct", "level", SPANS, exact=3, precision=8),
    aggregate("median", "quantile", "amount", SPANS, q=0.5),
    aggregate("many", "quantile", "pieces", SPANS[2:], q=0.9),
    aggregate("popular", "top_k", "colour", SPANS, k=2),
    aggregate("usual", "top_k", "level", SPANS[2:], k=3, capacity=2),
]
DECAYED = [
    aggregate("recent", "decayed_count", None, SPANS, half_life_ms=30_000),
    aggregate("amount_recent", "decayed_mean", "amount", SPANS[1:], half_life_ms=120_000),
    aggregate("pieces_recent", "decayed_mean", "pieces", SPANS[:1], half_life_ms=1_000),
]
COMBINED = [
    aggregate("each", "ratio", None, SPANS, of=[aggregate("", "sum", "amount", ()), aggregate("", "count", None, ())]),
    aggregate(
        "red_share",
        "ratio",
        None,
        SPANS[2:],
        of=[aggregate("", "count", None, (), where=[RED]), aggregate("", "sum", "paid", ())],
    ),
    aggregate("dear", "count", None, SPANS, where=[DEAR]),
    aggregate("dear_red", "mean", "pieces", SPANS[2:], where=[DEAR, RED]),
    aggregate("paid_level", "sum", "level", SPANS[:1], where=[PAID]),
    aggregate("paid_least", "min", "pieces", SPANS[1:2], where=[PAID]),
    aggregate("paid_last", "last", "amount", SPANS[2:], where=[PAID]),
    aggregate("red_recent", "decayed_count", None, SPANS[1:2], where=[RED], half_life_ms=60_000),
]
AGGREGATES = [*NUMBERS, *ORDERED, *SKETCHES, *DECAYED, *COMBINED]
BY_USER = view_definition(on=SALE, by=["user"], aggregates=AGGREGATES, name="by_user")
BY_BOTH = view_definition(on=SALE, by=["shop", "user"], aggregates=AGGREGATES[:4], name="by_both")
PARTITIONS = [Partition("sales", index, "tid") for index in range(3)]
START_MS = 1_700_000_000_000 // 600_000 * 600_000

# Times are drawn where rules have their edges: the disorder, the windows, and a tile more or less than those.
AHEAD_MS = [0, 0, 1, 500, 9_999, 10_000, 60_000, 310_000, 330_000, 680_000]
_LATE_MS = [1, 10_000, 19_999, 20_000, 20_001, 50_000, 60_000, 70_000, 290_000, 300_000, 310_000, 320_000]
_TOO_LATE_MS = [540_000, 580_000, 599_999, 600_000, 600_001, 620_000, 660_000, 720_000, 1_800_000]
BEHIND_MS = [*_LATE_MS, *_TOO_LATE_MS]
ASKED_BEHIND_MS = [-700_000, -60_000, -1, 0, 1, 10_000, 20_000, 20_001, 30_000, 40_000, 50_000, 60_000, 80_000]
COLOURS = ["red", "blue", "green", None]

Fields = dict[str, Any] | None
History = dict[int, list[Fields]]


def drawn(chance: Random) -> History:
    """Return what each partition holds: events late, early and at equal times, nulls, records that are no events."""
    return {number: list(_records(chance)) for number in range(chance.randint(1, 3))}


def _records(chance: Random) -> Iterator[Fields]:
    crowded = chance.random() < 0.3  # so that equal times meet, in one partition and in several
    newest_ms = START_MS + chance.choice([0, 0, 7_000, 60_000])
    for _ in range(chance.randint(1, 25)):
        behind = chance.random() < 0.4
        at_ms = newest_ms - chance.choice(BEHIND_MS) if behind else newest_ms + chance.choice(AHEAD_MS)
        at_ms = START_MS + chance.randint(0, 8) * 10_000 if crowded else at_ms
        newest_ms = max(newest_ms, at_ms)
        event = {
            "id": "x",
            "user": chance.choice(["ann", "ann", "bob", None]),
            "shop": chance.randint(1, 2),
            "amount": chance.choice([None, 0.0, chance.randint(-800, 800) / 8, chance.randint(-800, 800) / 8]),
            "pieces": chance.choice([chance.randint(0, 3), chance.randint(-(2**40), 2**40), 2**62]),
            "level": chance.choice([None, *range(6)]),
            "paid": chance.random() < 0.5,
            "colour": chance.choice(COLOURS),
            "at": at_ms,
        }
        yield None if chance.random() < 0.05 else event


def as_records(events: Sequence[Fields]) -> list[GivenRecord]:
    """Return the events as records, dead ones as bytes that are no JSON."""
    return [
        GivenRecord(offset, b"{oops") if event is None else json_record(offset, event)
        for offset, event in enumerate(events)
    ]


class Judge:
    """Compares one view's answers with brute force, history after history."""

    def __init__(self, view: ViewDefinition) -> None:
        self.view = view
        self._engine, self._reader, self._intake = (
            Engine(view.sources[0]),
            ViewReader(view),
            Intake(view.sources[0].event),
        )

    def check(self, seed: int) -> None:
        """Compare the history of ``seed``: its values, its tallies, and its state before and after coding."""
        chance = Random(seed)
        history = drawn(chance)
        rows = {
            number: oracle.fold(self.view.sources[0], list(enumerate(events))) for number, events in history.items()
        }
        states = {number: self._applied(number, events, rows[number], chance) for number, events in history.items()}
        newest_ms = max((event["at"] for events in history.values() for event in events if event), default=START_MS)
        for asked_ms in (newest_ms - behind_ms for behind_ms in [0, *chance.sample(ASKED_BEHIND_MS, 2)]):
            for user in ("ann", "bob"):
                cells = [state for each in states.values() if (state := each.state(user)) is not None]
                serving = Serving(asked_ms)
                oldest_ms = self._reader.retentions[0].oldest_ms(each.row for each in states.values())
                self._reader.add(serving, [Held(cells, oldest_ms)], [{}])
                compare(self.view, rows, serving.done(None), [user], asked_ms)
                ahead = Serving(asked_ms)
                self._reader.add(ahead, [Held(cells)], [{}])
                compare_ahead(self.view, rows, ahead.done(None), [user], asked_ms)

    def _applied(self, number: int, events: Sequence[Fields], expected: oracle.OracleRow, chance: Random) -> Remembered:
        """Return the state of a partition, applied in batches, its cells through the store after each.

        Sometimes a batch's cells are written and its row is not, so that it comes again.
        """
        records, codec, state = as_records(events), self._engine.codec, Remembered(self._engine, 0)
        for batch in cut(PARTITIONS[number], records, [chance.randint(0, 25) for _ in range(3)]):
            first = max(0, batch.first - chance.choice([0, 0, 1, 5]))  # it may begin with what was applied
            again = batch_of(PARTITIONS[number], records[first : batch.next], first=first)
            decoded, before = self._intake.read(again), state.row
            state.apply(decoded)
            for slot in state.slots.values():
                data = codec.encode(slot.state)
                slot.state = codec.empty() if data is None else codec.decode(data)
                slot.position = batch.next
            if chance.random() < 0.3:
                behind, state.row = state.row, before
                state.apply(decoded)
                assert state.row == behind
        row = state.row
        assert (row.applied, row.late, row.too_late) == (expected.applied, expected.late, expected.too_late)
        assert (row.no_entity, row.dead, row.newest_ms) == (expected.no_entity, expected.dead, expected.newest_ms)
        whole = Remembered(self._engine, 0)
        whole.apply(self._intake.read(cut(PARTITIONS[number], records, [])[0]))
        assert self._cells(whole) == self._cells(state)
        return state

    def _cells(self, state: Remembered) -> dict[str, bytes | None]:
        return {entity: self._engine.codec.encode(slot.state) for entity, slot in state.slots.items()}


def check_scale() -> None:
    """Compare sketches with the truth where there is more than a history holds: more values, more than they keep."""
    chance = Random(1)
    for number, exact in ((1_000, 400), (6_000, 256)):  # of the first, one tile keeps all its values
        users = [f"user {each}" for each in range(number)]
        assert oracle.Near(number, 0.05 * number) == _sketched("distinct", users, exact=exact)
        assert oracle.Near(number, 0.05 * number) == _sketched("distinct", list(range(number)) * 2, exact=exact)
    assert _sketched("distinct", list(range(8)) * 20, exact=8, precision=2) == 8
    waiting = sorted(chance.lognormvariate(0, 3) - 1 for _ in range(5_000))
    for q in (0.0, 0.01, 0.5, 0.99, 1.0):
        value = waiting[int(q * 4_999)]
        assert oracle.Near(value, abs(value) * 0.01 * (1 + 1e-9)) == _sketched("quantile", waiting, q=q)
    rare = [f"rare {each // 6}" for each in range(240)]
    assert _sketched("top_k", [*rare, *["often"] * 500], k=1, capacity=8) == ("often",)
    assert _sketched("top_k", [*["often"] * 500, *rare, *rare], k=1, capacity=8) == ("often",)


def _sketched(kind: str, values: Sequence[Any], **options: Any) -> Any:
    """Return what two partitions of one tile each say of the values, each coded and decoded on the way."""
    sketch = KINDS[kind](Operand("value"), **{**OPTIONS[kind], **options})
    (column,) = sketch.columns()
    held: list[Any] = [None, None]
    for place, given in enumerate(column.inputs([SimpleNamespace(value=each) for each in values])):
        side = place % 3 % 2
        held[side] = column.begin(given) if held[side] is None else column.fold(held[side], given)
        if place % 1_000 == 0:
            held = msgspec.msgpack.decode(msgspec.msgpack.encode(held), strict=False)
    return sketch.finalise(held)


def compare(
    view: ViewDefinition, rows: Mapping[int, oracle.OracleRow], served: Served, entity: list[Any], asked_ms: int
) -> None:
    """Compare one answer with brute force; only a question older than the declared disorder may go unanswered."""
    beyond = oracle.out_of_reach(view, [rows], asked_ms)
    expected = oracle.values(view, [rows], entity, asked_ms)
    ages = served.ages_ms()
    for name, age in oracle.ages_ms(view, [rows], entity, asked_ms).items():
        assert ages[f"{view.name}.{name}"] == age, (name, ages, age)
    newest_ms = max(row.newest_ms or 0 for row in rows.values())
    if asked_ms >= newest_ms - view.sources[0].event.disorder_ms:
        assert beyond == set()
    if expected is None:
        nobody_knows = {each.name for each in view.features} if beyond else set()
        assert served.unanswerable == tuple(sorted(f"{view.name}.{name}" for name in nobody_knows))
        assert served.absent == (() if beyond else (view.name,))
        assert set(served.values.values()) == {None}
        return
    assert served.unanswerable == tuple(sorted(f"{view.name}.{name}" for name in beyond))
    assert served.absent == ()
    types = {each.name: each.type for each in view.features}
    for name, value in expected.items():
        found = served.values[f"{view.name}.{name}"]
        if f"{view.name}.{name}" in served.unanswerable:
            assert found is None
        else:
            assert found == value, (name, found, value)
            assert found is None or type(found) is _PYTHON[types[name]], (name, found)


def compare_ahead(
    view: ViewDefinition, rows: Mapping[int, oracle.OracleRow], served: Served, entity: list[Any], asked_ms: int
) -> None:
    """Compare what cells answer whose rows are behind them: right, or not at all, by what they gave up themselves."""
    expected = oracle.values(view, [rows], entity, asked_ms, everything=True)
    for name, value in (expected or {}).items():
        shown = f"{view.name}.{name}"
        if served.absent:
            assert value in (None, 0), (name, value)
        elif shown not in served.unanswerable:
            assert served.values[shown] == value, (name, served.values[shown], value)


_PYTHON = {ValueType.INT: int, ValueType.FLOAT: float, ValueType.CATEGORY: str, ValueType.BOOL: bool}
