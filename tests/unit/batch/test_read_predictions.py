"""Predictions are joined with the requests that they answered, in the order of the broker's clock."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from batch.read_predictions import PredictionReader, Probe, Unread
from streams import topics
from streams.messages import LabelSeen, Prediction, ScoreRequest, encode
from streams.records import Partition, RecordBatch
from streams.request_reply import ReplyTo
from streams.request_reply.writer import request_headers
from tests.records import GivenRecord, batch_of
from tests.unit.batch.flights import START_MS, flights_model

NAMESPACE = "ns"
MODEL = flights_model()
REQUESTS, OUTCOMES = topics.requests(NAMESPACE, MODEL), topics.outcomes(NAMESPACE, MODEL)
POSITIONS = {"origin_traffic.v1.0": {"tid/0": 7}}


@dataclass
class RecordsHistory:
    """A history of records, of which the log still holds those from ``oldest`` on."""

    topics: Mapping[str, Sequence[Sequence[GivenRecord]]]
    oldest: int = 0
    reads: list[tuple[int, int]] = field(default_factory=list)

    def partitions(self, topic: str) -> Sequence[Partition]:
        """Return the topic's partitions."""
        return [Partition(topic, index, topic) for index in range(len(self.topics.get(topic, ())))]

    def bounds(self, partition: Partition) -> tuple[int, int]:
        """Return the oldest offset of requests, and the end."""
        records = self.topics[partition.topic][partition.index]
        return self.oldest if partition.topic == REQUESTS else 0, records[-1].offset() + 1 if records else 0

    def read(self, partition: Partition, first: int, end: int) -> Iterator[RecordBatch]:
        """Return what there is of the range."""
        if partition.topic == REQUESTS:
            self.reads.append((first, end))
        records = [each for each in self.topics[partition.topic][partition.index] if first <= each.offset() < end]
        yield batch_of(partition, records, first=first, end=end)


def request(offset: int, flight: str, origin: str = "JFK") -> GivenRecord:
    """Return the record of a request."""
    body = ScoreRequest(
        model="late",
        entities={"origin": origin},
        inputs={"distance": 100, "carrier": "AA"},
        label_key=flight,
        at=START_MS,
    )
    headers = request_headers(ReplyTo(topics.replies(NAMESPACE), b"c", 0), 1_000)
    return GivenRecord(offset, encode(body), headers=headers)


def prediction(offset: int, asked: str, flight: str, *, appended_ms: int = 1) -> GivenRecord:
    """Return the record of the answer to the request at ``asked``."""
    said = Prediction(
        request_id=f"{REQUESTS}/{asked}",
        model=MODEL.key,
        release="r",
        label_key=flight,
        at_ms=START_MS,
        vector=[1, 2.0],
        ages_ms=[60_000, None],
        scores={},
        versions=[],
        champion="offline",
        status="ok",
        positions=POSITIONS,
        features_as_of=None,
    )
    return GivenRecord(offset, encode(said), appended_ms=appended_ms)


def read(history: RecordsHistory, *, sample: float = 1.0) -> list[Probe | Unread]:
    """Return all that is read."""
    reader = PredictionReader(MODEL, NAMESPACE, history, sample=sample)
    return list(reader.read(reader.spans()))


def test_a_probe_says_what_was_served_and_whom_it_was_about() -> None:
    other = [
        GivenRecord(0, b"{oops"),
        GivenRecord(1, None),
        GivenRecord(2, encode(LabelSeen(label_key="f", at_ms=1, label=True, source="s"))),
    ]
    history = RecordsHistory({REQUESTS: [[request(4, "f", "LGA")]], OUTCOMES: [[*other, prediction(3, "0@4", "f")]]})

    [probe] = read(history)

    assert probe == Probe(
        request_id=f"{REQUESTS}/0@4",
        at_ms=START_MS,
        release="r",
        entities={"origin": "LGA"},
        inputs={"distance": 100.0, "carrier": "AA"},
        vector=[1, 2.0],
        positions=POSITIONS,
        ages_ms=[60_000, None],
    )


def test_partitions_are_merged_by_the_time_of_the_broker() -> None:
    requests = [[request(number, f"f{number}") for number in range(4)]]
    first = [prediction(0, "0@0", "f0", appended_ms=10), prediction(1, "0@3", "f3", appended_ms=40)]
    second = [prediction(0, "0@1", "f1", appended_ms=20), prediction(1, "0@2", "f2", appended_ms=30)]

    found = read(RecordsHistory({REQUESTS: requests, OUTCOMES: [first, second]}))

    assert [each.request_id for each in found] == [f"{REQUESTS}/0@{number}" for number in range(4)]


def test_a_prediction_whose_request_is_forgotten_another_one_s_or_of_no_topic_is_unread() -> None:
    requests = [[request(0, "f0"), request(1, "f1"), request(2, "f2")]]
    said = [
        prediction(0, "0@0", "f0"),
        prediction(1, "0@1", "another"),
        prediction(2, "0@2", "f2"),
        prediction(3, "7@0", "f0"),
        prediction(4, "0@99", "f2"),
    ]

    found = read(RecordsHistory({REQUESTS: requests, OUTCOMES: [said]}, oldest=1))

    assert [type(each) for each in found] == [Unread, Unread, Probe, Unread, Unread]


def test_requests_that_lie_far_apart_are_not_read_over() -> None:
    requests = [[request(5, "f"), request(1_000_000, "g")]]
    history = RecordsHistory(
        {REQUESTS: requests, OUTCOMES: [[prediction(0, "0@1000000", "g"), prediction(1, "0@5", "f")]]}
    )

    assert [type(each) for each in read(history)] == [Probe, Probe]
    assert history.reads == [(5, 6), (1_000_000, 1_000_001)]


def test_a_sample_is_a_share_and_the_same_every_time() -> None:
    requests = [[request(number, "f") for number in range(2_500)]]
    said = [[prediction(number, f"0@{number}", "f") for number in range(2_500)]]
    history = RecordsHistory({REQUESTS: requests, OUTCOMES: said})

    once, again, more = read(history, sample=0.2), read(history, sample=0.2), read(history, sample=0.4)

    assert once == again
    assert 400 < len(once) < 600
    assert {each.request_id for each in once} < {each.request_id for each in more}


def test_what_came_behind_a_span_is_the_next_span() -> None:
    outcomes = [[prediction(0, "0@0", "f")], []]
    history = RecordsHistory({REQUESTS: [[request(0, "f")]], OUTCOMES: outcomes})
    reader = PredictionReader(MODEL, NAMESPACE, history)
    first = reader.spans()
    outcomes[0].append(prediction(1, "0@0", "f"))
    outcomes[1].append(prediction(0, "0@0", "f"))

    assert list(first.values()) == [(0, 1), (0, 0)]
    assert list(reader.spans(after=first).values()) == [(1, 2), (0, 1)]
