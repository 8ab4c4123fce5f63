"""Asks inference servers by gRPC: one channel a server, kept open. The library is an optional extra."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from online_models.errors import AnswerUnreadable
from online_models.learners import Remote
from online_models.learners.remote.grpc_messages import METHOD
from streams.request_reply import TIMEOUT_MS

SCHEMES = ("grpc://", "grpcs://")
MOST_ANSWER_BYTES = 4 * 1024 * 1024
"""What gRPC itself takes where nobody says otherwise: some KiB for each row of the largest micro-batch."""

_OPTIONS = (
    ("grpc.max_receive_message_length", MOST_ANSWER_BYTES),
    # The circuit decides when a server is tried again; a channel that waits by itself would only add to it.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.min_reconnect_backoff_ms", 1_000),  # which is also how long a connection may take to be made
    ("grpc.enable_http_proxy", 0),
)


class ErrorAnswer(Exception):  # noqa: N818  # a state of the world
    """The server answered that it cannot."""


class GrpcCalls:
    """The channels to the servers of one model's learners."""

    def __init__(self) -> None:
        self._channels: dict[str, Any] = {}

    async def ask(self, remote: Remote, body: bytes, wait_ms: float) -> bytes:
        """Return the message of a server's answer. The deadline goes with the call, and in a header as over HTTP.

        Raises:
            TimeoutError: there was none in time.
            OSError: there is no server, or it closed the connection, or gRPC is not installed here.
            AnswerUnreadable: it is longer than `MOST_ANSWER_BYTES`.
            ErrorAnswer: it is an error.
        """
        grpc = _grpc()
        call = self._channel(grpc, remote.url).unary_unary(METHOD)
        try:
            answer: bytes = await call(body, timeout=wait_ms / 1_000, metadata=((TIMEOUT_MS, str(int(wait_ms))),))
        except grpc.aio.AioRpcError as error:
            code, details = error.code(), error.details() or ""
            if code is grpc.StatusCode.DEADLINE_EXCEEDED:
                raise TimeoutError from error
            if code is grpc.StatusCode.UNAVAILABLE:
                raise ConnectionError(details) from error
            if code is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in details:
                raise AnswerUnreadable(f"cannot read answer: {remote.name}: {details}") from error
            raise ErrorAnswer(f"{code.name}: {details}") from error
        return answer

    async def close(self) -> None:
        """Close the channels. What is asked later opens others."""
        channels, self._channels = self._channels, {}
        for channel in channels.values():
            await channel.close()

    def _channel(self, grpc: Any, url: str) -> Any:
        parts = urlsplit(url)
        server = f"{parts.scheme}://{parts.netloc}"
        if server not in self._channels:
            is_plain = parts.scheme == "grpc"
            self._channels[server] = (
                grpc.aio.insecure_channel(parts.netloc, options=_OPTIONS)
                if is_plain
                else grpc.aio.secure_channel(parts.netloc, grpc.ssl_channel_credentials(), options=_OPTIONS)
            )
        return self._channels[server]


def _grpc() -> Any:
    try:
        import grpc  # noqa: PLC0415  # optional, and a tenth of a second
        import grpc.aio  # noqa: PLC0415
    except ImportError as error:
        text = f"cannot ask by gRPC: {error}; install it with `pip install 'headrace[grpc]'`"
        raise ConnectionError(text) from error
    return grpc
