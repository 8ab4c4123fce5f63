"""Lets an online learner learn the training set, in order of time, before it learns from what happens live."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from batch.build_training_set import TrainingSet
from batch.context import Tell, tell_nobody
from batch.history import History
from batch.measure_scores import measure_scores
from definitions.declared import LearnerDefinition
from definitions.encoder import Encoder
from online_models.learners import Cut
from online_models.learners.river import RiverLearner
from streams.messages import Example
from streams.records import Record

_TELL_EVERY = 500


@dataclass(frozen=True, slots=True)
class WarmStart:
    """A snapshot of a learner that has learned the training set, and what its scores were worth on the way."""

    data: bytes
    cut: Cut
    measures: Mapping[str, float]
    """Test then train: every score was given before its label was learned."""


def warm_start(
    definition: LearnerDefinition, encoder: Encoder, training: TrainingSet, *, cut: Cut, tell: Tell = tell_nobody
) -> WarmStart:
    """Return the learner as it stands after the training set, cut where live learning goes on.

    Cost: about 70 us a row for a scaled logistic regression of 25 inputs.

    Raises:
        LearnerUnusable: the factory's estimator cannot be used.
        LabelRefused: a label is not what the learner learns.
    """
    learner = RiverLearner(definition, encoder)
    scores: list[float] = []
    for number, (vector, label) in enumerate(zip(training.vectors, training.labels, strict=True), start=1):
        scores += learner.score_many((vector,))
        learner.learn_one(vector, label)
        if number % _TELL_EVERY == 0 or number == training.rows:
            tell(f"warm start of {definition.name}", number, training.rows)
    return WarmStart(learner.snapshot(cut), cut, measure_scores(scores, training.labels))


def cut_at_end(history: History, examples_topic: str, *, generation: int) -> Cut:
    """Return the cut behind every example there is: what has been joined so far counts as contained.

    Raises:
        HistoryUnavailable: the log does not answer.
    """
    partitions = history.partitions(examples_topic)
    if not partitions:
        return Cut(generation, 0)
    first, end = history.bounds(partitions[0])
    positions: dict[str, tuple[int, int]] = {}
    decoder = msgspec.json.Decoder(Example)
    for batch in history.read(partitions[0], first, end):
        for record in batch.records:
            _note(positions, record, decoder)
    return Cut(generation, end, positions)


def _note(positions: dict[str, tuple[int, int]], record: Record, decoder: msgspec.json.Decoder[Example]) -> None:
    try:
        example = decoder.decode(record.value() or b"")
    except msgspec.DecodeError:
        # Not an example: the learner skips it too.
        return
    at = (example.next, example.index)
    positions[example.outcomes] = max(at, positions.get(example.outcomes, at))
