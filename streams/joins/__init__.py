"""The join of predictions and labels: a function of one outcomes partition's prefix, and of nothing else.

A prediction waits for the label of its key; a label that came first waits for its prediction. Both wait until the
horizon ``at + within`` has passed, which only `Progress` records move, in event time. Whatever comes after its own
horizon changes nothing, so what was sent again can never be joined again: what it met is remembered until then. That
a prediction was given up is remembered for one more horizon, so that its label is not taken for a stranger's.

Cells of the fold: ``key/<label key>`` holds what one key waits for, ``@expiry/<step>/<chunk>`` the keys to look at when
the horizon passes that step, ``@clock`` how far event time has come, ``@tally`` what became of the predictions. They
depend on each other, so a writer commits the cells of a `matching.Step` in one link of the chain, never in two.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from definitions.declared import LabelDefinition
from definitions.values import Value
from streams.messages import Prediction, Progress

STEPS_A_HORIZON = 96
"""The horizon is passed in steps of ``within / 96``: 15 minutes of a day."""
CLOCK = "@clock"
TALLY = "@tally"
KEY_PREFIX = "key/"


def fold(model_key: str) -> str:
    """Return the name of the model's join in the store."""
    return f"join.{model_key}"


def cell_of(label_key: str) -> str:
    """Return the name of the cell that holds what a label key waits for."""
    return KEY_PREFIX + label_key


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
    replaces: bool = False
    """Whether a revised label makes another example of each prediction that is one already."""
    first_only: bool = False
    """Whether only the first prediction of a key becomes an example, while it is remembered."""

    @classmethod
    def of(cls, model_key: str, label: LabelDefinition) -> JoinRule:
        """Return the rule that a declared label stands for."""
        return cls(
            model_key,
            label.within_ms,
            label.event.disorder_ms,
            label.otherwise,
            replaces=label.revised == "replace",
            first_only=label.per_key == "first",
        )

    def floor_ms(self, passed: int) -> int:
        """Return the time of prediction or label below which the horizon has passed, as every step below ``passed``."""
        return passed * step_ms(self.within_ms) - self.within_ms


class Waiting(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A prediction without its label: what an example needs of it."""

    request_id: str
    at_ms: int
    vector: list[Value]
    scores: dict[str, float]
    champion: str
    release: str = ""
    entities: dict[str, str | int] = {}
    versions: dict[str, str] = {}
    """Learner to its trained version; kept where there are entities."""

    @classmethod
    def of(cls, prediction: Prediction) -> Waiting:
        """Return what is kept of a prediction."""
        return cls(
            prediction.request_id,
            prediction.at_ms,
            prediction.vector,
            prediction.scores,
            prediction.champion,
            prediction.release,
            prediction.entities,
            {each.learner: each.digest for each in prediction.versions} if prediction.entities else {},
        )


class KnownLabel(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The label in force for a key."""

    at_ms: int
    label: Value
    keep_ms: int
    """Event time of the newest label that the key had: it is remembered until that one's horizon has passed."""
    is_met: bool = False
    """Whether a prediction of its key was known while the label was remembered."""


class Learned(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A prediction that became an example, kept where a revision makes another one of it."""

    asked: Waiting
    label: Value


class KeyState(msgspec.Struct, array_like=True, tag="key", gc=False):
    """What one label key waits for, and what it must not take twice."""

    waiting: list[Waiting] = []
    emitted: dict[str, int] = {}
    """Request ids that became examples, with their event time: kept until their horizon has passed."""
    label: KnownLabel | None = None
    sources: dict[str, int] = {}
    """Label partition to the greatest offset seen: the router writes in source order, so lesser ones are copies."""
    due: list[int] = []
    """Steps that the key is registered for."""
    given_up: int | None = None
    """Up to which step it is remembered that a prediction's horizon passed without a label."""
    learned: list[Learned] = []
    """What `JoinRule.replaces` needs of the examples made."""

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to remember."""
        return not (self.waiting or self.emitted or self.label or self.given_up is not None)

    def has_to_change(self, floor_ms: int, passed: int) -> bool:
        """Return whether the horizon ended something that counts, or all that is remembered.

        Examples made that are over count for nothing: they are forgotten when the key changes for another reason.

        Args:
            floor_ms: time of prediction or label below which the horizon has passed.
            passed: every step below has been passed.
        """
        if self.label is None and not self.waiting and self.given_up is None:
            return all(at < floor_ms for at in self.emitted.values())
        return (
            (self.label is not None and self.label.keep_ms < floor_ms)
            or (self.given_up is not None and self.given_up < passed)
            or any(each.at_ms < floor_ms for each in self.waiting)
        )

    def forget_examples(self, floor_ms: int) -> None:
        """Forget the examples made whose horizon has passed."""
        self.emitted = {name: at for name, at in self.emitted.items() if at >= floor_ms}
        if self.learned:
            self.learned = [each for each in self.learned if each.asked.request_id in self.emitted]


class DueKeys(msgspec.Struct, array_like=True, tag="due", gc=False):
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

    def note(self, progress: Progress) -> None:
        """Take in what one label partition tells; partitions of a topic that was made anew replace the old ones."""
        source, newest_ms = progress.source, progress.newest_ms
        topic = source.rpartition("/")[0]
        self.newest_ms = {name: at for name, at in self.newest_ms.items() if name.rpartition("/")[0] == topic}
        self.newest_ms[source] = max(newest_ms, self.newest_ms.get(source, newest_ms))
        others = [name for name in self.idle if name != source and name in self.newest_ms]
        self.idle = [*others, source] if progress.idle else others

    def has_come_to(self, partitions: int, disorder_ms: int) -> int:
        """Return the time before which no label is to come; 0 while one of the label partitions told nothing yet."""
        if len(self.newest_ms) < partitions:
            return 0
        holding = [newest for source, newest in self.newest_ms.items() if source not in self.idle]
        return min(holding) - disorder_ms if holding else 0


class Tally(msgspec.Struct, array_like=True, tag="tally"):
    """What became of the predictions and labels of one partition; redelivery cannot inflate it.

    ``predictions == matched + timed_out + pending`` at every record: see `imbalance`.
    """

    matched: int = 0
    """Predictions that became examples of their label."""
    timed_out: int = 0
    """Predictions whose horizon passed without a label."""
    duplicate: int = 0
    """Predictions and labels that were seen before: the same request or source position, or a label that says what the
    label in force says."""
    revised: int = 0
    """Labels that replaced another of their key."""
    label_late: int = 0
    """Labels that came for a prediction after its horizon, in event time or in the log: counted, not matched."""
    predictions: int = 0
    """Predictions taken, each once."""
    pending: int = 0
    """Predictions that wait: kept beside the cells that hold them, for a count of those to be compared with."""
    given: int = 0
    """Of the timed out, how many became examples of the declared ``otherwise``; the others were dropped."""
    early: int = 0
    """Of the matched, how many found a label that had come first."""
    reused: int = 0
    """Predictions of a key that another prediction had before; where only the first counts, they are not taken."""
    replaced: int = 0
    """Examples made once more, because their label was revised."""
    labels: int = 0
    """Labels taken, each once."""
    unknown: int = 0
    """Keys whose label was forgotten without any prediction of that key having come."""
    label_duplicate: int = 0
    """Of the duplicates, how many were labels."""
    prediction_too_late: int = 0
    """Predictions that came after their own horizon."""
    label_too_late: int = 0
    """Labels that came after their own horizon."""

    @property
    def imbalance(self) -> int:
        """How many predictions more were taken than there are outcomes and waiting ones: 0, or something is wrong."""
        return self.predictions - self.matched - self.timed_out - self.pending

    def plus(self, other: Tally) -> Tally:
        """Return the sum, for the partitions of one model."""
        mine, theirs = msgspec.structs.astuple(self), msgspec.structs.astuple(other)
        return Tally(*(a + b for a, b in zip(mine, theirs, strict=True)))


JoinState = KeyState | DueKeys | Clock | Tally | None

_ENCODER = msgspec.msgpack.Encoder()
"""Mappings in the order in which they became: an example that is made again from a cell has the bytes it had."""
_DECODER: msgspec.msgpack.Decoder[JoinState] = msgspec.msgpack.Decoder(KeyState | DueKeys | Clock | Tally | None)


class JoinCodec:
    """Implements `streams.chain.StateCodec` for the join's cells."""

    def empty(self) -> JoinState:
        """Return the state of a cell that is not there; the join decides by its name what it becomes."""
        return None

    def encode(self, state: JoinState) -> bytes | None:
        """Return the state's bytes, None where nothing is left to remember."""
        kind = type(state)
        is_over = state is None or (kind is DueKeys and not state.keys)  # type: ignore[union-attr]  # it has keys
        if kind is KeyState:
            is_over = state.is_over  # type: ignore[union-attr]  # a key's
        return None if is_over else _ENCODER.encode(state)

    def decode(self, data: bytes) -> JoinState:
        """Return the state that the bytes were made from."""
        return _DECODER.decode(data)
