"""The joiner on a long log against a plain oracle: every count, every example, and how much is remembered on the way.

``python -m tests.property.joins_run --pairs 1000000`` lets `agents.join_labels.LabelJoiner` work off predictions and
labels in batches, opened anew now and then, as after a restart. The last line is one JSON object; exit code 1 where a
count, the examples or a balance differ, or where more is remembered the longer the log is.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Awaitable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import msgspec

from agents.context import RoleContext
from agents.join_labels import LabelJoiner, read_tally
from agents.metrics import Metrics
from agents.transport import Assigned, Log
from definitions.declared import ModelDefinition
from streams import joins
from streams.artefacts import ArtefactStore
from streams.messages import Example, LabelSeen, Outcome, Prediction, encode
from streams.records import Partition, RecordBatch
from streams.store import OnlineStore, Question
from streams.store.memory import MemoryStore
from tests.builders import label_definition, label_event_definition
from tests.learning import small_model
from tests.plain_join import PlainJoin
from tests.property.label_traffic import Traffic
from tests.records import GivenRecord

DAY_MS = 86_400_000
DISORDER_MS = 5 * 60_000
OUTCOMES = Partition("demo.late.v1.outcomes", 0, "outcomes")
_BATCH = 2_000
_LOOKS = 40
_RESTARTS = 23


def counted_model() -> ModelDefinition:
    """Return a model whose label has every policy that changes what is counted."""
    event = label_event_definition(disorder_ms=DISORDER_MS)
    return small_model(label=label_definition(event=event, otherwise=False, within_ms=DAY_MS, revised="replace"))


@dataclass
class Sink:
    """The end of the log that examples go to: kept as one number, whatever their order, and proven to be in order."""

    examples: int = 0
    sum: int = 0
    _last: tuple[int, int] = (0, -1)

    def produce(self, topic: str, value: bytes, *, key: bytes, headers: object) -> Awaitable[int]:
        """Take an example; it is acknowledged at once."""
        del topic, key, headers
        example = msgspec.json.decode(value, type=Example)
        position = (example.next, example.index)
        assert position > self._last, "two examples at one position, or out of order"
        self._last = position
        self.examples += 1
        self.sum += summand(example.label_key, example.at_ms, example.next, example.label, example.is_revision)
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        done.set_result(self.examples)
        return done

    def producer(self) -> Sink:
        """Return itself: it is the log as well."""
        return self


def summand(*found: Any) -> int:
    """Return an example as a number; those of all examples are added up."""
    return hash(found)


@dataclass
class Looks:
    """What was remembered at several places of the log."""

    cells: list[int] = field(default_factory=list)
    kilobytes: list[float] = field(default_factory=list)
    pending: list[int] = field(default_factory=list)

    def look(self, store: OnlineStore, model_key: str) -> None:
        """Count what the store holds for the join now."""
        fold = joins.fold(model_key)
        entities = store.entities(fold)
        found = store.read(Question(cells=[(fold, each) for each in entities])).cells
        states = [cell.state for cells in found for cell in cells.values()]
        self.cells.append(len(states))
        self.kilobytes.append(round(sum(map(len, states)) / 1024, 1))
        self.pending.append(read_tally(store, model_key).pending)

    def peaks(self) -> dict[str, list[Any]]:
        """Return the greatest of each quarter of the log."""
        size = max(1, -(-len(self.cells) // 4))
        parts = {"cells": self.cells, "kilobytes": self.kilobytes, "pending": self.pending}
        return {
            f"peak_{name}": [max(cast("list[float]", values)[at : at + size]) for at in range(0, len(values), size)]
            for name, values in parts.items()
        }


def tell(plain: PlainJoin, offset: int, outcome: Outcome) -> None:
    """Let the oracle hear one outcome."""
    if isinstance(outcome, Prediction):
        plain.prediction(offset, outcome.request_id, outcome.label_key, outcome.at_ms)
    elif isinstance(outcome, LabelSeen):
        source, _, place = outcome.source.rpartition("@")
        plain.label(offset, source, int(place), outcome.label_key, outcome.at_ms, outcome.label)
    else:
        plain.progress(offset, outcome.source, outcome.partitions, outcome.newest_ms, idle=outcome.idle)


def batches(outcomes: Iterable[Outcome]) -> Iterator[tuple[RecordBatch, list[Outcome]]]:
    """Yield the log in batches, as the joiner and as the oracle take it."""
    left, first = iter(outcomes), 0
    while part := list(itertools.islice(left, _BATCH)):
        records = [GivenRecord(first + place, encode(each)) for place, each in enumerate(part)]
        yield RecordBatch(OUTCOMES, 1, first, first + len(part), records), part
        first += len(part)


async def run(pairs: int, a_horizon: int, store: OnlineStore, *, seed: int = 0, quiet: bool = False) -> dict[str, Any]:
    """Work off a log of so many predictions; return what the JSON line says."""
    model = counted_model()
    assert model.label is not None
    sink, looks, took_s, outcomes = Sink(), Looks(), 0.0, 0
    plain = PlainJoin(within_ms=DAY_MS, disorder_ms=DISORDER_MS, otherwise=False, replaces=True)
    with tempfile.TemporaryDirectory() as folder:
        context = RoleContext("demo", cast("Log", sink), store, ArtefactStore(Path(folder)), Metrics("demo"))
        given = Assigned(OUTCOMES, 1, 0, 0, None)
        joiner = LabelJoiner(model, model.label, context, given)
        # About two outcomes a pair.
        look_every, restart_every = (max(1, 2 * pairs // _BATCH // each) for each in (_LOOKS, _RESTARTS))
        log = batches(Traffic(pairs, a_horizon, DAY_MS, DISORDER_MS, seed))
        for number, (batch, part) in enumerate(log, start=1):
            began_s = time.process_time()
            await joiner.apply(batch)
            took_s += time.process_time() - began_s
            for offset, outcome in enumerate(part, start=batch.first):
                tell(plain, offset, outcome)
            outcomes = batch.next
            if number % restart_every == 0:
                joiner = LabelJoiner(model, model.label, context, given)
            if number % look_every == 0:
                looks.look(store, model.key)
                if not quiet:
                    sys.stderr.write(f"{outcomes} outcomes, {looks.cells[-1]} cells, {looks.pending[-1]} pending\n")
    plain.end()
    ours = msgspec.structs.asdict(tally := read_tally(store, model.key))
    differing = {name: [count, plain.counts[name]] for name, count in ours.items() if count != plain.counts[name]}
    expected = sum(summand(*each) for each in plain.found)
    return {
        "pairs": pairs,
        "outcomes": outcomes,
        "counts": ours,
        "differing": differing,
        "imbalance": tally.imbalance,
        "examples": sink.examples,
        "examples_equal": (sink.examples, sink.sum) == (len(plain.found), expected),
        **looks.peaks(),
        "us_per_outcome": round(took_s / outcomes * 1e6, 1),
    }


def is_right(said: dict[str, Any]) -> bool:
    """Return whether nothing differs, and the last quarter remembers no more than the one before it."""
    *before, last = said["peak_cells"]
    is_bounded = last <= 1.05 * max(before[-2:])
    return not said["differing"] and not said["imbalance"] and said["examples_equal"] and is_bounded


def main() -> int:
    """Run; return 1 if something is not as the oracle says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=1_000_000)
    parser.add_argument("--a-horizon", type=int, default=50_000, help="how many predictions fall into one horizon")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    said = asyncio.run(run(given.pairs, given.a_horizon, MemoryStore(), seed=given.seed))
    sys.stdout.write(f"{json.dumps(said)}\n")
    return 0 if is_right(said) else 1


if __name__ == "__main__":
    sys.exit(main())
