"""The decode hazards: bytes as files, what becomes of them in one table, kept for each version of the schema."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "fixtures" / "decode_hazards"


@dataclass(frozen=True, slots=True)
class Hazard:
    """Bytes that a producer may send, and what they must be taken for: ``ok``, or a dead-letter reason and a path."""

    name: str
    value: bytes | None
    outcome: str
    path: str


def hazards(version: str) -> list[Hazard]:
    """Return the hazards of a version of the schema."""
    folder = FOLDER / version
    table = json.loads((folder / "outcomes.json").read_text(encoding="utf-8"))
    return [
        Hazard(
            row["file"] or "tombstone",
            None if row["file"] is None else (folder / row["file"]).read_bytes(),
            row["outcome"],
            row["path"],
        )
        for row in table
    ]
