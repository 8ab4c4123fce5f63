"""Features of requests and of many candidates, in one round trip, from one version of each view."""

from __future__ import annotations

from dataclasses import replace

from definitions.declared import GraphDefinition
from streams.candidates import CandidateReader, narrowed
from streams.reading import FeatureReader
from streams.records import Partition
from streams.store import Answer, Question, Row, RowKey
from streams.store.memory import MemoryStore
from streams.switching import switch
from streams.versions import InForce
from tests.builders import view_definition
from tests.ranking import graph

AT_MS = 1_700_000_000_000
GRAPH: GraphDefinition = graph()
TRAFFIC, TAILS, PAIRS = GRAPH.views


class Counted:
    """A store that counts how often it is read."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.questions: list[Question] = []

    def read(self, question: Question) -> Answer:
        self.questions.append(question)
        return self.store.read(question)


def test_requests_and_candidates_come_in_one_round_trip() -> None:
    store = Counted()
    for view in GRAPH.views:
        store.store.create_row(RowKey(view.key, Partition("flights.departed", 0, "t")), Row(next=7, first=0))
    reader = CandidateReader(GRAPH, ("traffic", "tails", "pairs"))
    requests = [({"tail": "N1"}, AT_MS), ({"tail": "N2"}, AT_MS)]
    candidates = [({"tail": "N1", "origin": "JFK"}, AT_MS), ({"tail": "N2", "origin": "JFK"}, AT_MS)]

    found = reader.read(requests, candidates, store.read)

    assert found is not None
    [question] = store.questions
    assert sorted(question.cells) == sorted(
        [(TAILS.key, "N1"), (TAILS.key, "N2"), (TRAFFIC.key, "JFK"), (PAIRS.key, '["N1","JFK"]'),
         (PAIRS.key, '["N2","JFK"]')]
    )  # fmt: skip
    assert [each.absent for each in found.requests] == [("tails",), ("tails",)]
    assert [sorted(each.absent) for each in found.candidates] == [["pairs", "traffic"]] * 2
    assert [each.positions[TAILS.key] for each in found.requests] == [{"t/0": 7}] * 2


def test_a_switch_is_followed_by_one_more_round_trip_once() -> None:
    store = Counted()
    newer = replace(TRAFFIC, version=2)
    reader = CandidateReader(GRAPH, ("traffic",), [TRAFFIC, newer])
    switch(store.store, InForce(TRAFFIC.key, TRAFFIC.key), newer)

    for _ in range(2):
        found = reader.read([({}, AT_MS)], [({"origin": "JFK"}, AT_MS)], store.read)
        assert found is not None
        assert [view.key for view in found.views] == [newer.key]

    assert len(store.questions) == 3


def test_nothing_is_found_where_the_store_does_not_answer() -> None:
    assert CandidateReader(GRAPH, ("traffic",)).read([({}, AT_MS)], [], lambda _: None) is None


def test_a_narrowed_view_keeps_a_feature_of_every_window_and_what_expressions_read() -> None:
    view = view_definition()
    name = view.features[-1].name

    found = narrowed(view, {f"{view.name}.{name}", "other.feature"})

    assert found.key == view.key
    assert {each.window for each in found.features} >= {"1h", "24h"}
    assert name in {each.name for each in found.features}
    served = FeatureReader([found]), FeatureReader([view])
    names = [{*each.serve(each.question([{}]), Answer([{}], [], ()), 0, AT_MS).values} for each in served]
    assert names[0] <= names[1]
