"""Verdicts of a day, and an incident from its opening to its end."""

from __future__ import annotations

import dataclasses

import pytest

from online_models.baseline import Baseline, CategoryBins, NumericBins
from online_models.health import (
    DayCounts,
    DriftAlert,
    HealthState,
    Rule,
    Verdict,
    advance,
    in_force,
    judge,
    most_moved,
    population_stability,
    total_variation,
)

EVEN = [100] * 10
LIKE_TRAINING = [70] * 10
STORM = [5, 5, 5, 5, 10, 20, 50, 100, 200, 300]
MILD = [50, 55, 60, 65, 70, 70, 75, 80, 85, 90]
BASELINE = Baseline(
    model="late.v1",
    rows=1000,
    signals={
        "score:offline": NumericBins(edges=[each / 10 for each in range(1, 10)], missing=False, counts=EVEN),
        "feature:wind": NumericBins(edges=[5.0], missing=True, counts=[900, 100, 0]),
        "feature:carrier": CategoryBins(values=["AA"], counts=[500, 500, 0]),
    },
)


def day(date: str, scores: list[int], release: str = "r1", **features: list[int]) -> DayCounts:
    counts = {"score:offline": scores, **{f"feature:{name}": each for name, each in features.items()}}
    return DayCounts("late.v1", release, "offline", date, counts)


def fold(*days: DayCounts) -> tuple[HealthState, list[DriftAlert]]:
    state: HealthState | None = None
    sent: list[DriftAlert] = []
    for each in days:
        state, alerts = advance(state, each, BASELINE, Rule())
        sent += alerts
    assert state is not None
    return state, sent


def test_equal_distributions_do_not_differ_whatever_their_size() -> None:
    assert population_stability(EVEN, [10_000] * 10) == pytest.approx(0)
    assert total_variation(EVEN, [7] * 10) == pytest.approx(0)


def test_an_empty_bin_makes_the_psi_large_and_not_infinite() -> None:
    psi = population_stability(EVEN, [1000, 0, 0, 0, 0, 0, 0, 0, 0, 0])

    assert 5 < psi < 10


def test_the_psi_has_the_value_worked_out_by_hand() -> None:
    # (3.5/5 - 1.5/5) ln(3.5/1.5) twice, from counts 1 and 3 against 3 and 1
    assert population_stability([1, 3], [3, 1]) == pytest.approx(2 * 0.4 * 0.8472978603872037)


def test_total_variation_is_one_where_nothing_is_in_common() -> None:
    assert total_variation([10, 0], [0, 3]) == 1.0
    assert total_variation([1, 1], [3, 1]) == 0.25


@pytest.mark.parametrize(
    ("live", "verdict"),
    [
        (LIKE_TRAINING, Verdict.OK),
        (MILD, Verdict.OK),
        (STORM, Verdict.DRIFTING),
        ([0, 0, 0, 0, 0, 0, 0, 0, 0, 199], Verdict.INSUFFICIENT),
        ([0, 0, 0, 0, 0, 0, 0, 0, 0, 200], Verdict.DRIFTING),
        ([0] * 10, Verdict.INSUFFICIENT),
    ],
    ids=["ordinary", "mild", "storm", "199 of one bin", "200 of one bin", "nothing"],
)
def test_a_day_gets_the_verdict_of_its_counts(live: list[int], verdict: Verdict) -> None:
    assert judge(EVEN, live, Rule()).verdict is verdict


def test_a_large_psi_with_little_moved_is_ordinary() -> None:
    baseline, live = [10_000] * 9 + [0], [700] * 9 + [700]

    judged = judge(baseline, live, Rule(psi=0.5))

    assert judged.psi > 0.5
    assert (judged.total_variation < 0.4, judged.verdict) == (True, Verdict.OK)


def test_an_incident_opens_once_and_the_next_ordinary_day_resolves_it() -> None:
    state, alerts = fold(
        day("2013-02-07", LIKE_TRAINING),
        day("2013-02-08", STORM),
        day("2013-02-09", STORM),
        day("2013-02-10", MILD),
        day("2013-02-11", STORM),
        day("2013-02-12", LIKE_TRAINING),
    )

    told = [(each.state, each.day, each.since) for each in alerts]
    assert told == [
        ("firing", "2013-02-08", "2013-02-08"),
        ("resolved", "2013-02-10", "2013-02-08"),
        ("firing", "2013-02-11", "2013-02-11"),
        ("resolved", "2013-02-12", "2013-02-11"),
    ]
    assert (state.opened, state.since, state.verdict) == (2, None, Verdict.OK)
    assert [each.incident for each in alerts[:2]] == [alerts[0].incident] * 2
    assert alerts[2].incident != alerts[0].incident
    assert len({each.fingerprint for each in alerts}) == 1


def test_a_day_with_too_few_predictions_neither_opens_nor_resolves() -> None:
    few = [0] * 9 + [100]

    state, alerts = fold(day("2013-02-08", STORM), day("2013-02-09", few))

    assert [each.state for each in alerts] == ["firing"]
    assert (state.verdict, state.since) == (Verdict.INSUFFICIENT, "2013-02-08")
    assert fold(day("2013-02-08", few))[1] == []


def test_a_day_that_was_judged_is_never_judged_again() -> None:
    judged, _ = fold(day("2013-02-08", LIKE_TRAINING))

    again, alerts = advance(judged, day("2013-02-08", STORM), BASELINE, Rule())
    earlier, others = advance(judged, day("2013-02-07", STORM), BASELINE, Rule())

    assert (judged, judged, (), ()) == (again, earlier, alerts, others)


def test_another_release_resolves_the_incident_of_the_one_before() -> None:
    state, alerts = fold(day("2013-02-08", STORM), day("2013-02-08", LIKE_TRAINING, release="r2"))

    assert [(each.state, each.release) for each in alerts] == [("firing", "r1"), ("resolved", "r1")]
    assert alerts[0].fingerprint == alerts[1].fingerprint
    assert (state.release, state.since) == ("r2", None)


def test_a_drifting_first_day_of_another_release_opens_an_incident_of_its_own() -> None:
    _, alerts = fold(day("2013-02-08", STORM), day("2013-02-09", STORM, release="r2"))

    assert [(each.state, each.release) for each in alerts] == [("firing", "r1"), ("resolved", "r1"), ("firing", "r2")]


def test_an_alert_says_what_moved_most() -> None:
    _, alerts = fold(day("2013-02-08", STORM, wind=[100, 600, 0], carrier=[350, 350, 0]))

    assert "inputs that moved most: wind (0.76), carrier (0.00)" in alerts[0].message


def test_features_that_were_not_counted_are_not_said_to_have_moved() -> None:
    assert most_moved(BASELINE, {"feature:wind": [0, 0, 0]}) == []


def test_an_alert_has_the_fields_of_the_record_on_the_topic() -> None:
    _, alerts = fold(day("2013-02-08", STORM))

    assert dataclasses.asdict(alerts[0])["n"] == 700
    assert alerts[0].psi >= 1.0


def test_a_verdict_that_is_too_old_is_stale_and_none_is_insufficient() -> None:
    state, _ = fold(day("2013-02-08", LIKE_TRAINING))

    assert [in_force(state, today, Rule()) for today in ("2013-02-09", "2013-02-10", "2013-02-11")] == [
        Verdict.OK,
        Verdict.OK,
        Verdict.STALE,
    ]
    assert in_force(None, "2013-02-09", Rule()) is Verdict.INSUFFICIENT
