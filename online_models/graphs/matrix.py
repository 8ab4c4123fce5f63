"""A matrix resident in memory: one row of numbers per candidate, as an artefact that is verified before it is used."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Sequence
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from definitions.values import Value, ValueType, shown
from online_models.errors import ArtefactRefused
from online_models.graphs.columns import Numbers, Rows


class Matrix:
    """Rows of float32 by candidate id. Memory: 4 bytes a number, and about 100 bytes an id.

    Example:
        >>> matrix = Matrix(["a", "b"], np.array([[1.0, 0.0], [0.5, 2.0]], dtype=np.float32))
        >>> matrix.dot(matrix.rows_of(["b", "zz"]), [2.0, 1.0]).tolist()
        [3.0, nan]
    """

    def __init__(self, ids: Sequence[str | int], rows: NDArray[np.float32], digest: str = "") -> None:
        self.digest = digest
        self._rows = np.ascontiguousarray(rows, dtype=np.float32)
        self._place = {each: place for place, each in enumerate(ids)}
        if self._rows.ndim != 2 or len(self._place) != len(ids) or len(self._rows) != len(ids):  # noqa: PLR2004
            got = f"{len(ids)} ids, {len(self._place)} of them different, and an array of {self._rows.shape}"
            raise ArtefactRefused(f"cannot use matrix: {digest[:12]}: expected one row for each id, got {got}")
        if not np.isfinite(self._rows).all():
            raise ArtefactRefused(f"cannot use matrix: {digest[:12]}: expected finite numbers, got others")

    @property
    def length(self) -> int:
        """How many numbers a row has."""
        return int(self._rows.shape[1])

    def __len__(self) -> int:
        return len(self._rows)

    def to_bytes(self) -> bytes:
        """Return the matrix as the bytes of an artefact: a NumPy archive of ``ids`` and ``rows``, without pickles."""
        file = io.BytesIO()
        np.savez(file, ids=np.array(list(self._place)), rows=self._rows)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes, digest: str, *, length: int, kind: ValueType) -> Matrix:
        """Return the matrix that the bytes hold.

        Raises:
            ArtefactRefused: other bytes than ``digest`` names, no matrix, one of other ids, or of rows of another
                length.
        """
        found = hashlib.sha256(data).hexdigest()
        if found != digest:
            raise ArtefactRefused(f"cannot load matrix: {digest[:12]}: expected its own digest, got {found[:12]}")
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as archive:
                ids, rows = archive["ids"], archive["rows"]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            expected = "a NumPy archive of ids and rows"
            raise ArtefactRefused(f"cannot load matrix: {digest[:12]}: expected {expected}, got {error}") from error
        if rows.ndim != 2 or rows.shape[1] != length or rows.dtype.kind != "f":  # noqa: PLR2004
            got = f"{rows.dtype} of {rows.shape}"
            raise ArtefactRefused(f"cannot load matrix: {digest[:12]}: expected rows of {length} numbers, got {got}")
        if ids.dtype.kind not in ("iu" if kind is ValueType.INT else "U"):
            expected = f"ids of type {kind.written}"
            raise ArtefactRefused(f"cannot load matrix: {digest[:12]}: expected {expected}, got {ids.dtype}")
        return cls(ids.tolist(), rows, digest)

    def rows_of(self, ids: Sequence[str | int]) -> Rows:
        """Return the row of each id, -1 for one that has none. Cost: 40 ns an id."""
        return np.fromiter(map(self._place.get, ids, repeat(-1)), dtype=np.intp, count=len(ids))

    def dot(self, rows: Rows, vector: Value) -> Numbers:
        """Return the dot product of each row with an embedding, NaN for -1.

        One row's result does not depend on which others are asked for. Cost: 1 ns a number.

        Raises:
            ValueError: the embedding has another length.
        """
        if vector is None or not len(self):
            return np.full(len(rows), np.nan)
        given = np.array(vector, dtype=np.float32)
        if given.shape != (self.length,):
            raise ValueError(f"cannot multiply: expected {self.length} numbers, got {shown(vector)}")
        # By einsum, row by row: the blocks of a BLAS product would make a row's last bit depend on the others.
        found: Numbers = np.einsum("ij,j->i", self._rows[rows], given).astype(np.float64)
        found[(rows < 0) | ~np.isfinite(found)] = np.nan
        return found
