"""Reads what the candidates of a micro-batch need, stage by stage, and keeps what the replies have to say of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from agents.metrics import Metrics
from agents.read_features import READ_MAX_MS, GuardedReads
from agents.serve_model import monotonic_ms
from definitions.declared import GraphDefinition, ViewDefinition
from online_models.graphs import Features, Read
from online_models.graphs.columns import Rows
from streams.candidates import CandidateReader, FoundCandidates
from streams.lookups import earlier
from streams.reading import Served
from streams.request_reply import Request

READ_ONE_MS = 0.1
"""What waiting for the store may take longer for each candidate that is read."""


class CandidateReads:
    """The reads of one graph: a reader for each set of views that some stage asks for together.

    Args:
        graph: whose views.
        reads: the online store.
        declared: all views that are declared, in all their versions.
        metrics: count round trips, and entities by view.
    """

    def __init__(
        self, graph: GraphDefinition, reads: GuardedReads, declared: Sequence[ViewDefinition], metrics: Metrics
    ) -> None:
        self.graph = graph
        self.reads = reads
        self.metrics = metrics
        self._declared = declared
        self._readers: dict[tuple[str, ...], CandidateReader] = {}

    def reader(self, views: Sequence[str]) -> CandidateReader:
        """Return the reader of these views. Cost: 0.1 ms a view the first time."""
        names = tuple(views)
        if names not in self._readers:
            self._readers[names] = CandidateReader(self.graph, names, self._declared)
        return self._readers[names]

    def of(self, requests: Sequence[Request], until_ms: float) -> Reading:
        """Return what reads for one micro-batch, which has to be answered by ``until_ms``."""
        return Reading(self, requests, until_ms)


class Reading:
    """The reads of one micro-batch."""

    def __init__(self, reads: CandidateReads, requests: Sequence[Request], until_ms: float) -> None:
        self.took_ms = 0.0
        self.views: dict[str, None] = {}
        """Keys of the view versions that were read."""
        self.absent: list[list[str]] = [[] for _ in requests]
        """Per request, the views that know nothing of its own entities."""
        self._as_of_ms: list[int | None] = []
        self._fetched: list[tuple[Sequence[Rows], FoundCandidates]] = []
        self._reads = reads
        self._requests = requests
        self._until_ms = until_ms

    @property
    def as_of_ms(self) -> int | None:
        """As of when the features are; None where that is not known, or nothing was read."""
        times = self._as_of_ms or [None]
        first = times[0]
        for time in times[1:]:
            first = earlier(first, time)
        return first

    def fetch(self, views: Sequence[str], wanted: Sequence[Rows]) -> Features | None:
        """Read views in one round trip: `online_models.graphs.FetchFeatures`."""
        begun_ms = monotonic_ms()
        candidates = [
            ({**request.entities, self._reads.graph.candidates.entity.name: ids[place]}, request.at_ms)
            for request, places in zip(self._requests, wanted, strict=True)
            if (ids := _ids(request))
            for place in places.tolist()
        ]
        found = self._reads.reader(views).read(
            [(request.entities, request.at_ms) for request in self._requests],
            candidates,
            partial(
                self._reads.reads.read,
                budget_ms=self._until_ms - begun_ms,
                longest_ms=READ_MAX_MS + READ_ONE_MS * len(candidates),
            ),
        )
        self._count(views, len(candidates))
        if found is None:
            self.took_ms += monotonic_ms() - begun_ms
            return None
        self._fetched.append((wanted, found))
        self.views.update(dict.fromkeys(view.key for view in found.views))
        self._as_of_ms += [each[0].as_of_ms for each in (found.requests, found.candidates) if each]
        for number, served in enumerate(found.requests):
            self.absent[number] += served.absent
        features = Features(self._read(views, found.candidates, True), self._read(views, found.requests, False))
        self.took_ms += monotonic_ms() - begun_ms
        return features

    def of_request(self, number: int) -> list[Served]:
        """Return what was read of a request's own entities."""
        return [found.requests[number] for _, found in self._fetched if found.requests]

    def of_candidates(self, number: int, places: Sequence[int]) -> dict[int, list[Served]]:
        """Return what was read of some of a request's candidates, by their places in it."""
        read: dict[int, list[Served]] = {place: [] for place in places}
        for wanted, found in self._fetched:
            if found.candidates:
                start = sum(map(len, wanted[:number]))
                for row, place in enumerate(wanted[number].tolist(), start):
                    if place in read:
                        read[place].append(found.candidates[row])
        return read

    def _read(self, views: Sequence[str], served: Sequence[Served], of_candidates: bool) -> Mapping[str, Read]:  # noqa: FBT001
        graph = self._reads.graph
        names = {view.name for view in graph.views if graph.is_of_candidates(view) == of_candidates} & {*views}
        return {name: _column(name, served) for name in sorted(graph.reads) if name.partition(".")[0] in names}

    def _count(self, views: Sequence[str], candidates: int) -> None:
        graph, metrics = self._reads.graph, self._reads.metrics
        metrics.count("graph_round_trips_total", graph=graph.name)
        for view in graph.views:
            if view.name in views:
                entities = candidates if graph.is_of_candidates(view) else len(self._requests)
                metrics.count("graph_entities_read_total", entities, graph=graph.name, view=view.name)


def _column(name: str, served: Sequence[Served]) -> Read:
    values = [each.values[name] for each in served]
    if not any(each.unanswerable for each in served):
        return Read(values)
    unread = np.array([name in each.unanswerable for each in served], dtype=np.bool_)
    return Read(values, unread if unread.any() else None)


def _ids(request: Request) -> Sequence[str | int]:
    return () if request.candidates is None else request.candidates.ids
