"""What ``headrace models`` shows of an app."""

from __future__ import annotations

import json

import pytest

from headrace.command import main
from headrace.command.models_pending import answer_of, lines_of
from headrace.command.models_show import search_line, sparkline
from online_models.searching import Standing
from streams.joins import Clock, Tally
from streams.joins.pending import PartitionPending
from streams.store import Row
from tests.builders import label_definition, model_definition


def test_every_declared_model_is_listed_with_its_learners(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--app", "examples.flights.app", "models", "list", "--json"])

    assert ended.value.code == 0
    shown = capsys.readouterr()
    [late] = json.loads(shown.out)["models"]
    assert (late["name"], late["champion"], late["label"]) == ("late", "offline", "arrived")
    assert late["learners"] == {"online": "river", "offline": "xgboost"}
    assert "late.v1" in shown.err


def test_what_is_pending_is_told_with_its_age_and_with_what_does_not_add_up() -> None:
    model = model_definition(label=label_definition())
    tally = Tally(predictions=9, matched=4, timed_out=3, given=1, pending=2, labels=6, label_late=1, label_too_late=1)
    row = Row(next=20, first=0, newest_ms=200_000, dead=1)
    clock = Clock({"t/0": 190_000, "t/1": 150_000}, ["t/1"], 3)
    sound = PartitionPending("o/1", row, tally, clock, counted=2, keys=5, oldest_ms=80_000)
    lost = PartitionPending("o/2", row, tally, clock, counted=1, keys=5, oldest_ms=None)

    said, answer = lines_of(model, [sound, lost]), answer_of(model, [sound, lost])

    assert "18 predictions = 8 matched + 6 timed out (2 given the declared label, 4 dropped) + 4 pending" in said[0]
    assert "partition 1: 2 pending (counted 2), oldest 2.0 min old; horizon by t/0" in said[2]
    assert said[-1] == "partition o/2: expected 2 waiting predictions, got 1"
    assert (answer["predictions"], answer["pending"], answer["after_horizon"]) == (18, 4, 4)
    assert (answer["oldest_pending_ms"], answer["reconciles"]) == (120_000, False)
    assert [each["reconciles"] for each in answer["partitions"]] == [True, False]
    assert answer["partitions"][0]["dropped"] == 2


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ([], ""),
        ([None], ""),
        ([1.0, 1.0], "▁▁"),
        ([0.5, None, 0.7, 0.6], "▁ █▅"),
    ],
)
def test_a_trend_is_a_bar_for_each_bucket(values: list[float | None], line: str) -> None:
    assert sparkline(values) == line


def test_a_search_that_is_over_proposes_its_winner_and_one_that_is_not_says_who_leads() -> None:
    running = Standing(settings=32, alive=4, leader={"lr": 0.1}, loss=0.4, learned=100, work=800)
    over = Standing(settings=32, alive=1, leader={"lr": 0.1}, loss=0.4, learned=1_000, work=3_200)

    assert search_line("tuned", running, "offline") == (
        "tuned: 4 of 32 settings left, lr=0.1 leads; 25% of the work of all 32"
    )
    assert search_line("tuned", over, "offline").endswith(
        "proposed as challenger of offline: `headrace deploy` decides"
    )
    assert "challenger" not in search_line("tuned", over, "tuned")
