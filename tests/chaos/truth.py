"""What the topic itself says, by lists and loops; and how far what is stored is from it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from confluent_kafka import Consumer, Message, TopicPartition

from definitions.declared import ViewDefinition
from streams import topics
from streams.copies import copier_fold
from streams.intake import FOLD
from streams.reading import FeatureReader
from streams.store import Row
from streams.store.redis import RedisStore
from tests.chaos.stage import DEADLINE_S, START_MS, Stage

_DISORDER_MS = 60_000
_A_READ = 500


@dataclass
class Truth:
    """What a topic of sales comes to."""

    records: int = 0
    by: dict[str, Counter[str]] = field(default_factory=lambda: {name: Counter() for name in ("user", "shop")})
    cents: dict[str, Counter[str]] = field(default_factory=lambda: {name: Counter() for name in ("user", "shop")})
    missing: Counter[str] = field(default_factory=Counter)
    late: Counter[str] = field(default_factory=Counter)
    dead: dict[tuple[int, int], bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """How far what is stored is from the topic."""

    lost: int
    counted_twice: int
    problems: Sequence[str]


def judge(stage: Stage) -> Verdict:
    """Compare every tally, every value and every dead letter with the topic, and add what `headrace audit` says."""
    truth, store = _truth(stage), stage.store()
    problems: list[str] = []
    lost = twice = 0
    try:
        for view in stage.app().views:
            few, many = _values(store, view, truth, problems)
            lost, twice = lost + few, twice + many
            _tallies(stage, view, truth, problems)
        _intake(stage, truth, problems)
    finally:
        store.close()
    lost += _letters(stage, truth, problems)
    audit = stage.headrace("audit", "--json")
    found = json.loads(audit.stdout or "{}")
    if audit.returncode or found["problems"]:
        problems.append(f"headrace audit ended with {audit.returncode}: {audit.stderr[-500:]}")
    return Verdict(lost + found.get("lost", 0), twice + found.get("counted_twice", 0), problems)


def _truth(stage: Stage) -> Truth:
    truth = Truth()
    newest: dict[int, int] = {}
    for message in records(stage.kafka, stage.topic):
        truth.records += 1
        sale, partition = json.loads(message.value() or b""), message.partition() or 0
        if not isinstance(sale["cents"], int):
            truth.dead[partition, message.offset() or 0] = message.value() or b""
            continue
        newest[partition] = max(newest.get(partition, 0), sale["at"])
        late = newest[partition] - sale["at"] > _DISORDER_MS
        for name in ("user", "shop"):
            if sale[name] is None:
                truth.missing[name] += 1
            else:
                truth.by[name][sale[name]] += 1
                truth.cents[name][sale[name]] += sale["cents"]
                truth.late[name] += late
    return truth


def _values(store: RedisStore, view: ViewDefinition, truth: Truth, problems: list[str]) -> tuple[int, int]:
    """Return (lost, counted twice) over all entities of a view."""
    name, reader = view.entity_names[0], FeatureReader([view])
    lost = twice = 0
    entities = sorted(truth.by[name])
    as_of_ms = START_MS + truth.records
    for begin in range(0, len(entities), _A_READ):
        some = entities[begin : begin + _A_READ]
        question = reader.question([{name: entity} for entity in some])
        answer = store.read(question, timeout_ms=10_000)
        for place, entity in enumerate(some):
            values = reader.serve(question, answer, place, as_of_ms).values
            held, cents = values[f"{view.name}.sales_7d"] or 0, values[f"{view.name}.cents_7d"] or 0
            assert isinstance(held, int)
            lost += max(0, truth.by[name][entity] - held)
            twice += max(0, held - truth.by[name][entity])
            if (held, cents) != (truth.by[name][entity], truth.cents[name][entity]):
                problems.append(f"{view.name} of {entity}: expected {truth.by[name][entity]} sales, got {held}")
    return lost, twice


def _tallies(stage: Stage, view: ViewDefinition, truth: Truth, problems: list[str]) -> None:
    """Compare the tallies of a view; of one that reads copies, those of the copier, too."""
    name, [source] = view.entity_names[0], view.sources
    applied, aside = {"applied": sum(truth.by[name].values())}, {"no_entity": truth.missing[name]}
    dead = {"dead": len(truth.dead)}
    if not source.rekey:
        _compare(view.name, stage.rows(view.key, ""), {**applied, "late": truth.late[name], **aside, **dead}, problems)
        return
    # In which order copies from several partitions meet, and so which of them are late, is not decided.
    _compare(view.name, stage.rows(view.key, ""), {**applied, "no_entity": 0, "dead": 0}, problems)
    copier = copier_fold(source.event.topic)
    _compare(copier, stage.rows(copier, ""), {**applied, **aside, **dead}, problems)


def _compare(name: str, rows: Sequence[Row], should: Mapping[str, int], problems: list[str]) -> None:
    held = {each: sum(getattr(row, each) for row in rows) for each in should}
    if held != should:
        problems.append(f"{name}: expected {dict(should)}, got {held}")


def _intake(stage: Stage, truth: Truth, problems: list[str]) -> None:
    rows = stage.rows(FOLD, stage.topic_id)
    held = (sum(row.applied for row in rows), sum(row.dead for row in rows))
    if held != (truth.records - len(truth.dead), len(truth.dead)):
        problems.append(f"intake: expected {len(truth.dead)} dead of {truth.records}, got {held}")


def _letters(stage: Stage, truth: Truth, problems: list[str]) -> int:
    """Return how many dead letters are missing."""
    there: dict[tuple[int, int], bytes] = {}
    for letter in records(stage.kafka, topics.dead_letters(stage.name, stage.topic)):
        headers = dict(letter.headers() or ())
        there[int(headers["dlq.partition"] or b""), int(headers["dlq.offset"] or b"")] = letter.value() or b""
    if there != truth.dead:
        problems.append(f"dead letters: expected {len(truth.dead)}, got {len(there)} or other bytes")
    return len(truth.dead.keys() - there.keys())


def records(kafka: str, topic: str) -> Iterator[Message]:
    """Yield everything in a topic, partition by partition in order."""
    reader = Consumer({"bootstrap.servers": kafka, "group.id": topic, "enable.auto.commit": False, "log_level": 0})
    try:
        partitions = reader.list_topics(topic, timeout=30).topics[topic].partitions
        spans = [TopicPartition(topic, index, 0) for index in partitions]
        expected = sum(reader.get_watermark_offsets(span, timeout=30)[1] for span in spans)
        reader.assign(spans)
        until = datetime.now(UTC).timestamp() + DEADLINE_S
        while expected:
            for message in reader.consume(10_000, 0.2):
                if message.error() is None:
                    expected -= 1
                    yield message
            assert datetime.now(UTC).timestamp() < until, f"{topic}: {expected} records do not come"
    finally:
        reader.close()
