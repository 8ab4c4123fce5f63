"""The join equals a brute-force reading of the whole log, however often it was killed on the way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from definitions.values import Value
from streams.chain import Slot
from streams.joins import TALLY, JoinCodec, JoinRule, JoinState, Tally, step_ms
from streams.joins.matching import Join
from streams.messages import Example, LabelSeen, Outcome, Prediction, Progress

WITHIN = 960
DISORDER = 30
STEP = step_ms(WITHIN)
SOURCES = ("labels/0", "labels/1")
Found = tuple[str, int, int, Value]
"""What matters of an example: label key, event time of the prediction, `next`, label."""


# --- the oracle: no cells, no steps, no state that is carried along; every question is asked of the whole log


def _passed_before(log: list[Outcome], end: int) -> int:
    return max((_told_by(log[:each]) for each in range(end + 1)), default=0)


def _told_by(log: list[Outcome]) -> int:
    told = {source: [o for o in log if isinstance(o, Progress) and o.source == source] for source in SOURCES}
    if not all(told.values()):
        return 0
    holding = [max(each.newest_ms for each in records) for records in told.values() if not records[-1].idle]
    return max(0, (min(holding) - DISORDER) // STEP) if holding else 0


def _is_in_time(log: list[Outcome], place: int) -> bool:
    outcome = log[place]
    assert not isinstance(outcome, Progress)
    return (outcome.at_ms + WITHIN) // STEP >= _passed_before(log, place)


def _name_of(outcome: Outcome) -> tuple[str | None, str]:
    assert not isinstance(outcome, Progress)
    return outcome.label_key, outcome.source if isinstance(outcome, LabelSeen) else outcome.request_id


def _is_copy(log: list[Outcome], place: int) -> bool:
    return any(
        type(log[before]) is type(log[place]) and _name_of(log[before]) == _name_of(log[place])
        for before in range(place)
        if not isinstance(log[before], Progress)
    )


def _oracle(log: list[Outcome], otherwise: Value) -> tuple[set[Found], Tally]:  # brute force reads top down
    found: set[Found] = set()
    tally = Tally()
    heard = [i for i, o in enumerate(log) if not isinstance(o, Progress) and o.label_key is not None]
    accepted = [i for i in heard if _is_in_time(log, i) and not _is_copy(log, i)]
    tally.duplicate = sum(_is_in_time(log, i) and _is_copy(log, i) for i in heard)
    labels = [(i, o) for i in accepted if isinstance(o := log[i], LabelSeen)]
    for place, label in labels:
        before = [other for j, other in labels if j < place and other.label_key == label.label_key]
        newest = max((other.at_ms for other in before), default=None)
        tally.revised += newest is not None and (newest + WITHIN) // STEP >= _passed_before(log, place)
    for place in accepted:
        asked = log[place]
        if not isinstance(asked, Prediction):
            continue
        expires = (asked.at_ms + WITHIN) // STEP
        over = next((j for j in range(place, len(log)) if _passed_before(log, j + 1) > expires), len(log))
        own = [(j, label) for j, label in labels if label.label_key == asked.label_key]
        earlier = [label for j, label in own if j < place]
        kept = bool(earlier) and (max(label.at_ms for label in earlier) + WITHIN) // STEP >= _passed_before(log, place)
        offers = [(place, earlier[-1])] if kept else []
        offers += [(j, label) for j, label in own if place < j < over]
        for j, label in offers:
            if label.at_ms <= asked.at_ms + WITHIN:
                found.add((str(asked.label_key), asked.at_ms, j + 1, label.label))
                tally.matched += 1
                break
            tally.label_late += 1
        else:
            if over < len(log):
                tally.timed_out += 1
                if otherwise is not None:
                    found.add((str(asked.label_key), asked.at_ms, over + 1, otherwise))
    return found, tally


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


def _prediction(number: int, key: str | None, at_ms: int) -> Prediction:
    return Prediction(
        request_id=f"r{number}", model="m", release="", label_key=key, at_ms=at_ms, vector=[number], scores={"a": 0.5},
        versions=[], champion="a", status="ok", positions={}, features_as_of=None,
    )  # fmt: skip


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
    otherwise=st.sampled_from([None, False]),
    keys_a_chunk=st.integers(1, 3),
    steps_a_commit=st.integers(1, 4),
    kills=st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=8),
)
def test_join_equals_a_reading_of_the_whole_log_whatever_was_killed(
    log: list[Outcome], otherwise: Value, keys_a_chunk: int, steps_a_commit: int, kills: list[tuple[int, bool]]
) -> None:
    """Examples (each position once) and tallies are functions of the log, not of how it was worked off."""
    rule = JoinRule(model="m", within_ms=WITHIN, disorder_ms=DISORDER, otherwise=otherwise)
    writer, smooth = Writer(rule, keys_a_chunk, steps_a_commit), Writer(rule, keys_a_chunk)
    expected, tally = _oracle(log, otherwise)

    for after, lost in kills:
        if writer.run(log, kill_after=after, lost=lost):
            break
    writer.run(log, kill_after=10**9, lost=False)
    smooth.run(log, kill_after=10**9, lost=False)

    assert expected == {(e.label_key, e.at_ms, e.next, e.label) for e in writer.sent.values()}
    assert len(expected) <= len(writer.sent) == tally.matched + (tally.timed_out if otherwise is not None else 0)
    assert tally == writer.tally()
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
