"""Recalls what personal models know of the entities of candidates, in one round trip when a stage asks such a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from agents.read_candidates import READ_ONE_MS
from agents.read_features import READ_MAX_MS, GuardedReads
from agents.recall_personal import PersonalReader, Remembered
from agents.serve_model import monotonic_ms
from definitions.declared import GraphDefinition
from definitions.encoder import Vector
from online_models.executor import Executor
from online_models.graphs.columns import Rows
from online_models.learners.restoring import LineUp
from streams.candidates import candidate_of
from streams.request_reply import Request
from streams.store import Question


@dataclass(frozen=True, slots=True)
class _Vectors:
    """Vectors of candidates, all of which a learner may see."""

    vectors: Sequence[Vector]
    line_up: LineUp
    refused: Mapping[int, str] = field(default_factory=dict)


class CandidateRecall:
    """What is remembered of the candidates of one micro-batch.

    Args:
        graph: what is asked.
        readers: model name to what reads its personal learners' cells.
        requests: of the micro-batch.
        models: the executors in force for it.
        reads: the online store.
        until_ms: when the answers have to be there.
    """

    def __init__(
        self,
        graph: GraphDefinition,
        readers: Mapping[str, PersonalReader],
        requests: Sequence[Request],
        models: Mapping[str, Executor | None],
        reads: GuardedReads,
        until_ms: float,
    ) -> None:
        self.remembered: dict[tuple[str, str], dict[tuple[int, int], Remembered]] = {}
        """(model, learner) to what it knows, by the number of the request and the candidate's place in it."""
        self._graph = graph
        self._readers = readers
        self._requests = requests
        self._models = models
        self._reads = reads
        self._until_ms = until_ms

    def recall(
        self, model: str, learner: str, wanted: Sequence[Rows], vectors: Sequence[Vector]
    ) -> Sequence[float] | None:
        """Return what a learner adds for each candidate: `online_models.graphs.Recall`.

        Cost: one round trip; then 20 us a candidate and kind of entity.
        """
        reader, executor = self._readers[model], self._models[model]
        places = [(number, place) for number, own in enumerate(wanted) for place in own.tolist()]
        asking = [candidate_of(self._graph, self._requests[number], place) for number, place in places]
        cells = reader.cells(asking)
        answer = self._reads.read(
            Question(cells=cells),
            budget_ms=self._until_ms - monotonic_ms(),
            longest_ms=READ_MAX_MS + READ_ONE_MS * len(places),
        )
        if answer is None or executor is None:
            return None
        held = dict(zip(cells, answer.cells, strict=True))
        found = reader.recall(asking, _Vectors(vectors, executor.line_up), held)[learner]
        self.remembered[model, learner] = {
            place: each for place, each in zip(places, found, strict=True) if each is not None
        }
        return [0.0 if each is None else each.added for each in found]
