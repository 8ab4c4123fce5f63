"""A role as a Faust agent: one app per role, its agent's body hands each batch to the runner."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import faust

from agents.runner import Runner
from agents.transport import Member
from agents.transport.faust_transport import WholeBatches, role_app
from streams.records import RecordBatch

for _name in ("faust", "mode", "agents.transport.faust_transport"):
    # Start and stop of its services, one line each; what matters is logged by the member and the runner.
    logging.getLogger(_name).setLevel(logging.WARNING)


async def drive_by_faust(
    name: str, topics: tuple[str, ...], member: Member, runner: Runner, stop: asyncio.Event
) -> None:
    """Let a Faust agent take the member's batches until ``stop`` is set; the batch in hand is finished first.

    What the runner raises never leaves the agent's body, where Faust would count the batch as done; it ends this call.
    Faust installs no signal handlers: there is no Faust worker.
    """
    failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    idle = asyncio.Event()
    idle.set()
    app = role_app(name, member, failed)

    @app.agent(app.topic(*topics, acks=False, schema=WholeBatches()))
    async def take(stream: faust.StreamT[RecordBatch]) -> None:
        async for batch in stream:
            if stop.is_set() or failed.done():
                continue
            idle.clear()
            try:
                await runner.take(batch)
            except Exception as error:  # noqa: BLE001  # carried to the caller, who ends the process
                if not failed.done():
                    failed.set_exception(error)
            finally:
                idle.set()

    await app.start()
    stopped = asyncio.ensure_future(stop.wait())
    try:
        ends: set[asyncio.Future[Any]] = {stopped, failed}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        await idle.wait()
        if failed.done():
            await failed
    finally:
        stopped.cancel()
        failed.cancel()
        await app.stop()
