"""Random outcomes logs, the join worked off over them with kills on the way, and the plain oracle that judges it."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from streams.chain import Slot
from streams.joins import CLOCK, TALLY, DueKeys, JoinCodec, JoinRule, JoinState, KeyState, Tally
from streams.joins.matching import CELLS_A_STEP, KEYS_A_CHUNK, Join
from streams.messages import Example, LabelSeen, Outcome, Prediction, Progress, encode
from tests.plain_join import Found, PlainJoin

WITHIN = 960
DISORDER = 30
SOURCES = ("labels/0", "labels/1")
KEYS = ("k0", "k1", "k2", "@clock")
_NEVER = 10**9


@dataclass
class Writer:
    """Commits steps whole, and can be thrown away between any two of them."""

    rule: JoinRule
    keys_a_chunk: int
    steps_a_commit: int = 1
    cells: dict[str, bytes] = field(default_factory=dict)
    next: int = 0
    sent: dict[tuple[int, int], Example] = field(default_factory=dict)
    largest: int = 0
    """The most cells that one step changed."""

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
                    assert encode(again) == encode(example)
                changed.update(step.changed)
                self.largest = max(self.largest, len(set(step.changed)))
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

    def registered_twice(self) -> list[str]:
        """Return what a step would look at twice."""
        twice: list[str] = []
        for name, data in self.cells.items():
            state = JoinCodec().decode(data)
            if isinstance(state, DueKeys) and len(set(state.keys)) < len(state.keys):
                twice.append(name)
        return twice


def _prediction(number: int, key: str | None, at_ms: int) -> Prediction:
    return Prediction(
        request_id=f"r{number}", model="m", release="", label_key=key, at_ms=at_ms, vector=[number],
        scores={"b": 0.5, "a": 0.5}, versions=[], champion="a", status="ok", positions={}, features_as_of=None,
        entities={"y": "1", "x": 2},
    )  # fmt: skip


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


def drawn_rule(dice: random.Random) -> JoinRule:
    """Return one of the policies that an author may declare."""
    otherwise = dice.choice([None, False])
    return JoinRule("m", WITHIN, DISORDER, otherwise, replaces=dice.random() < 0.5, first_only=dice.random() < 0.3)


def drawn_log(dice: random.Random) -> list[Outcome]:
    """Return an outcomes log: labels in source order, runs sent again, predictions repeated, progress in between."""
    predictions: list[Outcome] = [
        _prediction(number, dice.choice([*KEYS, None]), _time(dice)) for number in range(dice.randint(0, 12))
    ]
    predictions += [dice.choice(predictions) for _ in range(dice.randint(0, 4))] if predictions else []
    dice.shuffle(predictions)
    streams = [predictions, *(_told(dice, source) for source in SOURCES)]
    log: list[Outcome] = []
    while any(streams):
        log.append(dice.choice([each for each in streams if each]).pop(0))
    return log


def _told(dice: random.Random, source: str) -> list[Outcome]:
    told: list[Outcome] = []
    labels: list[LabelSeen] = []
    for place in range(dice.randint(0, 8)):
        label = LabelSeen(label_key=dice.choice(KEYS), at_ms=_time(dice), label=dice.random() < 0.5, source="")
        if labels and dice.random() < 0.3:
            label = dice.choice(labels)
        labels.append(label)
        told.append(msgspec.structs.replace(label, source=f"{source}@{place}"))
        if dice.random() < 0.5:
            idle = dice.randint(0, 5) == 0
            told.append(Progress(source=source, partitions=len(SOURCES), newest_ms=_time(dice), idle=idle))
    again = dice.randint(0, len(told))
    return [*told, *told[again:], Progress(source=source, partitions=len(SOURCES), newest_ms=_time(dice))]


def _time(dice: random.Random) -> int:
    # Whole quarters of the horizon, half of the time: so that things happen at its very end.
    return dice.randint(0, 4 * WITHIN) if dice.random() < 0.5 else dice.randint(0, 16) * WITHIN // 4


def judge(
    log: list[Outcome], rule: JoinRule, *, keys_a_chunk: int, steps_a_commit: int, kills: Sequence[tuple[int, bool]]
) -> None:
    """Require of the join what the oracle says, killed so often and not at all, and nothing kept once all is over.

    Raises:
        AssertionError: an example, a count or a cell differs.
    """
    writer, smooth = Writer(rule, keys_a_chunk, steps_a_commit), Writer(rule, keys_a_chunk)
    expected, counts = _oracle(log, rule)
    for after, lost in kills:
        if writer.run(log, kill_after=after, lost=lost):
            break
    writer.run(log, kill_after=_NEVER, lost=False)
    smooth.run(log, kill_after=_NEVER, lost=False)

    tally = writer.tally()
    assert expected == {(e.label_key, e.at_ms, e.next, e.label, e.is_revision) for e in writer.sent.values()}
    assert all(e.replaces == ((not e.label) if e.is_revision else None) for e in writer.sent.values())
    assert len(expected) <= len(writer.sent) == tally.matched + tally.given + tally.replaced
    assert {name: counts[name] for name in msgspec.structs.asdict(tally)} == msgspec.structs.asdict(tally)
    assert tally.imbalance == 0
    assert tally.pending == writer.waiting()
    assert smooth.sent == writer.sent
    assert smooth.cells == writer.cells
    require_indexes(writer.sent)
    assert writer.registered_twice() == []
    over = [Progress(source=each, partitions=len(SOURCES), newest_ms=at) for at in (6, 9) for each in SOURCES]
    later = [msgspec.structs.replace(each, newest_ms=each.newest_ms * WITHIN) for each in over]
    writer.run([*log, *later], kill_after=_NEVER, lost=False)
    assert writer.cells.keys() <= {CLOCK, TALLY}


def require_indexes(sent: Iterable[tuple[int, int]]) -> None:
    """Require the indexes of one record to count from zero without gaps: a learner takes (next, index) for a position.

    Raises:
        AssertionError: they do not.
    """
    by_record: dict[int, list[int]] = {}
    for position, index in sent:
        by_record.setdefault(position, []).append(index)
    assert all(sorted(indexes) == list(range(len(indexes))) for indexes in by_record.values())


def check(seed: int) -> None:
    """Judge the join on the log of a seed.

    Raises:
        AssertionError: it is wrong there.
    """
    dice = random.Random(seed)
    log, rule = drawn_log(dice), drawn_rule(dice)
    kills = [(dice.randint(0, 30), dice.random() < 0.5) for _ in range(dice.randint(0, 8))]
    judge(log, rule, keys_a_chunk=dice.randint(1, 3), steps_a_commit=dice.randint(1, 4), kills=kills)


def check_scale() -> None:
    """Require that a step fits into one link, whatever the number of keys that are due at once.

    Raises:
        AssertionError: it changes too many cells.
    """
    writer = Writer(JoinRule("m", WITHIN, DISORDER, None), KEYS_A_CHUNK)
    many = [_prediction(number, f"k{number}", number % 20) for number in range(4 * KEYS_A_CHUNK)]
    progress = [Progress(source="labels/0", partitions=1, newest_ms=2 * WITHIN)]
    writer.run([*many, *progress], kill_after=_NEVER, lost=False)
    assert writer.largest <= CELLS_A_STEP
