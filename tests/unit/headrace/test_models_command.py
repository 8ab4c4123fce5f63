"""What ``headrace models`` shows of an app."""

from __future__ import annotations

import json

import pytest

from headrace.command import main
from headrace.command.models_show import search_line, sparkline
from online_models.searching import Standing


def test_every_declared_model_is_listed_with_its_learners(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--app", "examples.flights.app", "models", "list", "--json"])

    assert ended.value.code == 0
    shown = capsys.readouterr()
    [late] = json.loads(shown.out)["models"]
    assert (late["name"], late["champion"], late["label"]) == ("late", "offline", "arrived")
    assert late["learners"] == {"online": "river", "offline": "xgboost"}
    assert "late.v1" in shown.err


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
