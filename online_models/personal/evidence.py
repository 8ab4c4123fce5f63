"""What one entity's examples have said about its coefficients, in float32: a cell of a personal model."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Float32s = NDArray[np.float32]
Float64s = NDArray[np.float64]

_HEADER = struct.Struct("<IHHff")
_STORED = np.dtype("<f4")


@dataclass(slots=True, eq=False)
class Evidence:
    """A quadratic summary of the likelihood: ``strength`` is its curvature, ``pull`` its curvature times its top.

    Float32 inside the update too, so that what is stored is what was computed and a restored cell goes on to the bit.
    With a full covariance ``strength`` is the upper triangle, row by row.
    """

    strength: Float32s
    pull: Float32s
    n: int = 0
    """How many examples were learned."""
    base: int = 0
    """The number of the offset's trained version that the evidence is relative to."""
    fading: tuple[float, float] = field(default=(0.0, 0.0))
    """How the intercept's strength and pull would differ for a unit of forgetting: what forgetting is judged by."""

    @classmethod
    def empty(cls, width: int, *, full: bool, base: int) -> Evidence:
        """Return what is known of an entity that was never seen."""
        size = width * (width + 1) // 2 if full else width
        return cls(np.zeros(size, np.float32), np.zeros(width, np.float32), base=base)

    def to_bytes(self) -> bytes:
        """Return the state: 16 bytes and 8 a coefficient (full: 4 and 2 for each other coefficient)."""
        header = _HEADER.pack(self.n, self.base, len(self.pull), *self.fading)
        return header + self.strength.tobytes() + self.pull.tobytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> Evidence:
        """Return the evidence that the bytes were made of.

        Raises:
            ValueError: they are of no evidence.
        """
        try:
            n, base, width, *fading = _HEADER.unpack_from(data)
            numbers = np.frombuffer(data, _STORED, offset=_HEADER.size)
        except (struct.error, ValueError) as error:
            raise ValueError(f"cannot read evidence: expected {_HEADER.size} bytes and floats: {error}") from error
        size = len(numbers) - width
        if not width or size not in (width, width * (width + 1) // 2):
            raise ValueError(f"cannot read evidence: expected {width} coefficients, got {len(numbers)} numbers")
        return cls(numbers[:size], numbers[size:], n, base, (fading[0], fading[1]))


def rounded(number: float) -> float:
    """Return a number as it is stored."""
    return float(np.float32(number))
