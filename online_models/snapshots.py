"""The envelope of a learner's state: where it was cut, what wrote it, and the bytes of the estimator."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import msgspec

from online_models.errors import ArtefactRefused
from online_models.learners import Cut

FORMAT = 1


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What a snapshot's bytes hold. ``state`` is opened only by `online_models.restricted`."""

    format: int = FORMAT
    learner: str
    generation: int
    examples_next: int
    positions: dict[str, tuple[int, int]]
    learned: int
    libraries: dict[str, str]
    state: bytes

    @property
    def cut(self) -> Cut:
        """Where the snapshot stands in the logs."""
        return Cut(self.generation, self.examples_next, self.positions)


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Snapshot)


def seal(*, learner: str, cut: Cut, learned: int, libraries: Mapping[str, str], state: bytes) -> bytes:
    """Return the bytes of a snapshot; equal arguments give equal bytes."""
    return _ENCODER.encode(
        Snapshot(
            learner=learner,
            generation=cut.generation,
            examples_next=cut.examples_next,
            positions=dict(sorted(cut.positions.items())),
            learned=learned,
            libraries=dict(sorted(libraries.items())),
            state=state,
        )
    )


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
