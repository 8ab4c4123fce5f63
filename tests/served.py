"""A small online world in memory: logs applied as the roles do it, answers read as scoring reads them, as probes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import msgspec

from batch.history import History
from batch.parity import Parity
from batch.prove_parity import ParityProof
from batch.read_predictions import Probe, Unread
from batch.replay_exactly import LogReplay
from batch.serve_again import sources_of
from definitions.declared import ModelDefinition, Source, ViewDefinition
from definitions.values import Value
from streams.chain import Chain
from streams.engine import Engine
from streams.intake import Intake
from streams.lookups import LookupReader, row_of
from streams.reading import Asked, FeatureReader, Served
from streams.records import Partition
from streams.store import OnlineStore, Row, RowKey
from streams.store.memory import MemoryStore
from streams.vectors import VectorLayout
from tests.builders import model_definition

_PATIENT_MS = 10_000

INPUTS: Mapping[str, Value] = {"distance": 100.0, "carrier": "AA"}


class Serving:
    """Views kept live on a history, as far as a test applies it."""

    def __init__(
        self,
        views: Sequence[ViewDefinition],
        history: History,
        store: OnlineStore | None = None,
        *,
        model: ModelDefinition | None = None,
    ) -> None:
        self.model = model_definition(views=views) if model is None else model
        self.store = MemoryStore() if store is None else store
        self.sources = tuple(source for view in self.model.all_views for source in view.sources)
        self._history = history
        self._reader = FeatureReader(self.model.views)
        self._looked = LookupReader(self.model.lookups)
        self._layout = VectorLayout.of(self.model)
        self._asked = 0
        self._chains: dict[tuple[str, int], Chain[list[object]]] = {}
        self._engines = {source.key: Engine(source) for source in self.sources}
        for source in self.sources:
            for partition in history.partitions(source.event.topic):
                key = RowKey(source.key, partition)
                stored = self.store.create_row(key, Row(next=0, first=0))
                codec = self._engines[source.key].codec
                self._chains[source.key, partition.index] = Chain(self.store, key, stored, codec)

    def apply(self, source: Source, index: int, count: int | None = None) -> None:
        """Apply the next ``count`` records of a partition to one source, all by default."""
        chain, engine = self._chains[source.key, index], self._engines[source.key]
        end = self._history.bounds(chain.key.partition)[1]
        until = end if count is None else min(end, chain.row.next + count)
        for batch in self._history.read(chain.key.partition, chain.row.next, until):
            applied = engine.apply(chain.row, chain.load, Intake(source.event).read(batch))
            if applied.row is not chain.row:
                chain.commit(applied.row, applied.changed)

    def apply_all(self) -> None:
        """Apply all that there is."""
        for source in self.sources:
            for partition in self._history.partitions(source.event.topic):
                self.apply(source, partition.index)

    def serve_many(self, asked: Sequence[tuple[Asked, int]]) -> list[Probe]:
        """Answer questions, (entities, time) each, in one read, as scoring does."""
        question = self._reader.question([entities for entities, _ in asked])
        answer = self.store.read(question, timeout_ms=_PATIENT_MS)
        return [
            self._probe(entities, at_ms, self._reader.serve(question, answer, index, at_ms))
            for index, (entities, at_ms) in enumerate(asked)
        ]

    def serve(self, entities: Asked, at_ms: int) -> Probe:
        """Answer one question; return the prediction as it comes out of the log again."""
        [probe] = self.serve_many([(entities, at_ms)])
        return msgspec.json.decode(msgspec.json.encode(probe), type=Probe)

    def look_up(
        self, entities: Asked, at_ms: int, inputs: Mapping[str, Value], *, between: Callable[[], None] = lambda: None
    ) -> Probe:
        """Answer one question in two reads, as scoring does where a model has lookups.

        Args:
            entities: of the request.
            at_ms: the time asked about.
            inputs: of the request.
            between: what happens between the two reads.
        """
        question = self._reader.question([entities])
        served = self._reader.serve(question, self.store.read(question, timeout_ms=_PATIENT_MS), 0, at_ms)
        between()
        row = row_of(served, inputs, at_ms)
        second = self._looked.question([row])
        answer = self.store.read(second, timeout_ms=_PATIENT_MS)
        probe = self._probe(
            entities, at_ms, self._looked.serve(second, answer, 0, row, after=served, at_ms=at_ms), inputs
        )
        return msgspec.json.decode(msgspec.json.encode(probe), type=Probe)

    def row(self, source: Source, index: int) -> Row:
        """Return how far a source has come in a partition."""
        return self._chains[source.key, index].row

    def _probe(self, entities: Asked, at_ms: int, served: Served, inputs: Mapping[str, Value] = INPUTS) -> Probe:
        self._asked += 1
        return Probe(
            request_id=f"late.requests/0@{self._asked}",
            at_ms=at_ms,
            release="",
            entities=entities,
            inputs=inputs,
            vector=self._layout.vector(row_of(served, inputs, at_ms)),
            positions=served.positions,
            ages_ms=self._layout.ages_ms(served.ages_ms()),
        )


def prove(
    model: ModelDefinition,
    history: History,
    store: OnlineStore,
    probes: Iterable[Probe | Unread],
    *,
    hindsight: bool = True,
    mutant: Callable[[Source], Source] = lambda source: source,
) -> Parity:
    """Prove probes against a history, with a replay of each source as ``mutant`` returns it."""
    sources = {name: mutant(source) for name, source in sources_of(model).items()}

    proof = ParityProof(model, lambda: LogReplay(sources, history, store, hindsight=hindsight), hindsight=hindsight)
    for probe in probes:
        proof.take(probe)
    return proof.finish()


def with_position(probe: Probe, source: Source, partition: Partition, position: int) -> Probe:
    """Return the probe as if it had contained another prefix of one partition."""
    reached = {**probe.positions[source.key], partition.field: position}
    return replace(probe, positions={**probe.positions, source.key: reached})
