"""What people command an online learner: pause, resume, begin anew, go back. Running roles obey within a second.

Pausing is a pointer of its own. Beginning anew and going back put a snapshot of a greater generation in force: scorers
serve it from their next micro-batch on, and the learner goes on from it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import msgspec

from agents.context import RoleContext
from agents.keep_snapshots import LEARNING, PAUSED, Kept, read_history
from agents.read_topic import read_topic
from definitions.declared import LearnerDefinition, ModelDefinition
from definitions.encoder import Encoder
from definitions.errors import HeadraceError
from online_models import snapshots
from online_models.errors import ArtefactRefused
from online_models.learners import Cut
from online_models.learners.river import RiverLearner
from streams import topics
from streams.errors import ArtefactError
from streams.messages import Example
from streams.pointers import command_pointer, learner_pointer
from streams.store import Pointer, Question


class SteeringRefused(HeadraceError):  # noqa: N818  # a state of the world, as in the rooms below
    """A command that cannot be obeyed as things stand."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a learner stands."""

    pointer: Pointer | None
    """Its newest snapshot."""
    is_paused: bool
    end: int
    """Where its examples end."""


class Steering:
    """Commands one online learner of one model, whether a role runs or not."""

    def __init__(self, context: RoleContext, model: ModelDefinition, learner: LearnerDefinition) -> None:
        self._context = context
        self._model = model
        self._learner = learner
        self._pointer = learner_pointer(model.key, learner.name)
        self._command = command_pointer(model.key, learner.name)

    def history(self) -> list[Kept]:
        """Return the snapshots that can be gone back to, the oldest first."""
        return read_history(self._context.store, self._model.key, self._learner.name)

    async def standing(self) -> Standing:
        """Return where the learner stands.

        Raises:
            StoreUnavailable, LogUnavailable: there is no answer.
        """
        pointer, command = self._read()
        return Standing(pointer, command is not None and command.digest == PAUSED, (await self._bounds())[1])

    def pause(self, *, is_paused: bool) -> bool:
        """Let the learner stand still, or go on; return whether that is news. Nothing is lost: it goes on where it was.

        Raises:
            SteeringRefused: somebody else commanded it at the same time.
        """
        _, held = self._read()
        word = PAUSED if is_paused else LEARNING
        if word == (LEARNING if held is None else held.digest):
            return False
        generation = 1 if held is None else held.generation + 1
        self._advance(self._command, Pointer(generation, 0, word))
        return True

    async def reset(self, *, relearn: bool) -> Pointer:
        """Put a fresh learner in force, which learns what comes from now on, or all examples that there are.

        Raises:
            SteeringRefused: another snapshot was put in force at the same time.
            LearnerUnusable: the factory builds no estimator that can be the learner.
        """
        fresh = RiverLearner(self._learner, Encoder(self._model.inputs))
        held, _ = self._read()
        generation = 1 if held is None else held.generation + 1
        cut = Cut(generation, (await self._bounds())[0]) if relearn else await self._cut_at_end(generation)
        return self._put(fresh.snapshot(cut), cut)

    async def roll_back(self, digest: str | None, *, relearn: bool) -> tuple[Kept, Pointer]:
        """Put a state that the learner had before in force again; return which it was, and the pointer to it.

        Args:
            digest: the beginning of a snapshot's digest; None for the one before the newest.
            relearn: learn what came after it again; else all examples up to now are left out.

        Raises:
            SteeringRefused: there is no such snapshot, or another was put in force at the same time.
            ArtefactError, ArtefactRefused: it cannot be loaded.
        """
        held, _ = self._read()
        kept = self._find(digest, held)
        data = self._context.artefacts.get(kept.digest)
        RiverLearner.restore(self._learner, Encoder(self._model.inputs), data=data, digest=kept.digest)
        snapshot = snapshots.unseal(data, kept.digest)
        generation = max(kept.generation, 0 if held is None else held.generation) + 1
        if relearn:
            cut = Cut(generation, snapshot.examples_next, snapshot.positions)
        else:
            cut = await self._cut_at_end(generation)
        cut = replace(cut, through_ms=snapshot.through_ms)
        return kept, self._put(snapshots.seal(snapshot.moved(cut)), cut)

    def _find(self, digest: str | None, held: Pointer | None) -> Kept:
        found = [each for each in self.history() if digest is None or each.digest.startswith(digest)]
        if digest is None:
            found = [each for each in found if held is None or each.digest != held.digest][-1:]
        if len({each.digest for each in found}) != 1:
            where = f"{self._model.key}.{self._learner.name}"
            expected = (
                "a snapshot before the newest" if digest is None else f"one snapshot whose digest begins {digest}"
            )
            raise SteeringRefused(
                f"cannot roll back: {where}: expected {expected}, got {len(found)}; "
                "see `headrace models snapshots` for those that are kept"
            )
        return found[-1]

    async def _bounds(self) -> tuple[int, int]:
        partitions = await self._context.log.partitions(topics.examples(self._context.namespace, self._model))
        return (await self._context.log.bounds(partitions[:1]))[0] if partitions else (0, 0)

    async def _cut_at_end(self, generation: int) -> Cut:
        """Return the cut behind every example there is, which also says of which outcomes copies are skipped.

        What the snapshot in force contains is taken from it where it can be read: only what came since is read here.
        """
        partitions = await self._context.log.partitions(topics.examples(self._context.namespace, self._model))
        first, end = await self._bounds()
        begin, positions = self._in_force(first, end)
        decoder = msgspec.json.Decoder(Example)
        found = await read_topic(self._context.log, partitions[:1], firsts=dict.fromkeys(partitions[:1], begin))
        for _, record in found:
            end = max(end, record.offset() + 1)
            try:
                example = decoder.decode(record.value() or b"")
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue  # the learner skips it too
            at = (example.next, example.index)
            positions[example.outcomes] = max(at, positions.get(example.outcomes, at))
        return Cut(generation, end, positions)

    def _in_force(self, first: int, end: int) -> tuple[int, dict[str, tuple[int, int]]]:
        held, _ = self._read()
        if held is None:
            return first, {}
        try:
            snapshot = snapshots.unseal(self._context.artefacts.get(held.digest), held.digest)
        except (ArtefactError, ArtefactRefused):
            return first, {}
        if not first <= snapshot.examples_next <= end:
            return first, {}
        return snapshot.examples_next, dict(snapshot.positions)

    def _put(self, data: bytes, cut: Cut) -> Pointer:
        pointer = Pointer(cut.generation, cut.examples_next, self._context.artefacts.put(data))
        self._advance(self._pointer, pointer)
        return pointer

    def _advance(self, name: str, pointer: Pointer) -> None:
        if not self._context.store.advance_pointer(name, pointer):
            raise SteeringRefused(f"cannot change {name}: somebody else has just done so; look, and try again")

    def _read(self) -> tuple[Pointer | None, Pointer | None]:
        pointer, command = self._context.store.read(Question(pointers=(self._pointer, self._command))).pointers
        return pointer, command
