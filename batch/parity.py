"""What a proof of parity finds: probes that are equal, and one label for each that is not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from definitions.values import Value

MOST_EXAMPLES = 20


class Label(StrEnum):
    """Why a vector differs."""

    VERSION = "version"
    FAULT = "fault"
    LATE = "late"
    DUPLICATE = "duplicate"


class Skip(StrEnum):
    """Why a prediction proves nothing."""

    NOT_READ = "features_not_read"
    """It was scored without the store: no feature was served."""
    NO_REQUEST = "request_forgotten"
    LOG_FORGOTTEN = "log_forgotten"
    """The log no longer holds, or never held, what the answer says it contained."""


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One vector that differs."""

    request_id: str
    label: Label
    at_ms: int
    entities: Mapping[str, str | int | None]
    differing: Mapping[str, tuple[Value, Value]]
    """Input to what was served and what the log says."""

    def as_json(self) -> dict[str, object]:
        """Return the mismatch under the names of the command's answer."""
        differing = {name: {"served": served, "log": log} for name, (served, log) in self.differing.items()}
        about = {"request_id": self.request_id, "label": str(self.label), "at_ms": self.at_ms}
        return {**about, "entities": self.entities, "differing": differing}


@dataclass(slots=True)
class Parity:
    """What was found so far. Every probe is equal, or has one label; beside it, every equal one may have another."""

    equal: int = 0
    labels: dict[Label, int] = field(default_factory=lambda: dict.fromkeys(Label, 0))
    skipped: dict[Skip, int] = field(default_factory=lambda: dict.fromkeys(Skip, 0))
    examples: list[Mismatch] = field(default_factory=list)
    """The first `MOST_EXAMPLES` of each label."""

    @property
    def unequal(self) -> int:
        """How many vectors are not what the log says at exactly their positions."""
        return self.labels[Label.VERSION] + self.labels[Label.FAULT]

    @property
    def faults(self) -> int:
        """How many of them nothing excuses."""
        return self.labels[Label.FAULT]

    @property
    def probes(self) -> int:
        """How many vectors were compared."""
        return self.equal + self.unequal

    def note(self, mismatch: Mismatch) -> None:
        """Count a mismatch."""
        if self.labels[mismatch.label] < MOST_EXAMPLES:
            self.examples.append(mismatch)
        self.labels[mismatch.label] += 1

    def as_json(self) -> dict[str, object]:
        """Return what was found under the names of the command's answer."""
        labels = {str(label): count for label, count in self.labels.items()}
        skipped = {str(reason): count for reason, count in self.skipped.items()}
        examples = [each.as_json() for each in self.examples]
        counts = {"probes": self.probes, "equal": self.equal, "unequal": self.unequal}
        return {**counts, **labels, "skipped": skipped, "examples": examples}
