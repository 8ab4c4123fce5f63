"""A learner that is what it was before, where an example could not be learned to the end."""

from __future__ import annotations

from definitions.declared import LearnerDefinition
from definitions.encoder import Encoder, Vector
from definitions.errors import HeadraceError
from definitions.values import Value
from online_models.learners import Cut
from online_models.learners.river import RiverLearner


class Taught:
    """A learner, the bytes of a state that it had, and what it learned since: enough to make any state again."""

    def __init__(self, definition: LearnerDefinition, encoder: Encoder, saved: tuple[bytes, str] | None = None) -> None:
        """Begin with a fresh learner, or with that of a snapshot: its bytes and its digest.

        Raises:
            ArtefactRefused: the snapshot is not one of this learner.
            LearnerUnusable: the factory builds no estimator that can be one.
        """
        self._definition = definition
        self._encoder = encoder
        self._saved = saved
        self._since: list[tuple[Vector, Value]] = []
        self.learner, self.cut = self._from_saved()

    @property
    def since(self) -> int:
        """How many examples are in memory, for they came after the bytes."""
        return len(self._since)

    def test_then_train(self, vector: Vector, label: Value) -> float:
        """Learn an example; return the score that was given before.

        Raises:
            Exception: whatever the estimator raised; what was learned is what it was before, but for examples that
                were to be learned together with this one: those are left out.
        """
        try:
            score = self.learner.test_then_train(vector, label)
        except HeadraceError:
            # Refused before the estimator saw it, or for a score: neither changes anything.
            raise
        except Exception:
            self._undo()
            raise
        self._since.append((vector, label))
        return score

    def snapshot(self, cut: Cut) -> bytes:
        """Return the state as bytes; what was learned before is no longer kept in memory."""
        data = self.learner.snapshot(cut)
        self._saved = (data, self.learner.digest)
        self._since.clear()
        return data

    def _undo(self) -> None:
        """Make the state again that was there before.

        What had to be learned again is kept as bytes: the next failure does not begin before it, so that no example is
        learned again more than once, however many fail.
        """
        self.learner, cut = self._from_saved()
        for vector, label in self._since:
            self.learner.learn_one(vector, label)
        # Examples that cannot be learned together would be tried again with the next one, for ever.
        if self.learner.leave_out_waiting() or self._since:
            self.snapshot(cut)

    def _from_saved(self) -> tuple[RiverLearner, Cut]:
        if self._saved is None:
            return RiverLearner(self._definition, self._encoder), Cut(0, 0)
        data, digest = self._saved
        learner, cut = RiverLearner.restore(self._definition, self._encoder, data=data, digest=digest)
        learner.require_able()
        return learner, cut
