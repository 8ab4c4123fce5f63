"""Whenever dead cells are removed, no answer shows it: not to a run without sweeps, and not to brute force."""

from __future__ import annotations

from random import Random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from streams.chain import Chain, commit_together
from streams.engine import Engine
from streams.intake import Intake
from streams.reading import FeatureReader, Served
from streams.records import RecordBatch
from streams.replay import PointInTime
from streams.store import Row, RowKey
from streams.store.memory import MemoryStore
from streams.sweep import Sweep
from tests import oracle
from tests.property.histories import ASKED_BEHIND_MS, PARTITIONS, SALE, START_MS, History, as_records, compare
from tests.property.test_engine_equals_oracle import BY_USER, THOROUGH, histories
from tests.records import cut

USERS = ("ann", "bob")


class Run:
    """One store, the owners of its partitions, and their sweeps."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self._engine = Engine(BY_USER.sources[0])
        self._chains = {number: self._opened(number) for number in range(len(PARTITIONS))}
        self._sweeps = {number: self._sweep_of(number) for number in self._chains}

    def apply(self, number: int, batch: RecordBatch) -> None:
        """Make a batch part of its partition's state."""
        chain = self._chains[number]
        applied = self._engine.apply(chain.row, chain.load, Intake(SALE).read(batch))
        chain.commit(applied.row, applied.changed)

    def reopen(self, number: int) -> None:
        """Let another owner take the partition."""
        self._chains[number] = self._opened(number)
        self._sweeps[number] = self._sweep_of(number)

    def sweep(self, number: int) -> int:
        """Remove what is dead; return how many cells that were."""
        removal = self._sweeps[number].step()
        commit_together(self.store, [removal] if removal else [])
        return len(removal.removed) if removal else 0

    def ask(self, user: str, asked_ms: int) -> Served:
        """Return what is known of a user."""
        reader = FeatureReader([BY_USER])
        question = reader.question([{"user": user}])
        return reader.serve(question, self.store.read(question), 0, asked_ms)

    def _opened(self, number: int) -> Chain[Any]:
        key = RowKey(BY_USER.key, PARTITIONS[number])
        return Chain(self.store, key, self.store.create_row(key, Row(next=0, first=0)), self._engine.codec)

    def _sweep_of(self, number: int) -> Sweep:
        return Sweep(self.store, self._engine, self._chains[number])


@THOROUGH
@given(
    histories(), st.randoms(use_true_random=False), st.lists(st.sampled_from(ASKED_BEHIND_MS), min_size=2, max_size=6)
)
def test_every_answer_is_that_of_brute_force_and_of_a_run_without_sweeps(
    history: History, chance: Random, asked: list[int]
) -> None:
    swept, kept, replay, applied = Run(), Run(), PointInTime([BY_USER]), dict.fromkeys(history, 0)
    waiting = {
        number: cut(PARTITIONS[number], as_records(events), [chance.randrange(1, 25) for _ in range(4)])
        for number, events in history.items()
    }
    while any(waiting.values()):
        number = chance.choice([each for each, batches in waiting.items() if batches])
        batch = waiting[number].pop(0)
        applied[number] = batch.next
        replay.apply(batch)
        for run in (swept, kept):
            run.apply(number, batch)
        if chance.random() < 0.2:
            swept.reopen(number)
        if chance.random() < 0.7:
            swept.sweep(number)
        so_far = {each: events[: applied[each]] for each, events in history.items()}
        rows = {each: oracle.fold(BY_USER.sources[0], list(enumerate(events))) for each, events in so_far.items()}
        times = [event["at"] for events in so_far.values() for event in events if event]
        asked_ms = max(times, default=START_MS) - chance.choice(asked)
        for user in USERS:
            answer = swept.ask(user, asked_ms)
            compare(BY_USER, rows, answer, [user], asked_ms)
            without = kept.ask(user, asked_ms)
            past = replay.serve({"user": user}, asked_ms)
            shown = (answer.values, answer.absent, answer.unanswerable)
            assert shown == (without.values, without.absent, without.unanswerable)
            assert shown == (past.values, past.absent, past.unanswerable)
            assert answer.ages_ms() == without.ages_ms()


def test_the_sweeps_of_this_test_do_remove_cells() -> None:
    run = Run()
    early, late = START_MS, START_MS + 3_600_000
    records = [
        {"id": "x", "user": user, "shop": 1, "amount": 1.0, "pieces": 1, "paid": True, "colour": "red", "at": at_ms}
        for user, at_ms in (("ann", early), ("bob", late))
    ]
    run.apply(0, cut(PARTITIONS[0], as_records(list(records)), [])[0])

    assert run.sweep(0) == 1
    assert list(run.store.entities(BY_USER.key)) == ["bob"]
