"""Artefacts by digest: model bytes, snapshots, baselines and releases. Kafka and Redis carry digests only."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from streams.errors import ArtefactError


class ArtefactStore:
    """A directory of files named by the SHA-256 of their bytes; what is not verified is not handed out.

    Example:
        >>> store = ArtefactStore(Path(tempfile.mkdtemp()))
        >>> store.get(store.put(b"bytes"))
        b'bytes'
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def put(self, data: bytes) -> str:
        """Keep the bytes durably; return their digest, 64 hex digits. Cost: one write and one fsync, if new."""
        digest = hashlib.sha256(data).hexdigest()
        path = self._path(digest)
        if path.exists():
            return digest
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(file.name).replace(path)
        return digest

    def get(self, digest: str) -> bytes:
        """Return the bytes named by ``digest``.

        Raises:
            ArtefactError: there are none, or they are not what the digest says.
        """
        try:
            data = self._path(digest).read_bytes()
        except OSError as error:
            raise ArtefactError(f"cannot read artefact: {digest[:12]}: {error.strerror}") from error
        found = hashlib.sha256(data).hexdigest()
        if found != digest:
            raise ArtefactError(f"cannot read artefact: {digest[:12]}: expected its own digest, got {found[:12]}")
        return data

    def remove(self, digest: str) -> None:
        """Remove the bytes named by ``digest``, if they are there. Only for what nobody else can have put there."""
        self._path(digest).unlink(missing_ok=True)

    def _path(self, digest: str) -> Path:
        return self._directory / digest[:2] / digest
