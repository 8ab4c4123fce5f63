"""``headrace deploy``: what options mean, and what is refused before anything is sent."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from definitions.declared import RouteDefinition
from headrace.command import main
from headrace.command.deploy import Wish, route_of, wanted
from headrace.errors import UsageError
from streams.deployments import Deployed
from streams.messages import Deployment
from tests.builders import model_definition, river_learner, xgboost_learner

LATE = model_definition(
    learners=[xgboost_learner(), river_learner(), xgboost_learner("next")],
    route=RouteDefinition("offline", ("online",)),
)
FIRST, SECOND = "0a" * 32, "0b" * 32
NOW_MS = 1_360_000_000_000
APP = """
from datetime import datetime
import headrace as hr

class Arrived(hr.Event, topic="arrived", id="flight_id", at="arrived_at"):
    flight_id: str
    delay_min: float
    arrived_at: datetime

class Late(hr.Model, version=1):
    features = (hr.request("distance", float),)
    label = hr.Label(Arrived, key="flight_id", value=Arrived.delay_min > 15, within="24h", otherwise="drop")
    offline = hr.xgboost()
    next = hr.xgboost()
    route = hr.Route(champion="offline")
"""


def options(
    champion: str | None = None,
    shadow: Sequence[str] = (),
    fallback: str | None = None,
    canary: str | None = None,
    weight: Sequence[str] = (),
) -> dict[str, Any]:
    return dict(route_of(LATE, champion, shadow, fallback, canary, weight))


def in_force(*pairs: tuple[str, RouteDefinition]) -> list[Deployed]:
    """Return deployments, the newest first."""
    return [
        Deployed(Deployment.of("late", release, route, at_ms=number), number, number)
        for number, (release, route) in reversed(list(enumerate(pairs)))
    ]


def wish(release: str | None = None, *, back: bool = False, **given: Any) -> Wish:
    return Wish(release, options(**given), back)


def put(deployed: list[Deployed], asked: Wish) -> tuple[str, RouteDefinition]:
    found = wanted(LATE, deployed, asked, now_ms=NOW_MS)
    assert (found.model, found.at_ms) == ("late", NOW_MS)
    return found.release, found.route


@pytest.mark.parametrize(
    ("given", "fields"),
    [
        ({}, {}),
        ({"champion": "next"}, {"champion": "next"}),
        ({"shadow": ["online", "next"]}, {"shadow": ("online", "next")}),
        ({"shadow": ["none"]}, {"shadow": ()}),
        ({"fallback": "online"}, {"fallback": "online"}),
        ({"fallback": "0.25"}, {"fallback": 0.25}),
        ({"fallback": "none"}, {"fallback": None}),
        ({"canary": "next=0.05"}, {"canary": ("next", 0.05)}),
        ({"canary": "none"}, {"canary": None}),
        ({"weight": ["next=0.1", "online=.2"]}, {"weights": (("next", 0.1), ("online", 0.2))}),
        ({"weight": ["none"]}, {"weights": ()}),
    ],
)
def test_options_name_the_fields_of_a_route_that_change(given: dict[str, Any], fields: dict[str, Any]) -> None:
    assert options(**given) == fields


@pytest.mark.parametrize("text", ["next", "=0.5", "next=", "next=half"])
def test_a_share_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"cannot read --canary: expected LEARNER=SHARE, .* got '"):
        options(canary=text)


def test_what_is_not_named_stays_as_it_is_in_force() -> None:
    route = RouteDefinition("offline", ("online",), 0.5)

    assert put(in_force((FIRST, route)), wish(canary="next=0.1")) == (
        FIRST,
        RouteDefinition("offline", ("online",), 0.5, ("next", 0.1)),
    )
    assert put(in_force((FIRST, route)), wish(SECOND)) == (SECOND, route)


def test_the_first_deployment_has_the_route_of_the_author() -> None:
    assert put([], wish(FIRST)) == (FIRST, LATE.route)
    with pytest.raises(UsageError, match=r"expected --release, got none, and none is in force; make one with"):
        put([], wish(champion="next"))


def test_back_is_what_was_in_force_before_and_back_again() -> None:
    old, new = (FIRST, LATE.route), (SECOND, RouteDefinition("next"))

    assert put(in_force(old, new, new), wish(back=True)) == old
    assert put(in_force(old, new, old), wish(back=True)) == new
    with pytest.raises(UsageError, match="expected a deployment before to go back to, got none"):
        put(in_force(old, old), wish(back=True))


def test_a_release_is_named_by_how_its_digest_begins() -> None:
    deployed = in_force((FIRST, LATE.route), (SECOND, LATE.route))

    assert put(deployed, wish("0a"))[0] == FIRST
    with pytest.raises(UsageError, match=r"--release 0: expected one release, got 2 that begin with it; deployed were"):
        put(deployed, wish("0"))
    with pytest.raises(
        UsageError, match=r"--release 0c: expected one release, got none; deployed were 0b0b0b0b0b0b, 0a"
    ):
        put(deployed, wish("0c"))


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        (wish(champion="nex"), "expected route to name one of offline, online, next, got 'nex'; did you mean 'next'?"),
        (wish(canary="next=1.5"), "expected the share of next to be a number from 0 to 1, got 1.5"),
        (wish(fallback="nan"), "expected fallback= to be a finite number, got nan"),
        (wish(canary="next=0.1", weight=["next=0.1"]), "expected canary= or weights=, got both"),
    ],
)
def test_a_route_that_cannot_be_is_refused(asked: Wish, text: str) -> None:
    with pytest.raises(UsageError) as refused:
        put(in_force((FIRST, RouteDefinition("offline"))), asked)

    assert str(refused.value).startswith(f"cannot deploy: late.v1: {text}")
    assert "stays" not in str(refused.value)


def test_what_does_not_fit_what_stays_is_refused_with_how_to_take_that_away() -> None:
    route = RouteDefinition("offline", ("online",), 0.0, ("next", 0.5))

    with pytest.raises(UsageError) as refused:
        put(in_force((FIRST, route)), wish(champion="next"))

    assert str(refused.value) == (
        "cannot deploy: late.v1: expected shares of learners other than the champion, got 'next'; "
        "the champion answers the rest; the rest of the route stays as it is in force: "
        "champion offline, shadow online, canary next=0.5, fallback 0.0; "
        "take away with --shadow none or --fallback none or --canary none"
    )
    assert put(in_force((FIRST, route)), wish(champion="next", canary="none")) == (
        FIRST,
        RouteDefinition("next", ("online",), 0.0),
    )


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["lat"], 1, "got 'lat'; did you mean 'late'?"),
        (["late", "--back", "--champion", "next"], 2, "expected --back alone, got other options beside it"),
        (["late", "--weight", "next"], 2, "cannot read --weight: expected LEARNER=SHARE"),
        (["late", "--champion", "next"], 3, "cannot find a log"),
    ],
)
def test_what_needs_no_server_to_be_wrong_is_refused_in_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    text: str,
) -> None:
    (tmp_path / "routed.py").write_text(APP)
    (tmp_path / "pyproject.toml").write_text('[tool.headrace]\napp = "routed"\nsubstrate = "in-process"\n')
    monkeypatch.chdir(tmp_path)

    with pytest.raises(SystemExit) as ended:
        main(["deploy", *arguments])

    said = capsys.readouterr().err
    assert (ended.value.code, said.count("\n")) == (code, 1)
    assert text in said
