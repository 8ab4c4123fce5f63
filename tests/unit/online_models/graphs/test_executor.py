"""How a graph fares where something is missing, late or failing, and what it asks for on the way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from definitions.declared import GraphDefinition
from definitions.values import Value
from online_models.graphs import Ask, GraphRun, Ranked
from online_models.graphs.executor import GraphExecutor
from online_models.graphs.matrix import Matrix
from tests.ranking import RANKING, Linear, Stored, executor_of, graph, world_of

IDS = [f"A{number:02d}" for number in range(20)]
ROUTES = {"routes": Matrix(IDS, np.array([[number, 1.0] for number in range(20)], dtype=np.float32))}
GRAPH = graph()


def feature(name: str, entity: tuple[Value, ...]) -> Value:
    return 10.0 if "delay" in name else len(repr(entity))


def ask(ids: Sequence[str] = IDS, *, price: Value = 5.0, budget: Value = 10.0) -> Ask:
    count = len(ids)
    return Ask(
        ids,
        1_000,
        {"budget": budget, "hour": 2, "taste": [1.0, 0.0]},
        {"price": [price] * count, "gate": [f"g{number % 5}" for number in range(count)], "seats": [4] * count},
    )


class Clock:
    """A clock that the store and the models move."""

    def __init__(self) -> None:
        self.now_ms = 0.0

    def __call__(self) -> float:
        return self.now_ms


def run(asks: Sequence[Ask], declared: GraphDefinition = GRAPH, **changes: Any) -> tuple[GraphRun, Stored]:
    stored = Stored(declared, feature, ["T1"] * len(asks), asks, is_down=changes.pop("is_down", False))
    stored.unread = changes.pop("unread", stored.unread)
    world = world_of(stored, changes.pop("matrices", ROUTES), **changes)
    return GraphExecutor(declared, clock=lambda: 0.0).run(asks, world), stored


def only(asks: Sequence[Ask], **changes: Any) -> Ranked:
    [ranked] = run(asks, **changes)[0].answers
    return ranked


def test_a_stage_reads_only_those_that_are_left_and_no_view_twice() -> None:
    _, stored = run([ask()])

    views = [views for views, _ in stored.asked]
    counts = [len(ids[0]) for _, ids in stored.asked]
    assert views == [("traffic",), ("tails",), ("pairs",)]
    assert counts == [12, 12, 8]


def test_requests_together_are_read_and_scored_in_one_call_a_stage() -> None:
    scorer = Linear("offline")
    models = {"late": executor_of(GRAPH.models[0], offline=scorer)}

    found, stored = run([ask(), ask(IDS[:3])], models=models)

    assert scorer.calls == [15]
    assert len(stored.asked) == 3
    assert len(found.answers) == 2
    assert found.reached["1 filter"] == 23


def test_an_eager_graph_reads_everything_at_once() -> None:
    eager = graph(RANKING.replace("version=1", 'version=1, evaluation="eager"'))

    _, stored = run([ask()], eager)

    assert [(set(views), len(ids[0])) for views, ids in stored.asked] == [({"traffic", "tails", "pairs"}, 20)]


def test_no_candidates_are_no_question_to_anybody() -> None:
    found, stored = run([ask([])])

    assert found.answers == (Ranked([], []),)
    assert stored.asked == []
    assert found.versions == ()


def test_equal_scores_stay_in_the_order_of_the_request() -> None:
    same = {"routes": Matrix(IDS, np.zeros((20, 2), dtype=np.float32))}
    declared = graph(RANKING[: RANKING.index("    late")] + "    answer = candidates.score(near).top(7).group(gate, "
                     "at_most=9).filter((price <= hr.request('budget', float)) | (seats > 0))\n")  # fmt: skip

    [ranked] = run([ask()], declared, matrices=same)[0].answers

    assert ranked.places == list(range(7))


def test_without_a_store_filters_let_pass_models_score_what_is_there_and_the_answer_says_so() -> None:
    ranked = only([ask()], is_down=True)

    assert len(ranked.places) == 5
    assert ranked.reason == "features_unavailable"
    assert ranked.degraded == ("traffic", "4 filter", "tails", "pairs", "8 score value")
    assert ranked.is_answer


def test_a_value_that_could_not_be_read_is_not_one_that_is_absent() -> None:
    lost = only([ask(IDS[:4])], unread=lambda name, entity: name == "traffic.delay_24h" and entity == ("A01",))

    assert 1 in lost.places
    assert (lost.reason, lost.degraded) == ("features_unavailable", ("traffic.delay_24h", "4 filter"))


def test_where_a_model_has_no_release_the_score_before_stands() -> None:
    ranked = only([ask()], models={"late": None})

    assert (ranked.reason, ranked.is_answer) == ("model_unavailable", True)
    assert "late" in ranked.degraded
    assert list(ranked.scores) == sorted(ranked.scores, key=lambda each: -(each or 0))


def test_where_nothing_scored_there_is_no_answer() -> None:
    ranked = only([ask()], models={"late": None}, matrices={"routes": None}, is_down=True)

    assert (ranked.reason, ranked.is_answer) == ("model_unavailable", False)


def test_another_of_the_route_answers_for_a_champion_that_fails() -> None:
    models = {"late": executor_of(GRAPH.models[0], offline=Linear("offline", fails=True))}

    found, _ = run([ask()], models=models)

    assert [(each.version.learner, each.version.role) for each in found.versions] == [("online", "shadow")]
    assert found.answers[0].degraded == ("late.offline",)
    assert [failure.learner for _, failure in found.failures] == ["offline"]


def test_shadows_are_not_asked() -> None:
    shadow = Linear("online")
    run([ask()], models={"late": executor_of(GRAPH.models[0], online=shadow)})

    assert shadow.calls == []


def test_a_vector_that_no_learner_may_see_has_no_score_and_costs_the_others_nothing() -> None:
    declared = graph(RANKING[: RANKING.index("    near")] + "    answer = candidates.score(Late).top(5).filter("
                     "(price <= hr.request('budget', float)) | (seats > 0) | (gate == 'a'))\n")  # fmt: skip
    given = ask(IDS[:3])
    given.candidates["price"][1] = 1e300  # type: ignore[index]  # a list

    [ranked] = run([given], declared)[0].answers

    assert ranked.places == [0, 2, 1]
    assert [score is None for score in ranked.scores] == [False, False, True]


def test_without_a_value_a_filter_lets_nothing_pass() -> None:
    assert only([ask(budget=None)]).places == []


@pytest.mark.parametrize(("left_ms", "taken"), [(1_000.0, 12), (60.0, 6), (-1.0, 0)])
def test_a_stage_takes_only_as_many_as_there_is_time_for(left_ms: float, taken: int) -> None:
    """Reading costs 10 ms for each candidate that the second filter reads: measured by a run that had all the time."""
    clock = Clock()
    executor = GraphExecutor(GRAPH, clock=clock)
    asks = [ask()]
    stored = Stored(GRAPH, feature, ["T1"], asks)

    def slow(views: Sequence[str], wanted: Sequence[Any]) -> Any:
        clock.now_ms += 10.0 * sum(map(len, wanted)) if "traffic" in views else 0.0
        return stored.fetch(views, wanted)

    executor.run(asks, world_of(stored, ROUTES, fetch=slow))
    stored.asked.clear()
    [ranked] = executor.run(asks, world_of(stored, ROUTES, fetch=slow, until_ms=clock.now_ms + left_ms)).answers

    asked = [len(ids[0]) for views, ids in stored.asked if "traffic" in views]
    assert asked == ([taken] if taken else [])
    if taken == 12:
        assert ranked.degraded == ()
    elif taken:
        assert (ranked.reason, ranked.degraded) == ("deadline", ("4 filter: 6 of 12",))
        assert min(ranked.places) >= 14, "the best by the score so far are taken"
    else:
        assert ranked.reason == "deadline"
        assert "4 filter" in ranked.degraded
        assert len(ranked.places) == 5
