"""The join equals a brute-force reading of the whole log, however often it was killed on the way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streams.chain import Slot
from streams.joins import TALLY, JoinCodec, JoinRule, JoinState, KeyState, Tally
from streams.joins.matching import Join
from streams.messages import Example, LabelSeen, Outcome, Prediction, Progress
from tests.plain_join import Found, PlainJoin

WITHIN = 960
DISORDER = 30
SOURCES = ("labels/0", "labels/1")


def _oracle(log: list[Outcome], rule: JoinRule) -> tuple[set[Found], dict[str, int]]:
    plain = PlainJoin(
        within_ms=WITHIN, disorder_ms=DISORDER, otherwise=rule.otherwise, replaces=rule.replaces, first=rule.first_only
    )
    for offset, outcome in enumerate(log):
        if isinstance(outcome, Prediction):
            plain.prediction(offset, outcome.request_id, outcome.label_key, outcome.at_ms)
        elif isinstance(outcome, LabelSeen):
            source, _, place = outcome.source.rpartition("@")
            plain.label(offset, source, int(place), outcome.label_key, outcome.at_ms, outcome.label)
        else:
            plain.progress(offset, outcome.source, outcome.partitions, outcome.newest_ms, idle=outcome.idle)
    plain.end()
    assert len(plain.found) == plain.counts["matched"] + plain.counts["given"] + plain.counts["replaced"]
    return set(plain.found), plain.counts


# --- the join under test, over cells that are only what was committed


@dataclass
class Writer:
    """Commits steps whole, and can be thrown away between any two of them."""

    rule: JoinRule
    keys_a_chunk: int
    steps_a_commit: int = 1
    cells: dict[str, bytes] = field(default_factory=dict)
    next: int = 0
    sent: dict[tuple[int, int], Example] = field(default_factory=dict)

    def run(self, log: list[Outcome], *, kill_after: int, lost: bool) -> bool:
        """Go on from the committed place; return whether the end was reached before ``kill_after`` steps."""
        slots: dict[str, Slot[JoinState]] = {}

        def load(entities: Iterable[str]) -> Mapping[str, Slot[JoinState]]:
            for name in entities:
                if name not in slots:
                    stored = self.cells.get(name)
                    slots[name] = Slot(0, None if stored is None else JoinCodec().decode(stored))
            return slots

        join, changed, steps = Join(self.rule, "outcomes/0", load, keys_a_chunk=self.keys_a_chunk), set[str](), 0
        for offset in range(self.next, len(log)):
            for step in join.apply(offset, log[offset]):
                for example in step.examples:
                    again = self.sent.setdefault((example.next, example.index), example)
                    assert again == example
                changed.update(step.changed)
                steps += 1
                if steps > kill_after and lost:
                    return False  # sent, but neither cells nor row were written
                if steps % self.steps_a_commit == 0 or offset == len(log) - 1:
                    self._commit(slots, changed)
                    self.next = offset if step.fate is None else offset + 1
                    changed.clear()
                if steps > kill_after:
                    return False
        return True

    def _commit(self, slots: dict[str, Slot[JoinState]], changed: Iterable[str]) -> None:
        for name in changed:
            data = JoinCodec().encode(slots[name].state)
            if data is None:
                self.cells.pop(name, None)
                slots.pop(name, None)
            else:
                self.cells[name] = data

    def tally(self) -> Tally:
        """Return the committed tally."""
        stored = self.cells.get(TALLY)
        state = Tally() if stored is None else JoinCodec().decode(stored)
        assert isinstance(state, Tally)
        return state

    def waiting(self) -> int:
        """Return how many predictions wait, counted in the committed cells."""
        states = [JoinCodec().decode(data) for data in self.cells.values()]
        return sum(len(each.waiting) for each in states if isinstance(each, KeyState))


def _prediction(number: int, key: str | None, at_ms: int) -> Prediction:
    return Prediction(
        request_id=f"r{number}", model="m", release="", label_key=key, at_ms=at_ms, vector=[number], scores={"a": 0.5},
        versions=[], champion="a", status="ok", positions={}, features_as_of=None,
    )  # fmt: skip


RULES = st.builds(
    JoinRule,
    model=st.just("m"),
    within_ms=st.just(WITHIN),
    disorder_ms=st.just(DISORDER),
    otherwise=st.sampled_from([None, False]),
    replaces=st.booleans(),
    first_only=st.booleans(),
)
KEYS = st.sampled_from(["k0", "k1", "k2", "@clock"])
TIMES = st.integers(0, 4 * WITHIN)


@st.composite
def _logs(draw: st.DrawFn) -> list[Outcome]:
    """Return an outcomes log: labels in source order, runs sent again, predictions repeated, progress in between."""
    predictions: list[Outcome] = [
        _prediction(i, draw(KEYS | st.none()), draw(TIMES)) for i in range(draw(st.integers(0, 12)))
    ]
    predictions += draw(st.lists(st.sampled_from(predictions), max_size=4)) if predictions else []
    streams = [draw(st.permutations(predictions))]
    for source in SOURCES:
        told: list[Outcome] = []
        for i in range(draw(st.integers(0, 8))):
            told.append(
                LabelSeen(label_key=draw(KEYS), at_ms=draw(TIMES), label=draw(st.booleans()), source=f"{source}@{i}")
            )
            if draw(st.booleans()):
                idle = draw(st.integers(0, 5)) == 0
                told.append(Progress(source=source, partitions=len(SOURCES), newest_ms=draw(TIMES), idle=idle))
        again = draw(st.integers(0, len(told)))
        streams.append([*told, *told[again:], Progress(source=source, partitions=2, newest_ms=draw(TIMES))])
    log: list[Outcome] = []
    while any(streams):
        log.append(draw(st.sampled_from([each for each in streams if each])).pop(0))
    return log


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    log=_logs(),
    rule=RULES,
    keys_a_chunk=st.integers(1, 3),
    steps_a_commit=st.integers(1, 4),
    kills=st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=8),
)
def test_join_equals_a_reading_of_the_whole_log_whatever_was_killed(
    log: list[Outcome], rule: JoinRule, keys_a_chunk: int, steps_a_commit: int, kills: list[tuple[int, bool]]
) -> None:
    """Examples (each position once) and tallies are functions of the log, not of how it was worked off."""
    writer, smooth = Writer(rule, keys_a_chunk, steps_a_commit), Writer(rule, keys_a_chunk)
    expected, counts = _oracle(log, rule)

    for after, lost in kills:
        if writer.run(log, kill_after=after, lost=lost):
            break
    writer.run(log, kill_after=10**9, lost=False)
    smooth.run(log, kill_after=10**9, lost=False)

    tally = writer.tally()
    assert expected == {(e.label_key, e.at_ms, e.next, e.label, e.is_revision) for e in writer.sent.values()}
    assert len(expected) <= len(writer.sent) == tally.matched + tally.given + tally.replaced
    assert {name: counts[name] for name in msgspec.structs.asdict(tally)} == msgspec.structs.asdict(tally)
    assert tally.imbalance == 0
    assert tally.pending == writer.waiting()
    assert smooth.sent == writer.sent
    assert smooth.cells == writer.cells


@settings(max_examples=100, deadline=None)
@given(log=_logs())
def test_indexes_of_one_record_count_from_zero_without_gaps(log: list[Outcome]) -> None:
    """A learner takes (next, index) for a position: two examples may never share one."""
    writer = Writer(JoinRule(model="m", within_ms=WITHIN, disorder_ms=DISORDER, otherwise=False), 2)

    writer.run(log, kill_after=10**9, lost=False)

    by_record: dict[int, list[int]] = {}
    for position, index in writer.sent:
        by_record.setdefault(position, []).append(index)
    assert all(sorted(indexes) == list(range(len(indexes))) for indexes in by_record.values())
