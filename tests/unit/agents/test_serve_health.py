"""The HTTP door of a role: metrics, liveness and readiness."""

from __future__ import annotations

import urllib.error
import urllib.request

import pytest

from agents.metrics import Metrics
from agents.serve_health import HealthServer, heartbeat_check


def _get(server: HealthServer, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=5) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_metrics_are_served_with_the_namespace() -> None:
    """Two projects on one Prometheus are told apart by the label."""
    metrics = Metrics("flights")
    metrics.count("events_decoded_total", 3, topic="flights.departed")

    with HealthServer(metrics.registry, live={}, ready={}) as server:
        status, text = _get(server, "/metrics")

    assert status == 200
    assert 'headrace_events_decoded_total{namespace="flights",topic="flights.departed"} 3.0' in text


def test_readiness_names_the_check_that_fails() -> None:
    """An operator reads what is missing without reading code."""
    checks = {"group": lambda: None, "store": lambda: "no answer"}

    with HealthServer(Metrics("demo").registry, live={}, ready=checks) as server:
        assert _get(server, "/readyz") == (503, "group: ok\nstore: no answer\n")
        assert _get(server, "/livez")[0] == 200


def test_an_unknown_path_is_not_found() -> None:
    """Nothing but the three pages is served."""
    with HealthServer(Metrics("demo").registry, live={}, ready={}) as server:
        assert _get(server, "/table/secrets")[0] == 404


@pytest.mark.parametrize(
    ("beat_s", "now_s", "expected"),
    [(None, 100.0, "has not started yet"), (90.0, 100.0, None), (60.0, 100.0, "no progress for 40 s")],
)
def test_a_role_is_alive_while_it_beats(beat_s: float | None, now_s: float, expected: str | None) -> None:
    """Silence is not health."""
    metrics = Metrics("demo")
    if beat_s is not None:
        metrics.set("heartbeat_timestamp_seconds", beat_s, role="features")

    check = heartbeat_check(metrics.registry, "demo", "features", now_s=lambda: now_s)

    assert check() == expected
