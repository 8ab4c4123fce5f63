"""Servers of models for tests: they speak the two protocols as these are documented, and fail on demand.

TensorFlow Serving is no package, so its REST interface is spoken here from its documentation, byte for byte. The Open
Inference Protocol is spoken too, for faults that no real server shows when asked; a real one serves it in
`tests.integration.test_open_inference_server`.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Row = Sequence[Any] | Mapping[str, Any]
Score = Callable[[Row], float]

_OPEN_INFERENCE = re.compile(r"/v2/models/late(/versions/\d+)?/infer")
_TENSORFLOW_SERVING = re.compile(r"/v1/models/late(/versions/\d+)?:predict")


class InferenceServer:
    """One model, ``late``, on a port of its own. Set ``body``, ``status``, ``drops`` or ``hold`` to make it fail."""

    def __init__(self, score: Score) -> None:
        self.score = score
        self.status = 200
        self.body: bytes | None = None
        """Sent in place of an answer."""
        self.drops = False
        """Close the connection instead of answering."""
        self.hold = threading.Event()
        """Nobody is answered before it is set."""
        self.hold.set()
        self.arrived = threading.Semaphore(0)
        """Released once for every request that came."""
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        """Path, headers and body of each."""
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    @property
    def url(self) -> str:
        """Its root."""
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def close(self) -> None:
        """Stop. Its port is dead then."""
        self.hold.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def answer(self, path: str, body: bytes) -> tuple[int, bytes]:
        """Return status and body of the answer."""
        if self.body is not None:
            return self.status, self.body
        if _OPEN_INFERENCE.fullmatch(path):
            return self.status, self._open_inference(json.loads(body))
        if _TENSORFLOW_SERVING.fullmatch(path):
            return self.status, self._tensorflow_serving(json.loads(body))
        return 404, b'{ "error": "Servable not found for request: Latest(x)" }'

    def _open_inference(self, asked: dict[str, Any]) -> bytes:
        tensors = asked["inputs"]
        n = tensors[0]["shape"][0]
        if len(tensors) == 1:
            width = tensors[0]["shape"][1]
            rows: list[Row] = [tensors[0]["data"][place * width : (place + 1) * width] for place in range(n)]
        else:
            rows = [{each["name"]: each["data"][place] for each in tensors} for place in range(n)]
        scores = [self.score(row) for row in rows]
        output = {"name": "score", "shape": [n, 1], "datatype": "FP64", "data": scores}
        return json.dumps({"model_name": "late", "outputs": [output]}).encode()

    def _tensorflow_serving(self, asked: dict[str, Any]) -> bytes:
        scores = [[self.score(row)] for row in asked["instances"]]
        return json.dumps({"predictions": scores}, indent=4).encode()


def _handler(server: InferenceServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # else head and body, written one after the other, are 40 ms apart

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            server.requests.append((self.path, {name.lower(): each for name, each in self.headers.items()}, body))
            server.arrived.release()
            server.hold.wait()
            if server.drops:
                self.close_connection = True
                return
            status, answer = server.answer(self.path, body)
            try:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)
            except OSError:
                # Whoever asked has gone: that is what a timeout looks like from here.
                self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the library's name
            del format, args

    return Handler


@contextmanager
def inference_server(score: Score) -> Iterator[InferenceServer]:
    """Serve a model for as long as the block lasts."""
    server = InferenceServer(score)
    try:
        yield server
    finally:
        server.close()
