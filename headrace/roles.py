"""The roles by name, and what a role's process does: its work, its metrics, its health, and a clean end."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module

from agents.context import RoleContext
from agents.host import host
from agents.metrics import Metrics
from agents.serve_health import HealthServer, heartbeat_check, paused_check
from agents.transport import Role
from definitions.declared import AppDefinition
from headrace.session import Session
from headrace.settings import ROLES


@dataclass(frozen=True, slots=True)
class RoleKind:
    """Where a role is defined, and how its process is to run. A role is made with ``(app, RoleContext)``."""

    module: str
    class_name: str
    is_awaited: bool = False
    """Whether callers wait for its answers: the processes of the others stand back for it."""
    linger_ms: int | None = None
    """How long its records wait for company; None where the default of producers is best."""

    def load(self) -> Callable[[AppDefinition, RoleContext], Role]:
        """Import the class."""
        found: Callable[[AppDefinition, RoleContext], Role] = getattr(import_module(self.module), self.class_name)
        return found


KINDS: Mapping[str, RoleKind] = {
    "features": RoleKind("agents.featurize", "FeaturesRole"),
    "scoring": RoleKind("agents.score", "ScoringRole", is_awaited=True),
    "learning": RoleKind("agents.learn", "LearningRole", linger_ms=5),
    "monitoring": RoleKind("agents.watch", "MonitoringRole"),
}

DRAIN_S = 7.0
"""How long a role may finish what it has taken: with leaving its group it stays below the 10 s of a stop."""

_TICK_S = 1.0
_STUCK_S = 30.0

Say = Callable[[str], None]


async def serve(names: Sequence[str], session: Session, *, stop: asyncio.Event, say: Say) -> None:
    """Run roles in this process until ``stop`` is set, then drain and leave.

    Raises:
        Exception: whatever ended a role; the others are drained before.
    """
    metrics = Metrics(session.namespace)
    context = RoleContext(session.namespace, session.log, session.store, session.artefacts, metrics, session.schemas)
    roles = [role for name in names for role in _built(name, session, context)]
    async with _health(names, roles, session, metrics, say):
        ends = await asyncio.gather(*(_host(role, session, metrics, stop) for role in roles), return_exceptions=True)
    for end in ends:
        if end is not None:
            raise end


async def _host(role: Role, session: Session, metrics: Metrics, stop: asyncio.Event) -> None:
    """Host one role; its end, however it came, is the end of all in this process."""
    try:
        await host(session.log, role, stop=stop, metrics=metrics, drain_s=DRAIN_S)
    finally:
        stop.set()


def _built(name: str, session: Session, context: RoleContext) -> list[Role]:
    """Return what runs under a role's name: the features role brings the copies that its rekeyed views read."""
    role = KINDS[name].load()(session.app, context)
    if name != "features" or not session.app.copies:
        return [role]
    from agents.copy_events import CopyRole  # noqa: PLC0415  # only where it is needed

    return [role, CopyRole(session.app, context)]


@contextlib.asynccontextmanager
async def _health(
    names: Sequence[str], roles: Sequence[Role], session: Session, metrics: Metrics, say: Say
) -> AsyncIterator[None]:
    """Serve metrics and health of the process; the loop's own tick is what tells whether it should be replaced."""
    settings = session.settings
    ticked = [time.monotonic()]
    ticking = asyncio.ensure_future(_tick(ticked))
    registry, namespace = metrics.registry, session.namespace
    ready = {each.name: heartbeat_check(registry, namespace, each.name, now_s=time.time) for each in roles}
    ready |= {f"{each.name} partitions": paused_check(registry, namespace, each.name) for each in roles}

    def live() -> str | None:
        silent_s = time.monotonic() - ticked[0]
        return None if silent_s < _STUCK_S else f"the event loop has not turned for {silent_s:.0f} s"

    def serve_at(port: int) -> HealthServer:
        return HealthServer(metrics.registry, live={"loop": live}, ready=ready, address=(settings.admin_host, port))

    wanted = settings.admin_port_of(min(names, key=ROLES.index))
    try:
        server = serve_at(wanted)
    except OSError:
        server = serve_at(0)
    with server:
        say(f"{', '.join(names)}: metrics and health on http://{settings.admin_host}:{server.port}")
        yield
    ticking.cancel()


async def _tick(ticked: list[float]) -> None:
    while True:
        ticked[0] = time.monotonic()
        await asyncio.sleep(_TICK_S)
