"""Runs one role on a log until told to stop: hosted by Faust on Kafka, driven bare on the log in memory."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from agents.garbage import collected_between_batches
from agents.metrics import Metrics
from agents.runner import Runner
from agents.transport import Log, LogUnavailable, Member, Role
from agents.transport.in_process import InProcessLog

_POLL_S = 0.2
_LAG_EVERY_S = 1.0
_LEAVE_S = 1.0

Drive = Callable[[str, tuple[str, ...], Member, Runner, asyncio.Event], Awaitable[None]]
"""Hands what a member reads of some topics to a runner, under a role's name, until the event is set."""


async def host(log: Log, role: Role, *, stop: asyncio.Event, metrics: Metrics, drain_s: float = 8.0) -> None:
    """Join the role's group, apply what comes, and when ``stop`` is set drain within ``drain_s`` seconds and leave.

    What a role raises, other than its store's and its log's refusals, ends this call: the process should end too.

    Raises:
        LogUnavailable: the log did not answer when the role joined.
    """
    member = log.member(role.subscription())
    runner = Runner(member, role, metrics)
    stopped = asyncio.ensure_future(stop.wait())
    driven = asyncio.ensure_future(_joined_and_driven(log, role, member, runner, stop))
    failed = asyncio.ensure_future(runner.failed())
    left_s = drain_s
    try:
        await asyncio.wait({stopped, driven, failed}, return_when=asyncio.FIRST_COMPLETED)
        runner.end()
        if not driven.done():
            left_s = await _drained(driven, drain_s)
        if driven.done() and not driven.cancelled():
            await driven
        if failed.done():
            await failed
    finally:
        await _ended(failed)
        await _ended(stopped)
        await _ended(driven)
        await member.stop(max(_LEAVE_S, left_s))


async def drive_bare(
    name: str,  # noqa: ARG001  # a `Drive`
    topics: tuple[str, ...],  # noqa: ARG001
    member: Member,
    runner: Runner,
    stop: asyncio.Event,
) -> None:
    """Hand batches over in this very task: no host between the log and the role."""
    while not stop.is_set():
        batch = await member.poll(_POLL_S)
        if batch is not None:
            await runner.take(batch)


async def _joined_and_driven(log: Log, role: Role, member: Member, runner: Runner, stop: asyncio.Event) -> None:
    drive = _drive_of(log)
    await member.start(runner)
    with collected_between_batches():
        measured = asyncio.ensure_future(_measure_lag(log, role.name, runner))
        try:
            await drive(role.name, role.subscription().topics, member, runner, stop)
        finally:
            await _ended(measured)


def _drive_of(log: Log) -> Drive:
    if isinstance(log, InProcessLog):
        return drive_bare
    from agents.transport.faust_host import drive_by_faust  # noqa: PLC0415  # half a second that only Kafka needs

    return drive_by_faust


async def _drained(driven: asyncio.Future[None], drain_s: float) -> float:
    """Wait until ``driven`` has ended by itself; return what is left of ``drain_s``."""
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + drain_s
    await asyncio.wait({driven}, timeout=drain_s)
    return deadline_s - loop.time()


async def _ended(task: asyncio.Future[Any]) -> None:
    task.cancel()
    await asyncio.wait({task})


async def _measure_lag(log: Log, name: str, runner: Runner) -> None:
    while True:
        positions = dict(runner.positions())
        with contextlib.suppress(LogUnavailable):
            bounds = await log.bounds(list(positions))
            for (partition, position), (_, end) in zip(positions.items(), bounds, strict=True):
                labels = {"topic": partition.topic, "partition": str(partition.index)}
                runner.metrics.set("lag_records", max(0, end - max(0, position)), role=name, **labels)
        await asyncio.sleep(_LAG_EVERY_S)
