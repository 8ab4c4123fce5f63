"""``import headrace as hr``: the authors' names, and nothing heavy."""

from __future__ import annotations

import subprocess
import sys

import pytest

import headrace as hr


def test_every_public_name_is_there_and_in_order() -> None:
    assert hr.__all__ == sorted(hr.__all__)
    assert dir(hr) == hr.__all__
    for name in hr.__all__:
        assert getattr(hr, name).__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'headrace' has no attribute 'Evnt'"):
        _ = hr.Evnt  # type: ignore[attr-defined]


def test_authors_load_no_driver_and_no_learner() -> None:
    heavy = ("numpy", "confluent_kafka", "faust", "redis", "river", "xgboost", "asyncio", "msgspec")
    code = f"import headrace, sys; print([each for each in {heavy!r} if each in sys.modules])"

    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert loaded.stdout.strip() == "[]"


def test_the_scoring_client_is_loaded_when_it_is_named() -> None:
    from agents.client import ScoringClient  # noqa: PLC0415  # the test is about when it is loaded

    assert hr.ScoringClient is ScoringClient
