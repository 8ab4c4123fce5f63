"""What becomes of predictions and labels, told plainly: nothing is cut into cells, and nothing is ever forgotten.

Written from the promise alone, without a line of `streams.joins`: every prediction and label is kept for good, and what
had passed when is looked up in the history of the horizon when a key is touched again, or at the end.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

STEPS = 96

Found = tuple[str, int, int, Any, bool]
"""An example: label key, time of the prediction, the offset behind the record that made it, label, is it a revision."""


@dataclass(slots=True)
class _Asked:
    request: str
    at_ms: int
    fate: str = "pending"
    label: Any = None


@dataclass(slots=True)
class _Key:
    asked: list[_Asked] = field(default_factory=list)
    heard: set[tuple[str, int]] = field(default_factory=set)
    force: tuple[int, Any] | None = None
    """Time and value of the label in force."""
    keep_ms: int = 0
    met: bool = False
    given_up_until: int = -1


class PlainJoin:
    """Follows one outcomes partition. ``counts`` and ``found`` are whole after `end`."""

    def __init__(
        self, *, within_ms: int, disorder_ms: int, otherwise: Any = None, replaces: bool = False, first: bool = False
    ) -> None:
        self._within_ms, self._disorder_ms = within_ms, disorder_ms
        self._otherwise, self._replaces, self._first = otherwise, replaces, first
        self._step_ms = max(1, within_ms // STEPS)
        self._passed: list[int] = [0]
        self._passed_at: list[int] = [-1]
        self._told: dict[str, tuple[int, bool]] = {}
        self._keys: dict[str, _Key] = {}
        self.counts: Counter[str] = Counter()
        self.found: list[Found] = []

    def progress(self, offset: int, source: str, partitions: int, newest_ms: int, *, idle: bool) -> None:
        """A label partition tells how far it has come."""
        self._told[source] = max(newest_ms, self._told.get(source, (newest_ms, idle))[0]), idle
        holding = [told_ms for told_ms, is_idle in self._told.values() if not is_idle]
        if len(self._told) < partitions or not holding:
            return
        passed = (min(holding) - self._disorder_ms) // self._step_ms
        if passed > self._passed[-1]:
            self._passed.append(passed)
            self._passed_at.append(offset)

    def prediction(self, offset: int, request: str, name: str | None, at_ms: int) -> None:
        """A prediction was logged."""
        if name is None:
            return
        if self._due(at_ms) < self._passed[-1]:
            self.counts["prediction_too_late"] += 1
            return
        key = self._settled(name)
        if any(each.request == request for each in self._remembered(key)):
            self.counts["duplicate"] += 1
            return
        is_reused = bool(self._remembered(key)) or key.given_up_until >= self._passed[-1]
        self.counts["reused"] += is_reused
        if is_reused and self._first:
            return
        self.counts["predictions"] += 1
        asked = _Asked(request, at_ms)
        key.asked.append(asked)
        if key.force is None:
            return
        key.met = True
        self._offer(offset, name, key, asked)
        self.counts["early"] += asked.fate == "matched"

    def label(self, offset: int, source: str, place: int, name: str, at_ms: int, value: Any) -> None:
        """A label came."""
        if self._due(at_ms) < self._passed[-1]:
            self.counts["label_too_late"] += 1
            return
        key = self._settled(name)
        is_copy = (source, place) in key.heard
        key.heard.add((source, place))
        if is_copy or key.force == (at_ms, value):
            self.counts["duplicate"] += 1
            self.counts["label_duplicate"] += 1
            return
        known = self._remembered(key)
        was_given_up = key.given_up_until >= self._passed[-1]
        self.counts["labels"] += 1
        self.counts["label_late"] += not known and was_given_up
        if key.force is None:
            key.met, key.keep_ms = False, at_ms
        else:
            self.counts["revised"] += 1
        key.met = key.met or bool(known) or was_given_up
        key.keep_ms, key.force = max(key.keep_ms, at_ms), (at_ms, value)
        before = [each for each in known if each.fate == "matched" and each.label != value]
        for each in known:
            if each.fate == "pending":
                self._offer(offset, name, key, each)
        for each in before:
            if self._replaces and at_ms <= each.at_ms + self._within_ms:
                each.label = value
                self.counts["replaced"] += 1
                self.found.append((name, each.at_ms, offset + 1, value, True))

    def end(self) -> None:
        """Let everything become what it has become by now."""
        for name in self._keys:
            self._settled(name)
        self.counts["pending"] = sum(each.fate == "pending" for key in self._keys.values() for each in key.asked)

    def _offer(self, offset: int, name: str, key: _Key, asked: _Asked) -> None:
        assert key.force is not None
        at_ms, value = key.force
        if at_ms > asked.at_ms + self._within_ms:
            self.counts["label_late"] += 1
            return
        asked.fate, asked.label = "matched", value
        self.counts["matched"] += 1
        self.found.append((name, asked.at_ms, offset + 1, value, False))

    def _settled(self, name: str) -> _Key:
        """Return the key as it is now: what has passed since it was touched last is looked up."""
        key = self._keys.get(name)
        if key is None:
            key = self._keys[name] = _Key()
        passed = self._passed[-1]
        for each in key.asked:
            if each.fate == "pending" and self._due(each.at_ms) < passed:
                when = bisect_right(self._passed, self._due(each.at_ms))
                each.fate = "timed out"
                key.given_up_until = max(key.given_up_until, self._passed[when] + STEPS)
                self.counts["timed_out"] += 1
                if self._otherwise is not None:
                    self.counts["given"] += 1
                    self.found.append((name, each.at_ms, self._passed_at[when] + 1, self._otherwise, False))
        if key.force is not None and self._due(key.keep_ms) < passed:
            self.counts["unknown"] += not key.met
            key.force = None
        return key

    def _remembered(self, key: _Key) -> list[_Asked]:
        """Return the predictions of a settled key that wait, or that became examples and whose horizon is to come."""
        passed = self._passed[-1]
        return [each for each in key.asked if each.fate != "timed out" and self._due(each.at_ms) >= passed]

    def _due(self, at_ms: int) -> int:
        return (at_ms + self._within_ms) // self._step_ms
