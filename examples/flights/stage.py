"""What the demo plays on: fresh servers (or none), the four roles, and a session with both.

Each run begins in a new ``.headrace/demo``, so that nothing of an earlier one is in its numbers. On Kafka every role is
a child process, as `headrace run` starts them; without it all roles live in this process, on a log in memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import fcntl
import logging
import re
import secrets
import shutil
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from agents.transport.in_process import InProcessLog
from batch.history import History, KafkaHistory
from examples.flights.errors import DemoRefused, DemoStuck
from headrace import servers
from headrace.history import InProcessHistory
from headrace.roles import serve
from headrace.servers import kafka, redis
from headrace.servers.substrate import Substrate, jars_of, provide
from headrace.session import Session, open_session
from headrace.settings import ROLES, Settings, child_environment
from headrace.supervisor import Supervisor, role_command
from streams.topics import declared

APP = "examples.flights.app"
PARTITIONS = 1
"""Of each topic. A slot is a dozen events: on two cores a second partition costs a third more time and saves none."""
_PROPERTIES = {"linger.ms": "1"}
"""A slot's records travel together: half the requests to the broker."""
_SAID = re.compile(r"^([\w, ]+): metrics and health on (http://\S+)$", re.MULTILINE)

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Stage:
    """Roles that run on a log and a store."""

    session: Session
    substrate: Substrate
    folder: Path
    running: asyncio.Future[object]
    """Ends only when the roles do."""
    said: list[str] = field(default_factory=list)

    def check(self) -> None:
        """Refuse to go on without roles.

        Raises:
            DemoStuck: they have ended.
        """
        if self.running.done() and not self.running.cancelled():
            error = self.running.exception()
            raise DemoStuck(f"cannot go on: the roles have ended: {error or 'see ' + str(self.folder)}") from error

    async def metric(self, of_role: str, name: str, **labels: str) -> float:
        """Return the sum of a role's samples with these labels, as its metrics page shows them; 0 before there is one.

        Cost: an HTTP request, 5-20 ms: not for hot paths.
        """
        page = self._page_of(of_role)
        if page is None:
            return 0.0
        text = await asyncio.to_thread(_read, f"{page}/metrics")
        samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
        return sum(each.value for each in samples if each.name == name and labels.items() <= each.labels.items())

    async def history(self, topics: list[str]) -> History:
        """Return what was published to ``topics``, for training."""
        log = self.session.log
        if isinstance(log, InProcessLog):
            return await InProcessHistory.of(log, topics)
        return KafkaHistory(self.substrate.kafka or "", self.session.settings.kafka_properties)

    def _page_of(self, role: str) -> str | None:
        log = self.folder / f"{role}.log"
        text = "\n".join(self.said) + ("\n" + log.read_text(errors="replace") if log.exists() else "")
        pages = {name: page for names, page in _SAID.findall(text) for name in names.split(", ")}
        return pages.get(role)


@contextlib.asynccontextmanager
async def open_stage(settings: Settings, say: Say) -> AsyncIterator[Stage]:
    """Start servers and roles; stop them at the end of the block, however it ends.

    Raises:
        DemoRefused: the configured Kafka holds flights already.
        ServerMissing: the settings ask for servers that cannot be had.
    """
    folder = settings.root / servers.FOLDER / "demo"
    own = dataclasses.replace(
        settings,
        app=APP,
        namespace=f"flights-{secrets.token_hex(3)}",
        artefacts=folder / "artefacts",
        admin_port=0,
        partitions=PARTITIONS,
        kafka_properties={**_PROPERTIES, **settings.kafka_properties},
    )
    with _alone(folder):
        _clear(folder)
        with _logging_to(folder / "demo.log"):
            try:
                substrate = await asyncio.to_thread(_provide, own, folder, say)
                say(substrate.line)
                async with open_session(own, substrate) as session:
                    await _create_topics(session)
                    async with _roles(session, substrate, folder, say) as stage:
                        yield stage
            finally:
                servers.stop(folder)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder against another demo, which would clear it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DemoRefused(f"cannot begin: {folder}: another demo is running there; wait for its end") from error
        yield


@contextlib.contextmanager
def _logging_to(file: Path) -> Iterator[None]:
    """Write what this process logs to a file: a scoreboard has no room for it."""
    handler = logging.FileHandler(file, delay=True)
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()


def _clear(folder: Path) -> None:
    """Stop what a killed run left running, and remove what any run left."""
    servers.stop(folder)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def _provide(settings: Settings, folder: Path, say: Say) -> Substrate:
    is_free = settings.kafka is None and settings.redis is None and settings.substrate != "in-process"
    jars = jars_of(settings.root)
    if not is_free or kafka.obstacle(jars) or redis.obstacle():
        return provide(settings, folder, say=say)
    if not kafka.installed(jars):
        say(f"fetching Kafka {kafka.VERSION} by Maven into {jars}")
    started = servers.start(folder, jars=jars)
    return Substrate(started.kafka, started.redis, f"Kafka at {started.kafka}, Redis at {started.redis} (started)")


async def _create_topics(session: Session) -> None:
    await session.log.create_topics(declared(session.app, session.namespace, session.settings.partitions))
    for event in session.app.events:
        partitions = await session.log.partitions(event.topic)
        records = sum(end - first for first, end in await session.log.bounds(partitions))
        if records:
            raise DemoRefused(
                f"cannot begin: {event.topic}: expected an empty topic, got {records} records of an earlier run; "
                "delete the topics flights.*, or unset HEADRACE_KAFKA to have fresh servers"
            )


@contextlib.asynccontextmanager
async def _roles(session: Session, substrate: Substrate, folder: Path, say: Say) -> AsyncIterator[Stage]:
    stop, said = asyncio.Event(), list[str]()
    if substrate.in_process:
        running: asyncio.Future[object] = asyncio.ensure_future(serve(ROLES, session, stop=stop, say=said.append))
    else:
        supervisor = Supervisor(
            commands={name: role_command(name) for name in ROLES},
            environment=child_environment(substrate.pinned(session.settings)),
            say=say,
            hopeless=frozenset({2}),
            logs=folder,
        )
        running = asyncio.ensure_future(supervisor.run(stop))
    try:
        yield Stage(session, substrate, folder, running, said)
    finally:
        stop.set()
        await asyncio.gather(running, return_exceptions=True)


def _read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310  # a loopback address that a role told us
        text: str = answer.read().decode()
        return text
