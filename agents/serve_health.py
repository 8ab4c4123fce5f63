"""The small HTTP door of a role process: ``/metrics``, ``/livez`` and ``/readyz``, on an address that people choose.

``/livez`` says whether the process should be replaced; it never fails because a server elsewhere is down.
``/readyz`` says whether the role can do its work now. Both answer 200 or 503, with one line per check.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

Check = Callable[[], str | None]
"""Returns None while all is well, else what is not, in a few words."""


class HealthServer:
    """Serves a process's metrics and checks from a thread until it is closed.

    Args:
        registry: the process's metrics.
        live: checks by name for ``/livez``.
        ready: checks by name for ``/readyz``.
        address: host and port; port 0 takes a free one, see `port`.

    Raises:
        OSError: the address is taken.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        *,
        live: Mapping[str, Check],
        ready: Mapping[str, Check],
        address: tuple[str, int] = ("127.0.0.1", 0),
    ) -> None:
        self._server = ThreadingHTTPServer(address, _handler(registry, {"/livez": live, "/readyz": ready}))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="health", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return self._server.server_address[1]

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def heartbeat_check(registry: CollectorRegistry, namespace: str, role: str, *, now_s: Callable[[], float]) -> Check:
    """Return the check that a role made progress, or found nothing to do, within the last 30 seconds."""
    labels = {"namespace": namespace, "role": role}

    def check() -> str | None:
        last = registry.get_sample_value("headrace_heartbeat_timestamp_seconds", labels)
        if not last:
            return "has not started yet"
        silent_s = now_s() - last
        return None if silent_s <= _SILENCE_S else f"no progress for {silent_s:.0f} s"

    return check


def paused_check(registry: CollectorRegistry, namespace: str, role: str) -> Check:
    """Return the check that no partition of a role stands still; it names those that do, and why."""

    def check() -> str | None:
        paused = sorted(
            "{topic}[{partition}] {reason}".format_map(sample.labels)
            for metric in registry.collect()
            for sample in metric.samples
            if sample.name == "headrace_partition_paused" and sample.value
            if (sample.labels["namespace"], sample.labels["role"]) == (namespace, role)
        )
        return f"paused: {', '.join(paused)}; the log says which command resolves it" if paused else None

    return check


_SILENCE_S = 30.0


def _handler(registry: CollectorRegistry, pages: Mapping[str, Mapping[str, Check]]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/metrics":
                self._answer(HTTPStatus.OK, generate_latest(registry), CONTENT_TYPE_LATEST)
            elif self.path in pages:
                self._answer(*_verdict(pages[self.path]), "text/plain; charset=utf-8")
            else:
                self._answer(HTTPStatus.NOT_FOUND, b"/metrics /livez /readyz\n", "text/plain; charset=utf-8")

        def _answer(self, status: HTTPStatus, body: bytes, content_type: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
            """Keep quiet: a scrape every few seconds is no news."""

    return Handler


def _verdict(checks: Mapping[str, Check]) -> tuple[HTTPStatus, bytes]:
    found = {name: check() for name, check in checks.items()}
    lines = "".join(f"{name}: {problem or 'ok'}\n" for name, problem in found.items())
    is_well = all(problem is None for problem in found.values())
    return (HTTPStatus.OK if is_well else HTTPStatus.SERVICE_UNAVAILABLE), lines.encode()
