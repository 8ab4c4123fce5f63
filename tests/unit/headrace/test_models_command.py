"""What ``headrace models`` shows of an app."""

from __future__ import annotations

import json

import pytest

from headrace.command import main


def test_every_declared_model_is_listed_with_its_learners(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--app", "examples.flights.app", "models", "list", "--json"])

    assert ended.value.code == 0
    shown = capsys.readouterr()
    [late] = json.loads(shown.out)["models"]
    assert (late["name"], late["champion"], late["label"]) == ("late", "offline", "arrived")
    assert late["learners"] == {"online": "river", "offline": "xgboost"}
    assert "late.v1" in shown.err
