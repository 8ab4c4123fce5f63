"""The HTTP door for callers without Kafka: the Open Inference Protocol v2, REST.

Every request of a call goes over the requests topic, as everybody's does, and is answered by the scoring role: one
executor path, one admission, one prediction log, one request position to replay it by. What the door adds is a round
trip of the log. It holds no model, reads no features and needs no store; any number of doors may stand side by side.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from http import HTTPStatus
from importlib.metadata import version
from typing import NoReturn

import msgspec
import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from agents.client import ScoreQuestion, ScoringClient
from agents.metrics import Metrics
from agents.read_topic import read_topic
from agents.transport import Log, LogUnavailable
from definitions.declared import ModelDefinition
from definitions.errors import HeadraceError
from streams import topics
from streams.messages import Deployment, ScoreReply
from streams.open_inference import CallRefused, metadata
from streams.open_inference.answering import CODES, OK, Answer, answered
from streams.open_inference.asking import Call, CallReader
from streams.request_reply import Reason, Status

BODY_MAX_BYTES = 4 * 1024 * 1024
"""Largest body of a call; each request in it has the topic's own limit of 1 MiB."""
HELD_MAX_BYTES = 64 * 1024 * 1024
"""What the bodies of all calls under way may take together."""

_DISCARDED_MAX_BYTES = 8 * BODY_MAX_BYTES
"""How much of a refused body is read nonetheless: a caller that still writes would see a reset, not the answer."""

_DRAIN_S = 7
_LOOK_AGAIN_S = 1.0
_JSON_SIZE = "Inference-Header-Content-Length"

logger = logging.getLogger(__name__)


class Gateway:
    """Answers calls for the models of one namespace.

    Args:
        namespace: of the requests and replies.
        models: those that may be asked.
        client: open.
        log: told which releases are in force.
    """

    def __init__(self, namespace: str, models: Sequence[ModelDefinition], client: ScoringClient, log: Log) -> None:
        self._namespace = namespace
        self._models = {each.name: each for each in models}
        self._readers = {each.name: CallReader(each) for each in models}
        self._client = client
        self._log = log
        self._metrics = Metrics(namespace)
        self._held_bytes = 0
        self._released: set[str] = set()
        self._looked_s = -_LOOK_AGAIN_S

    def application(self) -> Starlette:
        """Return the ASGI application."""
        routes = [
            Route("/v2", self._server),
            Route("/v2/health/live", self._live),
            Route("/v2/health/ready", self._ready),
            Route("/metrics", self._metrics_page),
        ]
        for path in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
            routes += [
                Route(path, self._metadata),
                Route(f"{path}/ready", self._model_ready),
                Route(f"{path}/infer", self._infer, methods=["POST"]),
            ]
        return Starlette(routes=routes, exception_handlers={HTTPException: _refused, Exception: _failed})

    async def _server(self, _: Request) -> Response:
        return _json({"name": "headrace", "version": version("headrace"), "extensions": ["binary_tensor_data"]})

    async def _live(self, _: Request) -> Response:
        """Tell whether replies are still read: a door that hears nothing has to be replaced."""
        return _json({"live": self._client.is_reading}, _code_if(self._client.is_reading))

    async def _ready(self, _: Request) -> Response:
        return _json({"ready": self._client.is_reading}, _code_if(self._client.is_reading))

    async def _metadata(self, request: Request) -> Response:
        return _json(metadata(self._model(request)))

    async def _model_ready(self, request: Request) -> Response:
        """Tell whether a release of the model was ever put in force, and replies are read."""
        model = self._model(request)
        is_ready = self._client.is_reading and await self._is_released(model.name)
        return _json({"name": model.name, "ready": is_ready}, _code_if(is_ready))

    async def _metrics_page(self, _: Request) -> Response:
        return Response(generate_latest(self._metrics.registry), media_type=CONTENT_TYPE_LATEST)

    async def _infer(self, request: Request) -> Response:
        model, started_s = self._model(request), time.perf_counter()
        code = int(HTTPStatus.INTERNAL_SERVER_ERROR)
        try:
            answer = await self._inferred(request, model)
            code = answer.status_code
        except HTTPException as refused:
            code = refused.status_code
            raise
        finally:
            self._metrics.count("gateway_calls_total", model=model.name, code=str(code))
            self._metrics.observe("gateway_seconds", time.perf_counter() - started_s, model=model.name)
        return answer

    async def _inferred(self, request: Request, model: ModelDefinition) -> Response:
        async with self._body(request) as body:
            try:
                call = self._readers[model.name].read(body, _json_size(request))
            except CallRefused as refused:
                return _json({"error": str(refused)}, CODES[refused.reason])
        answer = await self._answer(model, call, request.headers.get("traceparent"))
        return _json(answer.body, answer.code)

    async def _answer(self, model: ModelDefinition, call: Call, traceparent: str | None) -> Answer:
        questions = [
            ScoreQuestion(
                entities=each.entities,
                inputs=each.inputs,
                label_key=each.label_key,
                at=each.at,
                traceparent=traceparent,
            )
            for each in call.requests
        ]
        try:
            replies = await self._client.score_many(model.name, questions, timeout_ms=call.timeout_ms)
        except (LogUnavailable, HeadraceError) as error:
            logger.warning("cannot ask: %s: %s", model.name, error)
            lost = ScoreReply(request_id="", status=Status.ERROR, reason=Reason.MODEL_UNAVAILABLE, message=str(error))
            replies = [lost] * len(questions)
        return answered(model, call, replies)

    def _model(self, request: Request) -> ModelDefinition:
        name = request.path_params["model"]
        model = self._models.get(name)
        if model is None:
            known = ", ".join(self._models)
            raise HTTPException(HTTPStatus.NOT_FOUND, f"cannot find model: expected {known}, got {name[:80]!r}")
        wanted = request.path_params.get("version", str(model.version))
        if wanted != str(model.version):
            text = f"cannot find model: {model.name}: expected version {model.version}, got {wanted[:20]!r}"
            raise HTTPException(HTTPStatus.NOT_FOUND, text)
        return model

    @asynccontextmanager
    async def _body(self, request: Request) -> AsyncIterator[bytes]:
        """Yield the body; one that is too large, or that too many others stand beside, is not kept."""
        parts: list[bytes] = []
        held = size = 0
        try:
            async for part in request.stream():
                size += len(part)
                if size <= BODY_MAX_BYTES and self._held_bytes + len(part) <= HELD_MAX_BYTES:
                    parts.append(part)
                    held += len(part)
                    self._held_bytes += len(part)
                elif size > _DISCARDED_MAX_BYTES:
                    break
            if held < size:
                _refuse_body(size)
            yield b"".join(parts)
        except ClientDisconnect:
            raise HTTPException(HTTPStatus.BAD_REQUEST, "cannot read call: the caller has gone") from None
        finally:
            self._held_bytes -= held

    async def _is_released(self, model: str) -> bool:
        """Return whether a release was deployed; looked up at most once a second until there is one."""
        if model not in self._released and time.monotonic() - self._looked_s >= _LOOK_AGAIN_S:
            self._looked_s = time.monotonic()
            topic = topics.deployments(self._namespace)
            try:
                for _, record in await read_topic(self._log, await self._log.partitions(topic)):
                    self._released |= _deployed(record.value())
            except LogUnavailable as error:
                logger.warning("cannot tell whether a release is in force: %s", error)
        return model in self._released


class GatewayServer(uvicorn.Server):
    """Serves a gateway in the event loop that `serve` is called in, until ``should_exit``; signals are its caller's.

    `serve` takes sockets that listen already: so that an address that is taken is its caller's to tell of.
    """

    def __init__(self, gateway: Gateway) -> None:
        super().__init__(
            uvicorn.Config(
                gateway.application(),
                lifespan="off",
                log_level="warning",
                access_log=False,
                timeout_graceful_shutdown=_DRAIN_S,
            )
        )

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


def _json(body: Mapping[str, object], code: int = OK, headers: Mapping[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(body), code, headers, "application/json")


def _refuse_body(size: int) -> NoReturn:
    headers = {"Connection": "close"} if size > _DISCARDED_MAX_BYTES else {}
    if size > BODY_MAX_BYTES:
        text = f"cannot read call: expected at most {BODY_MAX_BYTES} bytes, got more"
        raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, text, headers)
    text = f"cannot read call: expected fewer than {HELD_MAX_BYTES} bytes under way, got more"
    raise HTTPException(HTTPStatus.TOO_MANY_REQUESTS, text, headers)


def _code_if(is_well: bool) -> HTTPStatus:  # noqa: FBT001  # the only thing it is about
    return HTTPStatus.OK if is_well else HTTPStatus.SERVICE_UNAVAILABLE


def _json_size(request: Request) -> int | None:
    header = request.headers.get(_JSON_SIZE)
    if header is None:
        return None
    if not header.isdecimal() or len(header) > len(str(BODY_MAX_BYTES)):
        raise HTTPException(
            HTTPStatus.BAD_REQUEST, f"cannot read call: {_JSON_SIZE}: expected bytes, got {header[:20]!r}"
        )
    return int(header)


def _deployed(value: bytes | None) -> set[str]:
    try:
        return {msgspec.json.decode(value or b"", type=Deployment).model}
    except (msgspec.DecodeError, UnicodeDecodeError):
        return set()


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  # registered for it
    return _json({"error": error.detail}, error.status_code, error.headers)


async def _failed(_: Request, error: Exception) -> Response:
    return _json({"error": f"error (internal): {type(error).__name__}"}, HTTPStatus.INTERNAL_SERVER_ERROR)
