"""Keeps one learner's snapshots: puts them in force by a pointer, remembers those before, hears what is commanded.

Of the snapshots before, more are kept of late than of long ago (`online_models.snapshots.retained`): 150 of a million.
What is dropped from the history is removed from the artefact store, if the learner itself put it there.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import msgspec

from agents.advance_rows import FoldWriter
from agents.context import RoleContext
from agents.transport import Assigned
from online_models.learners import Cut
from online_models.snapshots import retained
from streams.pointers import command_pointer, learner_pointer
from streams.store import OnlineStore, Pointer, Question

HISTORY = "@history"
PAUSED, LEARNING = "paused", "learning"
LEAST_PAUSE_MS = 10
"""Snapshots follow each other no faster than that: each of them is loaded by every scoring process."""
_SPARE = 4
"""At most one part in so many and one of a learner's time goes into publishing."""


def history_fold(model_key: str, learner: str) -> str:
    """Return the name of the fold whose one cell is the learner's history."""
    return f"snapshots.{model_key}.{learner}"


class Kept(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """A snapshot that can be gone back to."""

    number: int
    """Counted from 1, in the order in which they were in force."""
    digest: str
    generation: int
    position: int
    learned: int
    through_ms: int | None
    """LogAppendTime of the newest example that it contains."""
    is_own: bool
    """Whether the learner put it into the artefact store; else it may be part of a release."""


class HistoryCodec:
    """Implements `streams.chain.StateCodec` for the history cell."""

    def empty(self) -> list[Kept]:
        """Return the history of a learner that never published."""
        return []

    def encode(self, state: list[Kept]) -> bytes | None:
        """Return the history's bytes."""
        return msgspec.msgpack.encode(state)

    def decode(self, data: bytes) -> list[Kept]:
        """Return the history that the bytes were made from."""
        return msgspec.msgpack.decode(data, type=list[Kept])


@dataclass(frozen=True, slots=True)
class Told:
    """What the store says of a learner."""

    pointer: Pointer | None
    is_paused: bool


class SnapshotKeeper:
    """The snapshots of one learner on one examples partition. Opened with it and thrown away with it."""

    def __init__(self, context: RoleContext, model_key: str, learner: str, given: Assigned) -> None:
        self._context = context
        self._names = (learner_pointer(model_key, learner), command_pointer(model_key, learner))
        self._history: FoldWriter[list[Kept]] = FoldWriter(
            context, history_fold(model_key, learner), given, HistoryCodec()
        )
        self._rests_ms = (0, 0)
        """From when until when nothing is published."""

    @property
    def is_due(self) -> bool:
        """Whether the next snapshot may follow the last one already."""
        return not self.rest_ms

    @property
    def rest_ms(self) -> int:
        """How long nothing is to be published yet; 0 where the next snapshot is due."""
        since_ms, until_ms = self._rests_ms
        now_ms = self._context.log.now_ms()
        return max(0, until_ms - now_ms) if since_ms <= now_ms else 0

    def told(self) -> Told:
        """Return what the store says now, in one round trip."""
        pointer, command = self._context.store.read(Question(pointers=self._names)).pointers
        return Told(pointer, command is not None and command.digest == PAUSED)

    def publish(self, data: bytes, cut: Cut, learned: int, *, began_s: float) -> tuple[Pointer, bool]:
        """Keep a snapshot and put it in force, if that is forward; return its pointer, and whether it was.

        Args:
            data: the snapshot.
            cut: where it stands.
            learned: how many examples it has learned.
            began_s: when the work on it began, by `time.perf_counter`: publishing takes its share of time only.

        Cost: a file, an fsync and two round trips: 3 to 10 ms.
        """
        pointer = Pointer(cut.generation, cut.examples_next, self._context.artefacts.put(data))
        dropped = self.remember(pointer, cut, learned, is_own=True)
        is_forward = self._context.store.advance_pointer(self._names[0], pointer)
        for digest in dropped:
            self._context.artefacts.remove(digest)
        now_ms, took_ms = self._context.log.now_ms(), (time.perf_counter() - began_s) * 1_000
        self._rests_ms = (now_ms, now_ms + max(LEAST_PAUSE_MS, round(_SPARE * took_ms)))
        return pointer, is_forward

    def remember(self, pointer: Pointer, cut: Cut, learned: int, *, is_own: bool) -> list[str]:
        """Write a snapshot into the history; return the digests of those that nobody can go back to any more."""
        history = self._history.chain.load((HISTORY,))[HISTORY].state
        if any(each.digest == pointer.digest for each in history):
            return []
        history.append(
            Kept(
                number=history[-1].number + 1 if history else 1,
                digest=pointer.digest,
                generation=pointer.generation,
                position=pointer.position,
                learned=learned,
                through_ms=cut.through_ms,
                is_own=is_own,
            )
        )
        kept = retained([each.number for each in history])
        dropped = [each for each in history if each.number not in kept]
        history[:] = [each for each in history if each.number in kept]
        self._history.commit(max(pointer.position, self._history.row.next), (HISTORY,))
        return [each.digest for each in dropped if each.is_own]


def read_history(store: OnlineStore, model_key: str, learner: str) -> list[Kept]:
    """Return the snapshots that a learner can go back to, the oldest first.

    Raises:
        StoreUnavailable: the store did not answer.
    """
    [cells] = store.read(Question(cells=[(history_fold(model_key, learner), HISTORY)])).cells
    found = [kept for cell in cells.values() for kept in HistoryCodec().decode(cell.state)]
    return sorted(found, key=lambda each: (each.generation, each.number))
