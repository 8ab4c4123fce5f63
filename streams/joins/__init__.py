"""The join of predictions and labels: a function of one outcomes partition's prefix, and of nothing else.

A prediction waits for the label of its key; a label that came first waits for its prediction. Both wait until the
horizon ``at + within`` has passed, which only `Progress` records move, in event time. Whatever comes after its own
horizon changes nothing, so what was sent again can never be joined again: what it met is remembered until then.

Cells of the fold: ``key/<label key>`` holds what one key waits for, ``@expiry/<step>/<chunk>`` the keys to look at when
the horizon passes that step, ``@clock`` how far event time has come, ``@tally`` what became of the predictions. They
depend on each other, so a writer commits the cells of a `matching.Step` in one link of the chain, never in two.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from definitions.values import Value

STEPS_A_HORIZON = 96
"""The horizon is passed in steps of ``within / 96``: 15 minutes of a day."""
CLOCK = "@clock"
TALLY = "@tally"


def fold(model_key: str) -> str:
    """Return the name of the model's join in the store."""
    return f"join.{model_key}"


def cell_of(label_key: str) -> str:
    """Return the name of the cell that holds what a label key waits for."""
    return f"key/{label_key}"


def step_ms(within_ms: int) -> int:
    """Return how far event time has to come for the horizon to be looked at again."""
    return max(1, within_ms // STEPS_A_HORIZON)


@dataclass(frozen=True, slots=True)
class JoinRule:
    """What the author declared: how long a prediction waits, and what it gets if nothing came."""

    model: str
    within_ms: int
    disorder_ms: int
    """How far behind the label topic's newest event time a label may still come."""
    otherwise: Value = None
    """The label of a prediction whose horizon passed; None drops it."""


class Waiting(msgspec.Struct, array_like=True, frozen=True):
    """A prediction without its label: what an example needs of it."""

    request_id: str
    at_ms: int
    vector: list[Value]
    scores: dict[str, float]
    champion: str
    entities: dict[str, str | int] = {}
    versions: dict[str, str] = {}
    """Learner to its trained version; kept where there are entities."""


class KnownLabel(msgspec.Struct, array_like=True, frozen=True):
    """The label in force for a key."""

    at_ms: int
    label: Value
    keep_ms: int
    """Event time of the newest label that the key had: it is remembered until that one's horizon has passed."""


class KeyState(msgspec.Struct, array_like=True, tag="key"):
    """What one label key waits for, and what it must not take twice."""

    waiting: list[Waiting] = []
    emitted: dict[str, int] = {}
    """Request ids that became examples, with their event time: kept until their horizon has passed."""
    label: KnownLabel | None = None
    sources: dict[str, int] = {}
    """Label partition to the greatest offset seen: the router writes in source order, so lesser ones are copies."""


class DueKeys(msgspec.Struct, array_like=True, tag="due"):
    """Keys to look at when the horizon passes a step."""

    keys: list[str] = []


class Clock(msgspec.Struct, array_like=True, tag="clock"):
    """How far event time has come in this partition, and what is due when."""

    newest_ms: dict[str, int] = {}
    """Label partition to its newest event time."""
    idle: list[str] = []
    """Label partitions that are read to their end and hold nobody back."""
    passed: int = 0
    """Every step below has been passed."""
    due: dict[str, int] = {}
    """Step to the number of keys registered for it."""
    cursor: tuple[int, int] = (-1, 0)
    """(offset, examples made so far) of a progress record that is half worked off."""


class Tally(msgspec.Struct, array_like=True, tag="tally"):
    """What became of the predictions and labels of one partition; redelivery cannot inflate it."""

    matched: int = 0
    timed_out: int = 0
    duplicate: int = 0
    """Predictions and labels that were seen before."""
    revised: int = 0
    """Labels that replaced another of their key. Examples that were made stay as they are."""
    label_late: int = 0
    """Labels that came for a waiting prediction, but happened after its horizon: counted, not matched."""

    def plus(self, other: Tally) -> Tally:
        """Return the sum, for the partitions of one model."""
        mine, theirs = msgspec.structs.astuple(self), msgspec.structs.astuple(other)
        return Tally(*(a + b for a, b in zip(mine, theirs, strict=True)))


JoinState = KeyState | DueKeys | Clock | Tally | None

_ENCODER = msgspec.msgpack.Encoder(order="deterministic")
_DECODER: msgspec.msgpack.Decoder[JoinState] = msgspec.msgpack.Decoder(KeyState | DueKeys | Clock | Tally | None)


class JoinCodec:
    """Implements `streams.chain.StateCodec` for the join's cells."""

    def empty(self) -> JoinState:
        """Return the state of a cell that is not there; the join decides by its name what it becomes."""
        return None

    def encode(self, state: JoinState) -> bytes | None:
        """Return the state's bytes, None where nothing is left to remember."""
        gone = (
            state is None
            or (isinstance(state, KeyState) and not (state.waiting or state.emitted or state.label))
            or (isinstance(state, DueKeys) and not state.keys)
        )
        return None if gone else _ENCODER.encode(state)

    def decode(self, data: bytes) -> JoinState:
        """Return the state that the bytes were made from."""
        return _DECODER.decode(data)
