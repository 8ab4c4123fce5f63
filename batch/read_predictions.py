"""Predictions as probes: what was served, joined with the request that it answered, in the order of the broker's clock.

A prediction says what was served and how much of the log that contained; whom it was about, its request says. Both are
in the log, so a probe rests on nothing that the online store holds.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from zlib import crc32

import msgspec

from batch.history import History
from definitions.declared import GraphDefinition, ModelDefinition
from definitions.values import Value
from streams import topics
from streams.candidates import CandidateAsked, candidate_of
from streams.messages import Outcome, Prediction
from streams.records import Partition, RecordBatch
from streams.request_reply import Request
from streams.request_reply.reader import RequestReader

Spans = Mapping[Partition, tuple[int, int]]
"""Partitions and the half-open range of offsets to be read of each."""

_JOINED_TOGETHER = 2_000
_MOST_BETWEEN = 20_000
"""How many records are read over rather than a new read begun."""
_CRC_VALUES = 2**32

_DECODER: msgspec.json.Decoder[Outcome] = msgspec.json.Decoder(Outcome)


@dataclass(frozen=True, slots=True)
class Probe:
    """One answer that was served: to be had again from the log."""

    request_id: str
    at_ms: int
    release: str
    entities: Mapping[str, str | int | None]
    inputs: Mapping[str, Value]
    vector: Sequence[Value]
    """As served, in the order of the model's inputs."""
    positions: Mapping[str, Mapping[str, int]]
    """Source key to (partition field to the next offset that was contained)."""
    ages_ms: Sequence[int | None] = ()
    """How old each value was. Empty where that was not logged."""


@dataclass(frozen=True, slots=True)
class Unread:
    """A prediction that is no probe, because the log no longer holds the request that it answered."""

    request_id: str


class PredictionReader:
    """Reads a model's predictions.

    Args:
        model: whose predictions.
        namespace: of its topics.
        history: the log.
        sample: the share of predictions to read, between 0 and 1; which ones is the same in every run.
        graphs: those that may have asked the model about candidates.
    """

    def __init__(
        self,
        model: ModelDefinition,
        namespace: str,
        history: History,
        *,
        sample: float = 1.0,
        graphs: Sequence[GraphDefinition] = (),
    ) -> None:
        self._history = history
        self._sample = sample
        self._outcomes = topics.outcomes(namespace, model)
        self._graphs = {topics.requests(namespace, graph): graph for graph in graphs}
        asked: tuple[ModelDefinition | GraphDefinition, ...] = (model, *graphs)
        self._requests = {
            topics.requests(namespace, each): RequestReader(each, reply_prefix=topics.replies(namespace))
            for each in asked
        }

    def spans(self, after: Spans | None = None) -> Spans:
        """Return all of the model's outcomes as they are now, or what came behind the ends of ``after``."""
        found = {each: self._history.bounds(each) for each in self._history.partitions(self._outcomes)}
        known = after or {}
        return {each: (max(first, known.get(each, (0, 0))[1]), end) for each, (first, end) in found.items()}

    def read(self, spans: Spans) -> Iterator[Probe | Unread]:
        """Yield what was served, partitions merged by the time of the broker. Cost: about 30 us a prediction.

        Raises:
            HistoryUnavailable: the log does not answer.
        """
        merged = heapq.merge(*(self._predictions(*each) for each in spans.items()), key=lambda each: each[0])
        while found := [prediction for _, prediction in islice(merged, _JOINED_TOGETHER)]:
            requests = self._read_requests([each.request_id for each in found])
            for each in found:
                yield self._probe(each, requests.get(_asked_at(each.request_id)))

    def _predictions(self, partition: Partition, span: tuple[int, int]) -> Iterator[tuple[int, Prediction]]:
        for batch in self._history.read(partition, *span):
            for record in batch.records:
                value = record.value()
                outcome = None if value is None else _decoded(value)
                if isinstance(outcome, Prediction) and self._is_sampled(outcome.request_id):
                    yield record.timestamp()[1], outcome

    def _is_sampled(self, request_id: str) -> bool:
        return self._sample >= 1 or crc32(request_id.encode()) < self._sample * _CRC_VALUES

    def _read_requests(self, request_ids: Iterable[str]) -> dict[str, Request]:
        places: dict[tuple[str, int], list[int]] = {}
        for request_id in request_ids:
            topic, _, place = _asked_at(request_id).rpartition("/")
            number, _, offset = place.partition("@")
            places.setdefault((topic, int(number)), []).append(int(offset))
        found: dict[str, Request] = {}
        for (topic, index), offsets in places.items():
            partition = next((each for each in self._history.partitions(topic) if each.index == index), None)
            if partition is not None and topic in self._requests:
                found.update(self._requests_at(partition, sorted(offsets)))
        return found

    def _requests_at(self, partition: Partition, offsets: Sequence[int]) -> Iterator[tuple[str, Request]]:
        wanted, (oldest, newest) = set(offsets), self._history.bounds(partition)
        for first, end in _ranges(offsets):
            for batch in self._batches(partition, max(first, oldest), min(end, newest)):
                for record in batch.records:
                    if record.offset() in wanted:
                        request = self._requests[partition.topic].read(record, partition, taken_ms=0)
                        if isinstance(request, Request):
                            yield request.request_id, request

    def _probe(self, prediction: Prediction, request: Request | None) -> Probe | Unread:
        asked: Request | CandidateAsked | None = request
        place = prediction.request_id.partition("#")[2]
        graph = self._graphs.get(prediction.request_id.rpartition("/")[0])
        if place and request is not None:
            asked = None if graph is None else candidate_of(graph, request, int(place))
        if asked is None or asked.label_key != prediction.label_key:
            return Unread(prediction.request_id)
        return Probe(
            request_id=prediction.request_id,
            at_ms=prediction.at_ms,
            release=prediction.release,
            entities=asked.entities,
            inputs=asked.inputs,
            vector=prediction.vector,
            positions=prediction.positions,
            ages_ms=prediction.ages_ms,
        )

    def _batches(self, partition: Partition, first: int, end: int) -> Iterator[RecordBatch]:
        return self._history.read(partition, first, end) if first < end else iter(())


def _asked_at(request_id: str) -> str:
    """Return the position of the request: a candidate's prediction has its place in the request behind it."""
    return request_id.partition("#")[0]


def _decoded(value: bytes) -> Outcome | None:
    # Boundary: a record of a version that this one does not know is no prediction of it.
    try:
        return _DECODER.decode(value)
    except msgspec.DecodeError:
        return None


def _ranges(offsets: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield ranges that hold the offsets, which ascend, with no great gap in any."""
    first = last = offsets[0]
    for offset in offsets:
        if offset - last > _MOST_BETWEEN:
            yield first, last + 1
            first = offset
        last = offset
    yield first, last + 1
