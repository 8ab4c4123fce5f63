"""A server of models that speaks the Open Inference Protocol by gRPC, over a real socket, and fails on demand."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from online_models.learners.remote.grpc_messages import METHOD, messages

_, _SERVICE, _NAME = METHOD.split("/")

Score = Callable[[Any], float]


class GrpcServer:
    """One model, ``late``, on a port of its own. Set ``body``, ``code`` or ``hold`` to make it fail.

    With a folder that has ``key.pem`` and ``cert.pem`` it speaks TLS.
    """

    def __init__(self, score: Score, tls: Path | None = None) -> None:
        self.score = score
        self._scheme = "grpc" if tls is None else "grpcs"
        self.body: bytes | None = None
        """Sent in place of an answer."""
        self.raw = False
        """Send the scores as raw bytes, as Triton does."""
        self.code: Any = None
        """Ended with, in place of an answer."""
        self.hold = threading.Event()
        """Nobody is answered before it is set."""
        self.hold.set()
        self.calls: list[tuple[dict[str, str], float, Any]] = []
        """Metadata, time left and message of each."""
        self._pool = ThreadPoolExecutor(4)
        self._grpc = grpc.server(self._pool)
        handler = grpc.unary_unary_rpc_method_handler(self._answer)
        self._grpc.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, {_NAME: handler}),))
        self.port = (
            self._grpc.add_insecure_port("127.0.0.1:0")
            if tls is None
            else self._grpc.add_secure_port("127.0.0.1:0", _identity(tls))
        )
        self._grpc.start()

    @property
    def url(self) -> str:
        """Its root."""
        return f"{self._scheme}://127.0.0.1:{self.port}"

    def close(self) -> None:
        """Stop. Its port is dead then."""
        self.hold.set()
        self._grpc.stop(None).wait()
        self._pool.shutdown()

    def _answer(self, body: bytes, context: Any) -> bytes:
        asked = messages()["ModelInferRequest"].FromString(body)
        metadata = {name: str(value) for name, value in context.invocation_metadata()}
        self.calls.append((metadata, context.time_remaining(), asked))
        self.hold.wait()
        if self.code is not None:
            context.abort(self.code, "told to fail")
        if self.body is not None:
            return self.body
        answer = messages()["ModelInferResponse"]()
        scores = [self.score(row) for row in _rows(asked)]
        tensor = answer.outputs.add(name="score", datatype="FP64", shape=[len(scores), 1])
        if self.raw:
            answer.raw_output_contents.append(np.array(scores, dtype="<f8").tobytes())
        else:
            tensor.contents.fp64_contents.extend(scores)
        sent: bytes = answer.SerializeToString()
        return sent


def _identity(folder: Path) -> Any:
    pair = (folder / "key.pem").read_bytes(), (folder / "cert.pem").read_bytes()
    return grpc.ssl_server_credentials([pair])


def _rows(asked: Any) -> Sequence[Any]:
    rows, first = asked.inputs[0].shape[0], asked.inputs[0]
    if len(asked.inputs) == 1:
        width, values = first.shape[1], list(first.contents.fp32_contents)
        return [values[place * width : (place + 1) * width] for place in range(rows)]
    columns = {
        each.name: [value.decode() for value in each.contents.bytes_contents]
        if each.datatype == "BYTES"
        else list(each.contents.fp32_contents)
        for each in asked.inputs
    }
    return [{name: values[place] for name, values in columns.items()} for place in range(rows)]


@contextmanager
def grpc_server(score: Score, tls: Path | None = None) -> Iterator[GrpcServer]:
    """Serve a model for as long as the block lasts."""
    server = GrpcServer(score, tls)
    try:
        yield server
    finally:
        server.close()
