"""The join itself: one outcome after the other, in the order of the log."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from definitions.values import Value
from streams.chain import Slot
from streams.joins import (
    CLOCK,
    KEY_PREFIX,
    STEPS_A_HORIZON,
    TALLY,
    Clock,
    DueKeys,
    JoinRule,
    JoinState,
    KeyState,
    KnownLabel,
    Learned,
    Tally,
    Waiting,
    step_ms,
)
from streams.messages import Example, LabelSeen, Outcome, Prediction, Progress

KEYS_A_CHUNK = 32
CELLS_A_STEP = KEYS_A_CHUNK + 5
"""How many cells a step changes at most: a chunk of keys, the chunk, two that they are registered in, clock, tally."""
CELLS_AN_OUTCOME = 4
"""How many cells a prediction or a label changes at most: its key, the chunk that it is registered in, clock, tally."""
Kind = TypeVar("Kind", KeyState, DueKeys, Clock, Tally)


class Step(msgspec.Struct, frozen=True, gc=False):
    """A part of one record's effect that is committed whole: examples first, then ``changed`` and the row."""

    fate: str | None
    """The row's tally that the record adds to; None where the record is not finished."""
    examples: Sequence[Example] = ()
    changed: Sequence[str] = ()


_At = tuple[int, str, KeyState, Tally, Clock, int]
"""Where an outcome is applied: its offset, the key's cell and state, the tally, the clock, the step it expires in."""
_NO_KEY = Step("no_entity")
_TOO_LATE = Step("too_late", (), (TALLY,))
_DUPLICATE = Step("duplicate", (), (TALLY,))


class Join:
    """Applies outcomes in log order to the cells of one partition.

    Called record by record; the steps of a record are taken one after the other, and may be committed after each.
    ``load`` is `streams.chain.Chain.load`: nothing but the mapping that it returns is kept here between records.
    ``begin`` is `Chain.begin`, or ``load`` where reading costs nothing.
    """

    def __init__(
        self,
        rule: JoinRule,
        outcomes: str,
        load: Callable[[Iterable[str]], Mapping[str, Slot[JoinState]]],
        begin: Callable[[Iterable[str]], Mapping[str, Slot[JoinState]]] | None = None,
        *,
        keys_a_chunk: int = KEYS_A_CHUNK,
    ) -> None:
        self._rule = rule
        self._outcomes = outcomes
        self._load = load
        self._begin = begin or load
        self._slots = load(())
        self._keys_a_chunk = keys_a_chunk
        self._step_ms = step_ms(rule.within_ms)

    def apply(self, offset: int, outcome: Outcome) -> Iterable[Step]:
        """Return the record's steps, each worked out when it is taken; the last one has its fate.

        Cost: 5 us and at most four cells, but `CELLS_A_STEP` where the horizon passes.
        """
        if isinstance(outcome, Progress):
            return self._progress(offset, outcome)
        return (self._heard(offset, outcome),)

    def _heard(self, offset: int, outcome: Prediction | LabelSeen) -> Step:
        if outcome.label_key is None:
            return _NO_KEY
        tally, clock = self._state(TALLY, Tally), self._state(CLOCK, Clock)
        expires = (outcome.at_ms + self._rule.within_ms) // self._step_ms
        is_prediction = isinstance(outcome, Prediction)
        if expires < clock.passed:
            tally.prediction_too_late += is_prediction
            tally.label_too_late += not is_prediction
            return _TOO_LATE
        cell = KEY_PREFIX + outcome.label_key
        key = self._state(cell, KeyState)
        if key.emitted:
            key.forget_examples(self._rule.floor_ms(clock.passed))
        at = (offset, cell, key, tally, clock, expires)
        return self._prediction(outcome, at) if isinstance(outcome, Prediction) else self._label(outcome, at)

    def _prediction(self, prediction: Prediction, at: _At) -> Step:
        offset, cell, key, tally, clock, expires = at
        name = prediction.request_id
        remembered = key.waiting or key.emitted
        if remembered and (name in key.emitted or any(each.request_id == name for each in key.waiting)):
            tally.duplicate += 1
            return _DUPLICATE
        is_reused = bool(remembered) or key.given_up is not None
        tally.reused += is_reused
        if is_reused and self._rule.first_only:
            return _DUPLICATE
        changed = self._register(cell, key, expires, clock)
        asked = Waiting.of(prediction)
        tally.predictions += 1
        tally.pending += 1
        key.waiting.append(asked)
        if key.label is None:
            return Step("applied", (), (cell, TALLY, *changed))
        if not key.label.is_met:
            key.label = replace(key.label, is_met=True)
        examples = self._match(offset, cell, key, tally, [asked])
        tally.early += len(examples)
        return Step("applied", examples, (cell, TALLY, *changed))

    def _label(self, seen: LabelSeen, at: _At) -> Step:
        offset, cell, key, tally, clock, expires = at
        source, _, place = seen.source.rpartition("@")
        held, offset_there = key.label, int(place)
        if offset_there <= key.sources.get(source, -1):
            tally.duplicate += 1
            tally.label_duplicate += 1
            return _DUPLICATE
        key.sources[source] = offset_there
        if held is not None and (held.at_ms, held.label) == (seen.at_ms, seen.label):
            tally.duplicate += 1
            tally.label_duplicate += 1
            return Step("duplicate", (), (cell, TALLY))
        changed = self._register(cell, key, expires, clock)
        tally.labels += 1
        tally.revised += held is not None
        known = bool(key.waiting or key.emitted)
        tally.label_late += not known and key.given_up is not None
        is_met = known or key.given_up is not None or (held is not None and held.is_met)
        keep_ms = seen.at_ms if held is None else max(seen.at_ms, held.keep_ms)
        key.label = KnownLabel(seen.at_ms, seen.label, keep_ms, is_met)
        again = [each for each in key.learned if each.label != seen.label and self._is_in_time(each.asked, key)]
        examples = self._match(offset, cell, key, tally, key.waiting) if key.waiting else []
        if again:
            examples += self._once_more((offset, len(examples)), cell, key, again)
        return Step("applied", examples, (cell, TALLY, *changed))

    def _is_in_time(self, asked: Waiting, key: KeyState) -> bool:
        return key.label is not None and key.label.at_ms <= asked.at_ms + self._rule.within_ms

    def _match(
        self, offset: int, cell: str, key: KeyState, tally: Tally, candidates: Sequence[Waiting]
    ) -> list[Example]:
        """Make examples of those candidates, waiting ones, for which the label in force came in time."""
        matched = [each for each in candidates if self._is_in_time(each, key)]
        tally.label_late += len(candidates) - len(matched)
        if not matched or key.label is None:
            return []
        label, label_at_ms = key.label.label, key.label.at_ms
        tally.matched += len(matched)
        tally.pending -= len(matched)
        for each in matched:
            key.emitted[each.request_id] = each.at_ms
        key.waiting = [each for each in key.waiting if each.request_id not in key.emitted]
        if self._rule.replaces:
            key.learned = [*key.learned, *(Learned(each, label) for each in matched)]
        return [self._example(each, cell, label, (offset, index), label_at_ms) for index, each in enumerate(matched)]

    def _once_more(self, at: tuple[int, int], cell: str, key: KeyState, again: Sequence[Learned]) -> Iterator[Example]:
        """Make examples of predictions that are examples already, with the label that replaced theirs."""
        offset, first = at
        label, label_at_ms = (None, None) if key.label is None else (key.label.label, key.label.at_ms)
        names = {each.asked.request_id for each in again}
        key.learned = [Learned(one.asked, label) if one.asked.request_id in names else one for one in key.learned]
        self._state(TALLY, Tally).replaced += len(again)
        for index, each in enumerate(again, first):
            example = self._example(each.asked, cell, label, (offset, index), label_at_ms)
            yield replace(example, is_revision=True, replaces=each.label)

    def _progress(self, offset: int, progress: Progress) -> Iterator[Step]:
        clock = self._state(CLOCK, Clock)
        clock.note(progress)
        come_to_ms = clock.has_come_to(progress.partitions, self._rule.disorder_ms)
        clock.passed = max(clock.passed, come_to_ms // self._step_ms)
        for step in self._steps_due(clock):
            # Between two chunks everything may have been written, and forgotten by the chain.
            while str(step) in self._state(CLOCK, Clock).due:
                yield self._clear_chunk(offset, step)
        yield Step("applied", (), (CLOCK,))

    def _steps_due(self, clock: Clock) -> list[int]:
        """Return the steps that are passed and not cleared: clearing them makes none more."""
        return sorted(step for step in map(int, clock.due) if step < clock.passed)

    def _clear_chunk(self, offset: int, step: int) -> Step:
        """Clear the last chunk of keys of a step: forget what is over, give up on what still waits."""
        clock, tally = self._state(CLOCK, Clock), self._state(TALLY, Tally)
        made, floor_ms = clock.cursor[1] if clock.cursor[0] == offset else 0, self._rule.floor_ms(clock.passed)
        chunk = (clock.due[str(step)] - 1) // self._keys_a_chunk
        name = f"@expiry/{step}/{chunk}"
        due = self._state(name, DueKeys)
        cells, due.keys = due.keys, []
        clock.due[str(step)] = chunk * self._keys_a_chunk
        if not chunk:
            del clock.due[str(step)]
        self._load(cells)
        examples: list[Example] = []
        changed: dict[str, None] = dict.fromkeys([name, CLOCK, TALLY])
        for cell in cells:
            key = self._state(cell, KeyState)
            if not key.has_to_change(floor_ms, clock.passed):
                continue
            given_up, registered = self._clear_key(cell, key, tally, clock)
            changed[cell] = None
            changed.update(dict.fromkeys(registered))
            if given_up and self._rule.otherwise is not None:
                at = len(examples) + made
                examples += [
                    self._example(each, cell, self._rule.otherwise, (offset, at + index))
                    for index, each in enumerate(given_up)
                ]
        tally.given += len(examples)
        clock.cursor = (offset, made + len(examples))
        return Step(None, examples, tuple(changed))

    def _clear_key(
        self, cell: str, key: KeyState, tally: Tally, clock: Clock
    ) -> tuple[Sequence[Waiting], Sequence[str]]:
        """Forget what is over; return the predictions that are given up, and the cells changed beside the key's own."""
        passed, floor_ms = clock.passed, self._rule.floor_ms(clock.passed)
        key.due = [step for step in key.due if step >= passed]
        key.forget_examples(floor_ms)
        if key.label is not None and key.label.keep_ms < floor_ms:
            tally.unknown += not key.label.is_met
            key.label, key.sources = None, {}
        if key.given_up is not None and key.given_up < passed:
            key.given_up = None
        over = [each for each in key.waiting if each.at_ms < floor_ms] if key.waiting else ()
        if not over:
            return (), ()
        key.waiting = [each for each in key.waiting if each.at_ms >= floor_ms]
        tally.timed_out += len(over)
        tally.pending -= len(over)
        key.given_up = passed + STEPS_A_HORIZON
        return over, self._register(cell, key, key.given_up, clock)

    def _register(self, cell: str, key: KeyState, step: int, clock: Clock) -> Sequence[str]:
        """Note that the key has to be looked at when the horizon has passed the step; return the cells changed."""
        if step in key.due:
            return ()
        number = str(step)
        count = clock.due.get(number, 0)
        chunk, place = divmod(count, self._keys_a_chunk)
        name = f"@expiry/{number}/{chunk}"
        if not place:
            # The clock says that there is no such cell.
            self._begin((name,))
        self._state(name, DueKeys).keys.append(cell)
        key.due.append(step)
        clock.due[number] = count + 1
        return (name, CLOCK)

    def _example(
        self, asked: Waiting, cell: str, label: Value, position: tuple[int, int], label_at_ms: int | None = None
    ) -> Example:
        return Example(
            model=self._rule.model,
            label_key=cell.removeprefix(KEY_PREFIX),
            at_ms=asked.at_ms,
            vector=asked.vector,
            label=label,
            scores=asked.scores,
            champion=asked.champion,
            outcomes=self._outcomes,
            next=position[0] + 1,
            index=position[1],
            release=asked.release,
            label_at_ms=label_at_ms,
            entities=asked.entities,
            versions=asked.versions,
        )

    def _state(self, cell: str, kind: type[Kind]) -> Kind:
        slot = self._slots.get(cell) or self._load((cell,))[cell]
        state = slot.state
        if type(state) is kind:
            return state
        if state is not None:
            raise TypeError(f"cannot join: {cell}: expected {kind.__name__}, got {type(state).__name__}")
        slot.state = fresh = kind()
        return fresh
