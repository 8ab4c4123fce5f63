"""How well an online learner did on examples before it learned them: the fold that holds it, and its reading."""

from __future__ import annotations

import msgspec

from online_models.progress import BinnedProgress
from streams.store import OnlineStore, Question

PROGRESS = "@progress"
"""The cell of the learner's fold that holds how well it did on examples before it learned them."""


def fold(model_key: str, learner: str) -> str:
    """Return the name of the learner's fold: its row counts examples, its cell how well they were foretold."""
    return f"learner.{model_key}.{learner}"


class ProgressCodec:
    """Implements `streams.chain.StateCodec` for the progress cell."""

    def empty(self) -> BinnedProgress:
        """Return the progress of a learner that was never tested."""
        return BinnedProgress()

    def encode(self, state: BinnedProgress) -> bytes | None:
        """Return the state's bytes."""
        return msgspec.msgpack.encode(state)

    def decode(self, data: bytes) -> BinnedProgress:
        """Return the state that the bytes were made from."""
        return msgspec.msgpack.decode(data, type=BinnedProgress)


def read_progress(store: OnlineStore, model_key: str, learner: str) -> BinnedProgress:
    """Return how well a learner did, test then train, over everything it was tested on. For scoreboards.

    Raises:
        StoreUnavailable: the store did not answer.
    """
    [cells] = store.read(Question(cells=[(fold(model_key, learner), PROGRESS)])).cells
    progress = BinnedProgress()
    for cell in cells.values():
        progress = progress.merged(ProgressCodec().decode(cell.state))
    return progress
