"""What ``headrace models`` shows of an app."""

from __future__ import annotations

import json

import pytest

from headrace.command import main
from headrace.command.models_pending import answer_of, lines_of
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
