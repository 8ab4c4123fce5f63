"""Follows the deployments topic from its start, and puts the releases that it names in force."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

import msgspec

from agents.context import RoleContext
from agents.serve_model import ServedModel
from agents.transport import LogUnavailable, Tail
from streams import topics
from streams.messages import Deployment
from streams.records import Record

_POLL_S = 0.5
_QUIET_POLLS = 4

logger = logging.getLogger(__name__)


class DeploymentFollower:
    """Keeps every served model at its newest deployment.

    `start` returns when all that was deployed before is in force; what is deployed later follows in a task of its own.
    """

    def __init__(self, served: Iterable[ServedModel], context: RoleContext) -> None:
        self._served = {each.model.name: each for each in served}
        self._context = context
        self._decoder = msgspec.json.Decoder(Deployment)
        self._tail: Tail | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Read all deployments and load the newest of each model; then go on following. Does nothing while it does so.

        Raises:
            LogUnavailable: the topic cannot be read, or is not there yet.
        """
        if self._task is not None and not self._task.done():
            return
        await self.stop()
        topic = topics.deployments(self._context.namespace)
        partitions = await self._context.log.partitions(topic)
        if not partitions:
            raise LogUnavailable(f"cannot follow deployments: {topic}: expected a topic, got none; start the app first")
        [(first, end)] = await self._context.log.bounds(partitions[:1])
        self._tail = await self._context.log.tail([(partitions[0], first)])
        newest: dict[str, Deployment] = {}
        for record in await _until(self._tail, end):
            deployment = self._read(record)
            if deployment is not None:
                newest[deployment.model] = deployment
        for deployment in newest.values():
            await self._deploy(deployment)
        self._task = asyncio.create_task(self._follow(self._tail), name="follow-deployments")

    async def stop(self) -> None:
        """Stop following; what is in force stays."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if self._tail is not None:
            await self._tail.stop()
            self._tail = None

    def check(self) -> None:
        """Raise what ended the following, if anything did: a role that no longer hears of releases must not go on."""
        if self._task is not None and self._task.done():
            self._task.result()

    async def _follow(self, tail: Tail) -> None:
        while True:
            for _, record in await tail.poll(_POLL_S):
                deployment = self._read(record)
                if deployment is not None:
                    await self._deploy(deployment)

    async def _deploy(self, deployment: Deployment) -> None:
        served = self._served.get(deployment.model)
        if served is not None:
            await served.deploy(deployment)

    def _read(self, record: Record) -> Deployment | None:
        try:
            return self._decoder.decode(record.value() or b"")
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            self._context.metrics.count("model_loads_total", model="", learner="release", result="unreadable")
            logger.warning("skipped a deployment: offset %d: %s", record.offset(), error)
            return None


async def _until(tail: Tail, end: int) -> list[Record]:
    """Return the records below ``end``; where the last offsets hold none, give up when nothing more comes."""
    records: list[Record] = []
    quiet = 0
    while (not records or records[-1].offset() + 1 < end) and end and quiet < _QUIET_POLLS:
        found = await tail.poll(_POLL_S)
        quiet = 0 if found else quiet + 1
        records += [record for _, record in found]
    return records
