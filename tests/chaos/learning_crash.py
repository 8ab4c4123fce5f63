"""``python -m tests.chaos.learning_crash MUTANT POINT HIT``: a learning process that kills itself at a named point.

The role's process as it is in production, but for its store and its artefacts, which SIGKILL their process at the
HIT-th time that they come to the point. A mutant is a process that breaks one rule that safety rests on: the scenario
has to notice it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import headrace.session
from agents import learn_personal
from agents.join_labels import LabelJoiner
from agents.learn_examples import ExampleLearner
from agents.personal_cells import Learned
from headrace import role
from online_models.learners import Cut
from online_models.learners.river import RiverLearner
from streams.artefacts import ArtefactStore
from streams.store import Link, OnlineStore, Pointer
from tests.chaos.crash import Trap

STEPS = ("router", "join", "learner", "personal")
POINTS = (
    *(f"{moment}-{step}" for step in STEPS for moment in ("before", "after")),
    "after-artefact",
    "after-pointer",
)
"""Before and after a step's write to the store; after a snapshot's bytes are kept, and after the pointer moved.

What a step sends to the log is acknowledged before it writes: a kill before the write sends all of it again.
"""


class TrappedStore:
    """The store, with a trap before and after what each step writes."""

    def __init__(self, store: OnlineStore, trap: Trap) -> None:
        self._store = store
        self._trap = trap
        self.has_examples = False
        """Whether the join that writes has just sent some."""

    def __getattr__(self, name: str) -> Any:
        """Be the store in all else."""
        return getattr(self._store, name)

    def write(self, links: Sequence[Link]) -> None:
        """Write, if that is survived."""
        steps = {link.key.fold.partition(".")[0] for link in links}
        if not self.has_examples:
            steps -= {"join"}  # nothing that a kill could send twice, or lose
        for step in steps:
            self._trap.reach(f"before-{step}", last=False)
        self._store.write(links)
        for step in steps:
            self._trap.reach(f"after-{step}", last=False)

    def advance_pointer(self, name: str, pointer: Pointer) -> bool:
        """Advance, and survive it perhaps."""
        moved: bool = self._store.advance_pointer(name, pointer)
        self._trap.reach("after-pointer", last=False)
        return moved


def watch_examples(store: TrappedStore) -> None:
    """Tell the store whether what a join is about to write has sent examples."""
    write = LabelJoiner._write

    async def watched(self: LabelJoiner, after: int) -> None:
        store.has_examples = bool(self._sent)
        await write(self, after)
        store.has_examples = False

    LabelJoiner._write = watched  # type: ignore[method-assign]


def trap_artefacts(trap: Trap) -> None:
    """Set the trap between a snapshot's bytes and the pointer to them."""
    put = ArtefactStore.put

    def trapped(self: ArtefactStore, data: bytes) -> str:
        digest = put(self, data)
        trap.reach("after-artefact", last=False)
        return digest

    ArtefactStore.put = trapped  # type: ignore[method-assign]


class _NothingKnown(dict[str, tuple[int, int]]):
    """Positions that were never there."""

    def get(self, key: str, default: Any = None) -> Any:
        del key
        return default


def learn_copies() -> None:
    """Learn an example whether or not its position was passed."""
    opened = ExampleLearner.__init__

    def mutant(self: ExampleLearner, *given: Any) -> None:
        opened(self, *given)
        self._positions = _NothingKnown(self._positions)

    ExampleLearner.__init__ = mutant  # type: ignore[method-assign, assignment]


def learn_copies_personally() -> None:
    """Let a personal learner learn an example whether or not its position was passed."""
    learn_personal._learned = lambda slot: Learned()  # noqa: ARG005  # type: ignore[assignment]


def commit_unacknowledged() -> None:
    """Let the join's row advance before its examples are sent."""
    opened, write = LabelJoiner.__init__, LabelJoiner._write

    def mutant(self: LabelJoiner, *given: Any) -> None:
        opened(self, *given)
        produce = self._produce

        async def when_awaited(*sent: Any, **options: Any) -> int:
            return await produce(*sent, **options)

        self._produce = when_awaited

    async def written_first(self: LabelJoiner, after: int) -> None:
        self._cut(after)
        self._rows.write()
        await write(self, after)

    LabelJoiner.__init__ = mutant  # type: ignore[method-assign, assignment]
    LabelJoiner._write = written_first  # type: ignore[method-assign]


def forget_positions() -> None:
    """Keep snapshots without the positions of what they contain."""
    snapshot = RiverLearner.snapshot

    def mutant(self: RiverLearner, cut: Cut) -> bytes:
        return snapshot(self, Cut(cut.generation, cut.examples_next))

    RiverLearner.snapshot = mutant  # type: ignore[method-assign]


def point_too_far() -> None:
    """Say of a snapshot that it contains an example more than it does."""
    snapshot = RiverLearner.snapshot

    def mutant(self: RiverLearner, cut: Cut) -> bytes:
        return snapshot(self, Cut(cut.generation, cut.examples_next + 1, cut.positions))

    RiverLearner.snapshot = mutant  # type: ignore[method-assign]


MUTANTS: Mapping[str, tuple[Callable[[], None], Sequence[str]]] = {
    "learner-learns-copies": (learn_copies, ("before-join",)),
    "personal-learns-copies": (learn_copies_personally, ("before-join",)),
    "join-commits-before-acknowledgement": (commit_unacknowledged, ("after-join",)),
    "snapshot-without-positions": (forget_positions, ("before-join", "after-pointer")),
    "snapshot-says-one-more": (point_too_far, ("after-pointer", "after-join")),
}
"""What breaks a rule, and the points at which kills, one after the other, show it."""


def main() -> None:
    """Be a learning process until the trap springs."""
    mutant, point, hit = sys.argv[1:4]
    trap = Trap(point, hit)
    plain = headrace.session.open_store
    if mutant != "none":
        MUTANTS[mutant][0]()

    def trapped(*given: Any) -> OnlineStore:
        store = TrappedStore(plain(*given), trap)
        watch_examples(store)
        return store

    headrace.session.open_store = trapped  # type: ignore[assignment]  # it is the store in all else
    trap_artefacts(trap)
    sys.argv[1:] = ["learning"]
    role.main()


if __name__ == "__main__":
    main()
