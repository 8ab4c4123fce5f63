"""How commands speak: text for people, or one JSON object for programs with the text out of its way."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec


@dataclass(frozen=True, slots=True)
class Voice:
    """Says text and gives the answer. With ``as_json`` only the answer is on standard output."""

    as_json: bool

    def say(self, text: str) -> None:
        """Print a line for people, at once: others may be reading along."""
        print(text, file=sys.stderr if self.as_json else sys.stdout, flush=True)

    def answer(self, answer: Mapping[str, object]) -> None:
        """Print the command's one JSON object, where JSON is asked for."""
        if self.as_json:
            print(msgspec.json.encode(answer).decode(), flush=True)
