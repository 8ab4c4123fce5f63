"""What an outcomes log comes to: by the join itself, replayed without interruption, and by a plain one of lists.

And what an examples log comes to: a fresh estimator that learns it from one end to the other.
"""

from __future__ import annotations

import asyncio
import json
import pickle
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from agents.personal_cells import POPULATION, PersonalCodec, named
from agents.transport.kafka import KafkaLog
from definitions.declared import LabelDefinition, ModelDefinition
from definitions.encoder import Encoder
from online_models.personal import Evidence, Instance, PersonalModel, Population
from online_models.snapshots import unseal
from streams import joins, topics
from streams.chain import Chain
from streams.joins import JoinCodec, JoinRule
from streams.joins.matching import Join
from streams.messages import Example, Outcome, encode
from streams.records import Partition
from streams.store import Question, Row, RowKey
from streams.store.memory import MemoryStore
from streams.store.redis import RedisStore
from tests.canonical import digest_of
from tests.chaos.truth import records

Position = tuple[str, int, int]
"""(outcomes partition, next, index)."""
Joined = Counter[tuple[int, str, int, str, str]]
"""How often (partition, label key, time asked, vector, label) was joined."""

_STEPS = 96


def rule_of(model: ModelDefinition) -> JoinRule:
    """Return the model's join rule."""
    label = label_of(model)
    return JoinRule(model.key, label.within_ms, label.event.disorder_ms, label.otherwise)


def label_of(model: ModelDefinition) -> LabelDefinition:
    """Return the label of a model that has one."""
    assert model.label is not None
    return model.label


def replayed(model: ModelDefinition, partition: Partition, log: Sequence[bytes]) -> dict[Position, bytes]:
    """Return the examples of one outcomes partition, as one join makes them that nobody interrupts."""
    store, decoder = MemoryStore(), msgspec.json.Decoder(Outcome)
    key = RowKey(joins.fold(model.key), partition)
    chain = Chain(store, key, store.create_row(key, Row(next=0, first=0)), JoinCodec(), cached_cells=10**9)
    join, found = Join(rule_of(model), partition.field, chain.load), dict[Position, bytes]()
    for offset, value in enumerate(log):
        for step in join.apply(offset, decoder.decode(value)):
            found |= {(each.outcomes, each.next, each.index): encode(each) for each in step.examples}
    return found


@dataclass
class _Key:
    """What one label key has met."""

    waiting: list[dict[str, Any]] = field(default_factory=list)
    asked: set[str] = field(default_factory=set)
    label: tuple[int, object] | None = None
    sources: dict[str, int] = field(default_factory=dict)


class PlainJoin:
    """A join of one outcomes partition by lists, written without ours."""

    def __init__(self, label: LabelDefinition, index: int) -> None:
        self.found: Joined = Counter()
        self._label = label
        self._index = index
        self._keys: dict[str, _Key] = defaultdict(_Key)
        self._open: set[str] = set()
        """Keys that wait: a progress record looks at no other."""
        self._newest: dict[str, int] = {}
        self._idle: set[str] = set()
        self._passed = 0
        self._step_ms = max(1, label.within_ms // _STEPS)

    def take(self, record: dict[str, Any]) -> None:
        """Take the next record of the log."""
        if record["kind"] == "progress":
            self._pass_time(record)
        elif not self._is_over(record) and self._is_news(record):
            self._match(record["label_key"])

    def _is_over(self, record: dict[str, Any]) -> bool:
        return bool((record["at_ms"] + self._label.within_ms) // self._step_ms < self._passed)

    def _is_news(self, record: dict[str, Any]) -> bool:
        key = self._keys[record["label_key"]]
        if record["kind"] == "prediction":
            if record["request_id"] in key.asked:
                return False
            key.asked.add(record["request_id"])
            key.waiting.append(record)
            self._open.add(record["label_key"])
            return True
        source, _, at = record["source"].rpartition("@")
        if int(at) <= key.sources.get(source, -1):
            return False
        key.sources[source], key.label = int(at), (record["at_ms"], record["label"])
        return True

    def _match(self, name: str) -> None:
        key = self._keys[name]
        if key.label is not None:
            happened_ms, label = key.label
            due = [each for each in key.waiting if happened_ms <= each["at_ms"] + self._label.within_ms]
            self._end(name, due, label)

    def _end(self, name: str, due: Sequence[dict[str, Any]], label: object) -> None:
        self._keys[name].waiting = [each for each in self._keys[name].waiting if each not in due]
        if not self._keys[name].waiting:
            self._open.discard(name)
        for each in due:
            self.found[self._index, name, each["at_ms"], json.dumps(each["vector"]), json.dumps(label)] += 1

    def _pass_time(self, record: dict[str, Any]) -> None:
        source, at_ms = record["source"], record["newest_ms"]
        self._newest[source] = max(self._newest.get(source, at_ms), at_ms)
        self._idle = self._idle | {source} if record.get("idle") else self._idle - {source}
        holding = [newest for each, newest in self._newest.items() if each not in self._idle]
        if len(self._newest) == record["partitions"] and holding:
            behind = (min(holding) - self._label.event.disorder_ms) // self._step_ms
            if behind <= self._passed:
                return
            self._passed = behind
        for name in list(self._open):
            over = [each for each in self._keys[name].waiting if self._is_over(each)]
            if over and self._label.otherwise is not None:
                self._end(name, over, self._label.otherwise)


def joined_plainly(model: ModelDefinition, index: int, log: Sequence[bytes]) -> Joined:
    """Return what one outcomes partition comes to."""
    join = PlainJoin(label_of(model), index)
    for line in log:
        join.take(json.loads(line))
    return join.found


def joined_log(
    kafka: str, store: RedisStore, namespace: str, model: ModelDefinition
) -> Mapping[Partition, Sequence[bytes]]:
    """Return each outcomes partition's records, as far as they are joined."""
    [rows] = store.read(Question(folds=[joins.fold(model.key)]), timeout_ms=10_000).rows
    topic, log = topics.outcomes(namespace, model), defaultdict[int, list[bytes]](list)
    for message in records(kafka, topic):
        log[message.partition() or 0].append(message.value() or b"")
    found = {each: log[each.index] for each in asyncio.run(_partitions(kafka, topic))}
    return {each: values[: rows[each.field].row.next] for each, values in found.items() if each.field in rows}


async def _partitions(kafka: str, topic: str) -> Sequence[Partition]:
    log = KafkaLog(kafka)
    found = await log.partitions(topic)
    await log.close()
    return found


def ends_of(kafka: str, topic: str) -> list[int]:
    """Return the end of each partition of a topic."""

    async def ask() -> list[int]:
        log = KafkaLog(kafka)
        found = await log.ends(await log.partitions(topic))
        await log.close()
        return found

    return asyncio.run(ask())


def position_of(value: bytes) -> Position:
    """Return where an example comes from."""
    example = json.loads(value)
    return example["outcomes"], example["next"], example["index"]


def as_joined(examples: Iterable[bytes]) -> Joined:
    """Return examples as the plain join counts them."""
    found: Joined = Counter()
    for each in map(json.loads, examples):
        index = int(each["outcomes"].rpartition("/")[2])
        found[index, each["label_key"], each["at_ms"], json.dumps(each["vector"]), json.dumps(each["label"])] += 1
    return found


def in_order(log: Sequence[bytes]) -> Iterator[Example]:
    """Yield the examples of a log, each once: what is at or below the position of its outcomes partition is a copy."""
    reached: dict[str, tuple[int, int]] = {}
    for value in log:
        example = msgspec.json.decode(value, type=Example)
        if (example.next, example.index) > reached.get(example.outcomes, (0, -1)):
            reached[example.outcomes] = (example.next, example.index)
            yield example


def learned(model: ModelDefinition, kind: str, examples: Sequence[Example]) -> str:
    """Return the canonical digest of a fresh estimator that learned the examples, test then train."""
    factory = model.learners[kind].factory
    assert factory is not None
    estimator: Any = factory()
    encoder = Encoder(model.inputs)
    for example in examples:
        features = encoder.mapping(example.vector)
        estimator.predict_proba_one(features)
        estimator.learn_one(features, example.label)
    return digest_of(estimator)


def personal(model: ModelDefinition, name: str, examples: Sequence[Example]) -> dict[str, bytes]:
    """Return the cells that a personal learner comes to by the examples, in a loop without store or chain."""
    definition = model.learners[name]
    learner = PersonalModel(definition, model.inputs)
    population, known, offset = learner.population(), dict[str, Evidence](), learner.offset
    for each in examples:
        cells = named(definition, each.entities)
        evidence = [None if cell is None else known.setdefault(cell, learner.fresh(population)) for cell in cells]
        if any(cells):
            learner.learn(Instance(each.vector, each.scores[offset], "", each.label, each.at_ms), evidence, population)
    encode_cell = PersonalCodec().encode
    states: Mapping[str, Evidence | Population] = {**known, POPULATION: population}
    return {cell: encode_cell(state) or b"" for cell, state in states.items()}


def cells_in(store: RedisStore, name: str, cells: Sequence[str]) -> dict[str, bytes]:
    """Return what a store holds of cells of a fold that is of one partition."""
    found = store.read(Question(cells=[(name, cell) for cell in cells]), timeout_ms=60_000).cells
    return {cell: held.state for cell, by_partition in zip(cells, found, strict=True) for held in by_partition.values()}


def state_in(data: bytes, digest: str) -> tuple[int, str]:
    """Return how many examples a snapshot says it learned, and the canonical digest of its estimator."""
    snapshot = unseal(data, digest)
    return snapshot.learned, digest_of(pickle.loads(snapshot.state))  # noqa: S301  # our own processes wrote it
