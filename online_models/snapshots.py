"""The envelope of a learner's state: where it was cut, what wrote it, and the bytes of the estimator."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec

from online_models.errors import ArtefactRefused
from online_models.learners import Cut

FORMAT = 2


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What a snapshot's bytes hold. ``state`` is opened only by `online_models.restricted`."""

    format: int = FORMAT
    learner: str
    definition: str
    """Digest of what the learner is when fresh, with its options: another definition's state is not loaded."""
    generation: int
    examples_next: int
    positions: dict[str, tuple[int, int]]
    learned: int
    labels: tuple[int, int] = (0, 0)
    """How many of what was learned had the label False and True; both 0 where labels are numbers."""
    through_ms: int | None = None
    """LogAppendTime of the newest example that is contained: what publication lag is counted from."""
    libraries: dict[str, str]
    """Of River and of headrace: the first has to be the same where the state is loaded, the second is for people."""
    canonical: str = ""
    """Canonical digest of the state; empty where it would have cost too much (`LARGE`): ask the learner restored."""
    state: bytes

    @property
    def cut(self) -> Cut:
        """Where the snapshot stands in the logs."""
        return Cut(self.generation, self.examples_next, self.positions, self.through_ms)

    def moved(self, cut: Cut) -> Snapshot:
        """Return the same state, standing elsewhere in the logs: a rollback."""
        return msgspec.structs.replace(
            self, generation=cut.generation, examples_next=cut.examples_next, positions=dict(cut.positions)
        )


LARGE = 64 * 1024
"""State of more bytes is not digested for every snapshot: it would take longer than to save it."""

_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Snapshot)


def seal(snapshot: Snapshot) -> bytes:
    """Return the bytes of a snapshot; equal ones give equal bytes."""
    positions = dict(sorted(snapshot.positions.items()))
    libraries = dict(sorted(snapshot.libraries.items()))
    return _ENCODER.encode(msgspec.structs.replace(snapshot, positions=positions, libraries=libraries))


def unseal(data: bytes, digest: str) -> Snapshot:
    """Return the snapshot, after its bytes were found to be those that ``digest`` names.

    Raises:
        ArtefactRefused: other bytes, not a snapshot, or one of a format that this version does not read.
    """
    found = digest_of(data)
    if found != digest:
        raise ArtefactRefused(f"cannot load snapshot: {digest[:12]}: expected its own digest, got {found[:12]}")
    try:
        snapshot = _DECODER.decode(data)
    except msgspec.DecodeError as error:
        raise ArtefactRefused(f"cannot load snapshot: {digest[:12]}: expected a snapshot, got {error}") from error
    if snapshot.format != FORMAT:
        raise ArtefactRefused(
            f"cannot load snapshot: {digest[:12]}: expected format {FORMAT}, got {snapshot.format}; upgrade headrace"
        )
    return snapshot


def digest_of(data: bytes) -> str:
    """Return the SHA-256 of the bytes, 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


_NEWEST = 16


def retained(numbers: Sequence[int]) -> set[int]:
    """Return which of the snapshots so numbered, in order, are kept: the newest 16, fewer and fewer before them.

    Of each stretch twice as old as the one behind it eight are kept, so that any age is met within an eighth. What is
    kept does not depend on when that was asked: what is dropped once would be dropped later, too.

    Example:
        >>> sorted(retained(range(1, 41)))[:14]
        [4, 8, 10, 12, 14, 16, 18, 20, 22, 24, 25, 26, 27, 28]
    """
    newest = numbers[-1]
    return {number for number in numbers if number % (1 << _octave(newest - number)) == 0}


def _octave(age: int) -> int:
    return max(0, (age // _NEWEST).bit_length())
