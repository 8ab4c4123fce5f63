"""What most commands need, opened in one place: the definitions, the log, the store and the artefacts of a project."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from agents.transport import Log
from definitions.declared import AppDefinition
from headrace.errors import UsageError
from headrace.servers.substrate import Substrate
from headrace.settings import Settings
from streams.artefacts import ArtefactStore
from streams.codecs import Schemas
from streams.placement import placed
from streams.store import OnlineStore


@dataclass(frozen=True, slots=True)
class Session:
    """A project, opened. Everything in it belongs to the event loop and the thread that opened it."""

    settings: Settings
    app: AppDefinition
    namespace: str
    log: Log
    store: OnlineStore
    artefacts: ArtefactStore
    schemas: Schemas | None = None


def load_definitions(settings: Settings) -> AppDefinition:
    """Import the author's module and return what it declares, rekeyed views placed in the namespace.

    Raises:
        UsageError: no module is named.
        HeadraceError: the module is not there, or declares something that cannot mean anything.
    """
    if settings.app is None:
        raise UsageError(
            f"cannot load definitions: {settings.root}: expected a module, got none; "
            "name it with --app, HEADRACE_APP or `app` under [tool.headrace]"
        )
    root = str(settings.root)
    if root not in sys.path:
        sys.path.insert(0, root)
    from headrace.loading import load_app  # noqa: PLC0415  # the author's module may import half a second of libraries

    app = load_app(settings.app)
    return placed(app, settings.namespace_of(app.name))


@asynccontextmanager
async def open_session(settings: Settings, substrate: Substrate) -> AsyncIterator[Session]:
    """Open a project on ``substrate``, and close what was opened at the end of the block.

    Raises:
        HeadraceError: the definitions cannot be used.
        LogUnavailable: the log does not answer.
        StoreUnavailable: the store does not answer.
    """
    app = load_definitions(settings)
    namespace = settings.namespace_of(app.name)
    store = open_store(substrate, namespace)
    log = open_log(settings, substrate)
    try:
        yield Session(settings, app, namespace, log, store, ArtefactStore(settings.artefacts), open_schemas(settings))
    finally:
        await log.close()
        store.close()


def open_schemas(settings: Settings) -> Schemas | None:
    """Return the schemas of the registry that the settings name, None if they name none. Nothing is asked yet."""
    if settings.schema_registry is None:
        return None
    from agents.fetch_schemas import SchemaRegistry  # noqa: PLC0415  # only the one that is used is imported

    return SchemaRegistry(settings.schema_registry)


def open_log(settings: Settings, substrate: Substrate) -> Log:
    """Return the substrate's log: Kafka, or one in this process's memory."""
    if substrate.kafka is None:
        from agents.transport.in_process import InProcessLog  # noqa: PLC0415  # only the one that is used is imported

        return InProcessLog()
    from agents.transport.kafka import KafkaLog  # noqa: PLC0415

    return KafkaLog(substrate.kafka, settings.kafka_properties)


def open_store(substrate: Substrate, namespace: str) -> OnlineStore:
    """Return the substrate's store: Redis, or this process's memory.

    Raises:
        StoreUnavailable: Redis does not answer.
    """
    if substrate.redis is None:
        from streams.store.memory import MemoryStore  # noqa: PLC0415

        return MemoryStore()
    from streams.store.redis import RedisStore  # noqa: PLC0415

    return RedisStore(substrate.redis, namespace)
