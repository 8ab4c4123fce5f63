"""The join itself: one outcome after the other, in the order of the log."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from definitions.values import Value
from streams.chain import Slot
from streams.joins import (
    CLOCK,
    TALLY,
    Clock,
    DueKeys,
    JoinRule,
    JoinState,
    KeyState,
    KnownLabel,
    Tally,
    Waiting,
    cell_of,
    step_ms,
)
from streams.messages import Example, LabelSeen, Outcome, Prediction, Progress

KEYS_A_CHUNK = 32
Kind = TypeVar("Kind", KeyState, DueKeys, Clock, Tally)


@dataclass(frozen=True, slots=True)
class Step:
    """A part of one record's effect that is committed whole: examples first, then ``changed`` and the row."""

    fate: str | None
    """The row's tally that the record adds to; None where the record is not finished."""
    examples: Sequence[Example] = ()
    changed: tuple[str, ...] = ()


class Join:
    """Applies outcomes in log order to the cells of one partition.

    Called record by record; the steps of a record are taken one after the other, and may be committed after each.
    ``load`` is `streams.chain.Chain.load`; nothing is kept here between records.
    """

    def __init__(
        self,
        rule: JoinRule,
        outcomes: str,
        load: Callable[[Iterable[str]], Mapping[str, Slot[JoinState]]],
        *,
        keys_a_chunk: int = KEYS_A_CHUNK,
    ) -> None:
        self._rule = rule
        self._outcomes = outcomes
        self._load = load
        self._keys_a_chunk = keys_a_chunk
        self._step_ms = step_ms(rule.within_ms)

    def apply(self, offset: int, outcome: Outcome) -> Iterator[Step]:
        """Yield the record's steps; the last one has its fate.

        Cost: at most three cells a step, but ``KEYS_A_CHUNK + 3`` where the horizon passes.
        """
        if isinstance(outcome, Progress):
            yield from self._progress(offset, outcome)
        elif outcome.label_key is None:
            yield Step("no_entity")
        elif self._expires(outcome.at_ms) < self._state(CLOCK, Clock).passed:
            yield Step("too_late")
        elif isinstance(outcome, Prediction):
            yield self._prediction(offset, outcome, cell_of(outcome.label_key))
        else:
            yield self._label(offset, outcome, cell_of(outcome.label_key))

    def _prediction(self, offset: int, prediction: Prediction, cell: str) -> Step:
        key, tally = self._state(cell, KeyState), self._state(TALLY, Tally)
        if prediction.request_id in key.emitted or any(w.request_id == prediction.request_id for w in key.waiting):
            tally.duplicate += 1
            return Step("duplicate", changed=(TALLY,))
        changed = self._register(cell, key, prediction.at_ms)
        asked = Waiting(
            prediction.request_id,
            prediction.at_ms,
            prediction.vector,
            prediction.scores,
            prediction.champion,
            prediction.entities,
            {each.learner: each.digest for each in prediction.versions} if prediction.entities else {},
        )
        key.waiting = [*key.waiting, asked]
        return Step("applied", self._match(offset, cell, [asked]), (cell, TALLY, *changed))

    def _label(self, offset: int, seen: LabelSeen, cell: str) -> Step:
        key, tally = self._state(cell, KeyState), self._state(TALLY, Tally)
        source, _, at = seen.source.rpartition("@")
        if int(at) <= key.sources.get(source, -1):
            tally.duplicate += 1
            return Step("duplicate", changed=(TALLY,))
        changed = self._register(cell, key, seen.at_ms)
        tally.revised += key.label is not None
        keep_ms = seen.at_ms if key.label is None else max(seen.at_ms, key.label.keep_ms)
        key.label = KnownLabel(seen.at_ms, seen.label, keep_ms)
        key.sources = {**key.sources, source: int(at)}
        return Step("applied", self._match(offset, cell, key.waiting), (cell, TALLY, *changed))

    def _match(self, offset: int, cell: str, candidates: Sequence[Waiting]) -> list[Example]:
        key, tally = self._state(cell, KeyState), self._state(TALLY, Tally)
        if key.label is None:
            return []
        label = key.label
        matched = [w for w in candidates if label.at_ms <= w.at_ms + self._rule.within_ms]
        tally.matched += len(matched)
        tally.label_late += len(candidates) - len(matched)
        key.emitted = {**key.emitted, **{w.request_id: w.at_ms for w in matched}}
        key.waiting = [w for w in key.waiting if w.request_id not in key.emitted]
        return [self._example(w, cell, label.label, (offset, index)) for index, w in enumerate(matched)]

    def _progress(self, offset: int, progress: Progress) -> Iterator[Step]:
        clock = self._state(CLOCK, Clock)
        _note(clock, progress)
        clock.passed = max(clock.passed, self._passed(clock, progress.partitions))
        while (step := self._first_due()) is not None:
            yield self._clear_chunk(offset, step)
        yield Step("applied", changed=(CLOCK,))

    def _first_due(self) -> int | None:
        clock = self._state(CLOCK, Clock)
        return min((step for step in map(int, clock.due) if step < clock.passed), default=None)

    def _clear_chunk(self, offset: int, step: int) -> Step:
        """Clear the last chunk of keys of a step: forget what is over, give up on what still waits."""
        clock = self._state(CLOCK, Clock)
        made = clock.cursor[1] if clock.cursor[0] == offset else 0
        chunk = (clock.due[str(step)] - 1) // self._keys_a_chunk
        name = f"@expiry/{step}/{chunk}"
        due = self._state(name, DueKeys)
        cells, due.keys = due.keys, []
        clock.due[str(step)] = chunk * self._keys_a_chunk
        if not chunk:
            del clock.due[str(step)]
        self._load(cells)
        examples: list[Example] = []
        for cell in cells:
            for given_up in self._clear_key(self._state(cell, KeyState), clock.passed):
                if self._rule.otherwise is not None:
                    at = (offset, made + len(examples))
                    examples.append(self._example(given_up, cell, self._rule.otherwise, at))
        clock.cursor = (offset, made + len(examples))
        return Step(None, examples, (*cells, name, CLOCK, TALLY))

    def _clear_key(self, key: KeyState, passed: int) -> list[Waiting]:
        over = [w for w in key.waiting if self._expires(w.at_ms) < passed]
        key.waiting = [w for w in key.waiting if self._expires(w.at_ms) >= passed]
        key.emitted = {name: at for name, at in key.emitted.items() if self._expires(at) >= passed}
        if key.label is not None and self._expires(key.label.keep_ms) < passed:
            key.label = None
        if not (key.waiting or key.emitted or key.label):
            key.sources = {}
        self._state(TALLY, Tally).timed_out += len(over)
        return over

    def _register(self, cell: str, key: KeyState, at_ms: int) -> tuple[str, ...]:
        """Note that the key has to be looked at when the horizon of ``at_ms`` has passed; return the cells changed."""
        step = self._expires(at_ms)
        times = [*(w.at_ms for w in key.waiting), *key.emitted.values(), *([key.label.keep_ms] if key.label else [])]
        if any(self._expires(each) == step for each in times):
            return ()
        clock = self._state(CLOCK, Clock)
        count = clock.due.get(str(step), 0)
        name = f"@expiry/{step}/{count // self._keys_a_chunk}"
        due = self._state(name, DueKeys)
        due.keys = [*due.keys, cell]
        clock.due[str(step)] = count + 1
        return (name, CLOCK)

    def _expires(self, at_ms: int) -> int:
        return (at_ms + self._rule.within_ms) // self._step_ms

    def _passed(self, clock: Clock, partitions: int) -> int:
        if len(clock.newest_ms) < partitions:
            return 0
        holding = [newest for source, newest in clock.newest_ms.items() if source not in clock.idle]
        return (min(holding) - self._rule.disorder_ms) // self._step_ms if holding else 0

    def _example(self, asked: Waiting, cell: str, label: Value, position: tuple[int, int]) -> Example:
        return Example(
            model=self._rule.model,
            label_key=cell.removeprefix("key/"),
            at_ms=asked.at_ms,
            vector=asked.vector,
            label=label,
            scores=asked.scores,
            champion=asked.champion,
            outcomes=self._outcomes,
            next=position[0] + 1,
            index=position[1],
            entities=asked.entities,
            versions=asked.versions,
        )

    def _state(self, cell: str, kind: type[Kind]) -> Kind:
        slot = self._load((cell,))[cell]
        if slot.state is None:
            slot.state = kind()
        if not isinstance(slot.state, kind):
            raise TypeError(f"cannot join: {cell}: expected {kind.__name__}, got {type(slot.state).__name__}")
        return slot.state


def _note(clock: Clock, progress: Progress) -> None:
    """Take in what one label partition tells; partitions of a topic that was made anew replace the old ones."""
    topic = progress.source.rpartition("/")[0]
    clock.newest_ms = {name: at for name, at in clock.newest_ms.items() if name.rpartition("/")[0] == topic}
    clock.newest_ms[progress.source] = max(progress.newest_ms, clock.newest_ms.get(progress.source, progress.newest_ms))
    others = [name for name in clock.idle if name != progress.source and name in clock.newest_ms]
    clock.idle = [*others, progress.source] if progress.idle else others
