"""A training set: questions as a caller would have asked them, answered with what was known then and what came later.

Features come from the engine that serves, point in time: a record of history counts as known from its event time plus
a declared delay on, and no sooner than every record before it in its partition. Labels come by the live join itself
(`batch.label_questions`): which questions become examples, and with which label, is what the log of them would say.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from batch.context import Tell, tell_nobody
from batch.errors import QuestionsRefused, TrainingRefused
from batch.history import History
from batch.label_questions import LabelHistory
from definitions.declared import ModelDefinition
from definitions.requests import check_inputs
from definitions.values import Value
from streams.codecs import Schemas
from streams.intake import Intake
from streams.lookups import row_of
from streams.messages import ScoreRequest
from streams.records import Partition
from streams.replay import PointInTime
from streams.vectors import VectorLayout

Positions = dict[str, dict[str, tuple[int, int]]]
"""Topic to (partition field to the half-open range of offsets)."""

_TELL_EVERY = 500


@dataclass(frozen=True, slots=True)
class Question:
    """What a caller would have asked, and when."""

    at_ms: int
    label_key: str
    entities: Mapping[str, str | int | None]
    inputs: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Rows in order of the time that was asked about, and where they come from."""

    vectors: list[list[Value]]
    labels: list[Value]
    times_ms: list[int]
    positions: Positions
    """What was read, of each topic that features or labels come from."""
    visibility: str
    questions: str
    """SHA-256 of the questions."""
    asked: int = 0
    """How many questions there were; those that are no examples are no rows."""

    @property
    def rows(self) -> int:
        """How many examples there are."""
        return len(self.labels)

    @property
    def is_binary(self) -> bool:
        """Whether every label is true or false."""
        return all(isinstance(label, bool) for label in self.labels)

    def part(self, first: int, end: int) -> TrainingSet:
        """Return the rows ``[first, end)``, as coming from the same place."""
        return TrainingSet(
            vectors=self.vectors[first:end],
            labels=self.labels[first:end],
            times_ms=self.times_ms[first:end],
            positions=self.positions,
            visibility=self.visibility,
            questions=self.questions,
        )


def read_questions(lines: Iterable[bytes], model: ModelDefinition) -> Iterator[Question]:
    """Yield the questions of a file of score-request bodies, one JSON object a line; empty lines are left out.

    Raises:
        QuestionsRefused: a line is not a question to ``model``; names the line and the ``$.path``.
    """
    decoder = msgspec.json.Decoder(ScoreRequest)
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            request = decoder.decode(line)
        except msgspec.DecodeError as error:
            raise _refused(number, f"expected a score request: {error}") from error
        yield question_of(request, model, number)


def question_of(request: ScoreRequest, model: ModelDefinition, number: int) -> Question:
    """Return a score request as a question; ``number`` is its place, for people.

    Raises:
        QuestionsRefused: it is not one that ``model`` could be asked and told the label of.
    """
    if request.model != model.name:
        raise _refused(number, f"$.model: expected {model.name}, got {request.model}")
    given = check_inputs(model, request.entities, request.inputs)
    if isinstance(given, str):
        raise _refused(number, given)
    if request.label_key is None:
        raise _refused(number, "$.label_key: expected the key that the label comes with, got nothing")
    return Question(_time_ms(request.at, number), str(request.label_key), given.entities, given.inputs)


def build_training_set(
    model: ModelDefinition,
    questions: Iterable[Question],
    history: History,
    *,
    delay_ms: int = 0,
    schemas: Schemas | None = None,
    tell: Tell = tell_nobody,
) -> TrainingSet:
    """Return the questions that have a label, with the features of their time. Cost: 30-100 us a question and view.

    Args:
        model: whose features and label.
        questions: in any order; they are answered in order of time.
        history: every topic that features or labels come from is read, from its first offset to its end.
        delay_ms: how long after its event time a record counts as known.
        schemas: the schema registry, where an event's codec needs one.
        tell: is told of progress.

    Raises:
        TrainingRefused: the model has no label, or a topic that it needs is not there.
        HistoryUnavailable: the log does not answer.
        RegistryUnavailable: the schema registry does not.
    """
    if model.label is None:
        raise TrainingRefused(f"cannot train: {model.key}: expected a label, got none; declare one with hr.Label")
    asked = sorted(questions, key=lambda question: question.at_ms)
    features = PointInTime(model.views, lookups=model.lookups, delay_ms=delay_ms, schemas=schemas)
    labels, layout = LabelHistory(model.label, Intake(model.label.event, schemas), delay_ms), VectorLayout.of(model)
    positions = _read_history(model, history, features, labels, tell)
    training = TrainingSet([], [], [], positions, f"event_time+{delay_ms}ms", _digest(asked), asked=len(asked))
    found = labels.of([(question.at_ms, question.label_key) for question in asked])
    for number, (question, label) in enumerate(zip(asked, found, strict=True), start=1):
        if label is not None:
            training.vectors.append(_vector(layout, question, features))
            training.labels.append(label)
            training.times_ms.append(question.at_ms)
        if number % _TELL_EVERY == 0 or number == len(asked):
            tell("training set", number, len(asked))
    return training


def _vector(layout: VectorLayout, question: Question, features: PointInTime) -> list[Value]:
    features.advance(question.at_ms)
    served = features.serve(question.entities, question.at_ms, question.inputs)
    return layout.vector(row_of(served, question.inputs, question.at_ms))


def _read_history(
    model: ModelDefinition, history: History, features: PointInTime, labels: LabelHistory, tell: Tell
) -> Positions:
    """Hand every record of the model's topics to whom it concerns; return what was read."""
    of_features = {source.event.topic for view in model.all_views for source in view.sources}
    of_labels = labels.definition.event.topic
    spans = _spans(history, sorted(of_features | {of_labels}))
    total, done = sum(end - first for _, first, end in spans), 0
    for partition, first, end in spans:
        for batch in history.read(partition, first, end):
            if partition.topic in of_features:
                features.feed(batch)
            if partition.topic == of_labels:
                labels.take(batch)
            done += batch.next - batch.first
            tell("history", done, total)
    positions: Positions = {}
    for partition, first, end in spans:
        positions.setdefault(partition.topic, {})[partition.field] = (first, end)
    return positions


def _spans(history: History, topics: Sequence[str]) -> list[tuple[Partition, int, int]]:
    spans = []
    for topic in topics:
        partitions = history.partitions(topic)
        if not partitions:
            mend = "publish it first; copies for a rekeyed view are written by `headrace run features`"
            raise TrainingRefused(f"cannot train: {topic}: expected a topic with history, got none; {mend}")
        spans += [(partition, *history.bounds(partition)) for partition in partitions]
    return spans


def _digest(questions: Sequence[Question]) -> str:
    hashed = hashlib.sha256()
    for each in questions:
        hashed.update(msgspec.json.encode(each, order="sorted") + b"\n")
    return hashed.hexdigest()


def _time_ms(at: int | str | None, number: int) -> int:
    if isinstance(at, int):
        return at
    try:
        time = None if at is None else msgspec.convert(at, datetime)
    except msgspec.ValidationError:
        time = None
    if time is None or time.tzinfo is None:
        raise _refused(number, f"$.at: expected epoch ms or RFC 3339 with an offset, got {at!r}")
    return round(time.timestamp() * 1_000)


def _refused(number: int, problem: str) -> QuestionsRefused:
    return QuestionsRefused(f"cannot read questions: line {number}: {problem}")
