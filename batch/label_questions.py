"""The labels that history holds for questions, by the join that runs live.

The join is a function of one log of predictions, labels and progress. Here questions stand for the predictions, and the
log is put together in the order in which all of it would have become known: a label from its event time plus the
declared delay on, no sooner than those before it in its partition, a question when it was asked. History is whole: at
its end every horizon has passed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import merge
from itertools import chain
from typing import Any

from definitions.declared import LabelDefinition
from definitions.expressions import Evaluator, evaluator
from definitions.values import Value
from streams.chain import Slot
from streams.codecs import LATEST_MS
from streams.intake import Intake
from streams.joins import JoinRule, step_ms
from streams.joins.matching import Join
from streams.messages import LabelSeen, Outcome, Prediction, Progress
from streams.records import RecordBatch

Asked = tuple[int, str]
"""A question's time and label key."""

_Known = tuple[int, int, Outcome]
"""When an outcome is known, what goes first of those at one time, and the outcome."""

_LABEL, _QUESTION, _END = 0, 1, 2
_NOWHERE = "history/0"


@dataclass(slots=True)
class _Told:
    """How far one label partition has come."""

    newest_ms: int | None = None
    passed: int | None = None
    last: _Known | None = None


@dataclass(slots=True)
class LabelHistory:
    """Label events as the router would have told the join of them, partition by partition.

    Args:
        definition: the label.
        intake: of its event's topic.
        delay_ms: how long after its event time a record counts as known.
    """

    definition: LabelDefinition
    intake: Intake
    delay_ms: int = 0
    _heard: dict[str, list[_Known]] = field(default_factory=dict)
    _told: dict[str, _Told] = field(default_factory=dict)
    _label_of: Evaluator = field(init=False)

    def __post_init__(self) -> None:
        self._label_of = evaluator(self.definition.value)

    def take(self, batch: RecordBatch) -> None:
        """Keep the labels of a batch; those of a partition are given in order. Cost: 5 us a label."""
        source, decoded, decoder = batch.partition.field, self.intake.read(batch), self.intake.decoder
        heard, told = self._heard.setdefault(source, []), self._told.setdefault(source, _Told())
        for offset, event, at_ms in zip(decoded.offsets, decoded.events, decoded.times_ms, strict=True):
            told.newest_ms = at_ms if told.newest_ms is None else max(told.newest_ms, at_ms)
            known_ms = told.newest_ms + self.delay_ms
            row = decoder.row(event)
            key, label = row.get(self.definition.key), self._label_of.one(row)
            if key is not None and label is not None:
                seen = LabelSeen(label_key=str(key), at_ms=at_ms, label=label, source=f"{source}@{offset}")
                heard.append((known_ms, _LABEL, seen))
            passed = (told.newest_ms - self.definition.event.disorder_ms) // step_ms(self.definition.within_ms)
            if passed != told.passed:
                told.passed = passed
                heard.append((known_ms, _LABEL, Progress(source=source, partitions=0, newest_ms=told.newest_ms)))

    def of(self, asked: Sequence[Asked]) -> list[Value]:
        """Return the label of each question, None where it is no example. Cost: 20 us a question and label.

        Of several labels in time it is the first, or the last one where a revised label replaces the one before it. A
        question that is none of the first of its key has none, where the label says so.

        Args:
            asked: in order of time.
        """
        labels: list[Value] = [None] * len(asked)
        join = Join(JoinRule.of("", self.definition), _NOWHERE, _Cells().load)
        for offset, outcome in enumerate(self._log(asked)):
            for step in join.apply(offset, outcome):
                for example in step.examples:
                    [number] = example.vector
                    assert isinstance(number, int)  # noqa: S101  # as `_question` wrote it
                    labels[number] = example.label
        return labels

    def _log(self, asked: Sequence[Asked]) -> Iterator[Outcome]:
        """Return the outcomes in the order in which they were known; at last the horizons of all have passed."""
        sources = [source for source, told in self._told.items() if told.newest_ms is not None]
        questions = ((at_ms, _QUESTION, _question(number, at_ms, key)) for number, (at_ms, key) in enumerate(asked))
        parts = [chain(self._heard[source], self._ended(source)) for source in sources]
        for _, _, outcome in merge(*parts, questions, key=_order):
            yield _among(outcome, len(sources)) if isinstance(outcome, Progress) else outcome
        for source in sources or [_NOWHERE]:
            yield Progress(source=source, partitions=len(sources) or 1, newest_ms=LATEST_MS)

    def _ended(self, source: str) -> Iterable[_Known]:
        """Return that a partition which has been read to its end holds no horizon back."""
        newest_ms = self._told[source].newest_ms or 0
        return [
            (newest_ms + self.delay_ms, _END, Progress(source=source, partitions=0, newest_ms=newest_ms, idle=True))
        ]


class _Cells:
    """The cells of the join, in memory."""

    def __init__(self) -> None:
        self._slots: dict[str, Slot[Any]] = {}

    def load(self, names: Iterable[str]) -> Mapping[str, Slot[Any]]:
        for name in names:
            if name not in self._slots:
                self._slots[name] = Slot(0, None)
        return self._slots


def _question(number: int, at_ms: int, key: str) -> Prediction:
    """Return a question as the prediction that it would have become. Its vector is its number."""
    return Prediction(
        request_id=str(number),
        model="",
        release="",
        label_key=key,
        at_ms=at_ms,
        vector=[number],
        scores={},
        versions=[],
        champion="",
        status="ok",
        positions={},
        features_as_of=None,
    )


def _among(progress: Progress, partitions: int) -> Progress:
    return Progress(source=progress.source, partitions=partitions, newest_ms=progress.newest_ms, idle=progress.idle)


def _order(known: _Known) -> tuple[int, int]:
    return known[0], known[1]
