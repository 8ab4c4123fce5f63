"""What unusable records cost: the same payments clean, and with one in a hundred of them poison.

``python -m tests.bench.bench_poison``. Each topic is read by the features role in turns. Every poison record must be in
the dead-letter topic byte for byte, under the position it came from, and no other. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from confluent_kafka import Consumer, Message, TopicPartition

from streams import topics
from tests.bench.card_features import project
from tests.bench.catching_up import catch_up, prove
from tests.bench.local_kafka import local_kafka, local_redis, say
from tests.bench.payments import Payments, Produced, fill

POISON_EVERY = 100

POISONS: tuple[Callable[[int, bytes], bytes], ...] = (
    lambda number, value: value[:-12] + b"#%d" % number,  # cut off
    lambda number, value: b"%d not JSON" % number,  # noqa: ARG005
    lambda number, value: value.replace(b'"amount":', b'"amount":"%d",":":' % number),  # a text for a number
    lambda number, value: value.replace(b'"card"', b'"cord%d"' % number),  # a field that is missing
    lambda number, value: b"\xff\xfe%d" % number + value,  # no UTF-8
    lambda number, value: b"[%d,%b]" % (number, value),  # no object
)
"""How a record is spoiled; its number keeps every one different from every other."""

_READ_S = 60.0

Place = tuple[int, int]
"""Partition and offset."""


def poisoned(payments: Payments) -> Iterator[Produced]:
    """Return the payments, every hundredth of them spoiled, each kind in its turn."""
    for number, (key, value) in enumerate(payments.records()):
        if number % POISON_EVERY:
            yield key, value
        else:
            yield key, POISONS[number // POISON_EVERY % len(POISONS)](number, value)


def measure(kafka: str, redis_url: str, count: int, rounds: int) -> dict[str, Any]:
    """Return both rates, and how the dead letters compare with the poison."""
    payments, run = Payments(count=count), uuid.uuid4().hex[:8]
    names = {"clean": f"clean-{run}", "poison": f"poison-{run}"}
    fill(kafka, names["clean"], payments.records())
    fill(kafka, names["poison"], poisoned(payments))
    spoiled = {value for number, (_, value) in enumerate(poisoned(payments)) if number % POISON_EVERY == 0}
    sent = {
        place_of(message): message.value() or b""
        for message in everything(kafka, names["poison"])
        if message.value() in spoiled
    }
    rates: dict[str, list[float]] = {"clean": [], "poison": []}
    compared: list[dict[str, int]] = []
    for round_ in range(rounds):
        for kind, topic in names.items():
            namespace = f"{kind}-{uuid.uuid4().hex[:8]}"
            with project(namespace, topic, kafka=kafka, redis_url=redis_url) as made, made.store() as store:
                found = catch_up(made, store, count)
                if kind == "clean":
                    prove(made, store, payments)
                else:
                    compared.append(compare(kafka, topics.dead_letters(namespace, topic), sent))
                    compared[-1]["tallied"] = sum(row.dead for row in made.rows(store).values())
            rates[kind].append(found.cost.per_s)
            say(f"round {round_ + 1}/{rounds} {kind}: {found.cost.per_s:,.0f}/s")
    clean, poison = statistics.median(rates["clean"]), statistics.median(rates["poison"])
    worst = {name: (min if name == "identical" else max)(each[name] for each in compared) for name in compared[0]}
    return {
        "ratio": round(poison / clean, 3),
        "clean_per_s": round(clean),
        "poison_per_s": round(poison),
        "events": count,
        "poison": len(sent),
        **{f"dlq_{name}": value for name, value in worst.items()},
        "rounds": rounds,
    }


def compare(kafka: str, topic: str, sent: dict[Place, bytes]) -> dict[str, int]:
    """Return how many dead letters are what was sent, how many are not there, and how many are something else."""
    letters = everything(kafka, topic)
    found = {source_of(letter): letter.value() or b"" for letter in letters}
    identical = sum(found.get(place) == value for place, value in sent.items())
    return {
        "identical": identical,
        "missing": sum(place not in found for place in sent),
        "altered": sum(place in found for place in sent) - identical,
        "foreign": sum(place not in sent for place in found),
        "repeated": len(letters) - len(found),
    }


def everything(kafka: str, topic: str) -> list[Message]:
    """Return every record of a topic.

    Raises:
        TimeoutError: it could not be read in a minute.
    """
    reader = Consumer({"bootstrap.servers": kafka, "group.id": f"reader-{topic}", "enable.auto.commit": False})
    try:
        spans = [
            TopicPartition(topic, index, 0) for index in reader.list_topics(topic, timeout=10).topics[topic].partitions
        ]
        expected = sum(reader.get_watermark_offsets(span, timeout=10)[1] for span in spans)
        reader.assign(spans)
        found: list[Message] = []
        until_s = time.monotonic() + _READ_S
        while len(found) < expected:
            if time.monotonic() > until_s:
                raise TimeoutError(f"{topic}: {len(found)} of {expected} records read in {_READ_S:.0f} s")
            found += [each for each in reader.consume(10_000, 0.2) if each.error() is None]
    finally:
        reader.close()
    return found


def place_of(message: Message) -> Place:
    """Return where a record is."""
    return message.partition() or 0, message.offset() or 0


def source_of(letter: Message) -> Place:
    """Return where a dead letter's record was."""
    headers = dict(letter.headers() or ())
    return int(headers["dlq.partition"] or b""), int(headers["dlq.offset"] or b"")


def main() -> None:
    """Measure; the exit code is 1 where a poison record was lost or altered."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=600_000)
    parser.add_argument("--rounds", type=int, default=7)
    asked = parser.parse_args()
    with local_kafka() as kafka, local_redis() as redis_url:
        result = measure(kafka, redis_url, asked.events, asked.rounds)
    sys.stdout.write(json.dumps(result) + "\n")
    sys.exit(result["dlq_identical"] != result["poison"] or result["dlq_tallied"] != result["poison"])


if __name__ == "__main__":
    main()
