"""Artefacts are named by their digest and verified before they are handed out."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.artefacts import ArtefactStore
from streams.errors import ArtefactError


def test_bytes_come_back_under_their_digest(tmp_path: Path) -> None:
    """Putting twice keeps one file."""
    store = ArtefactStore(tmp_path)

    digest = store.put(b"model")

    assert store.put(b"model") == digest
    assert store.get(digest) == b"model"
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 1


def test_a_flipped_bit_is_refused(tmp_path: Path) -> None:
    """What is not verified is not loaded (law 7)."""
    store = ArtefactStore(tmp_path)
    digest = store.put(b"model")
    file = next(path for path in tmp_path.rglob("*") if path.is_file())
    file.write_bytes(b"modem")

    with pytest.raises(ArtefactError, match="expected its own digest"):
        store.get(digest)


def test_an_absent_artefact_is_named(tmp_path: Path) -> None:
    """The error says which one."""
    with pytest.raises(ArtefactError, match="cannot read artefact: abcdef"):
        ArtefactStore(tmp_path).get("abcdef")
