"""What commands on the past of a project open: its definitions, the log as history, the store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import typer

from batch.errors import HistoryUnavailable
from batch.history import History, KafkaHistory
from definitions.declared import AppDefinition
from headrace.command.options import settings_of
from headrace.errors import ServerMissing
from headrace.servers.substrate import existing
from headrace.session import load_definitions, open_schemas, open_store
from streams.codecs import Schemas
from streams.store import OnlineStore


@dataclass(frozen=True, slots=True)
class Past:
    """A project, opened for work on what was published."""

    app: AppDefinition
    history: History
    store: OnlineStore
    schemas: Schemas | None


@contextmanager
def open_past(context: typer.Context) -> Iterator[Past]:
    """Open the project of the working directory for as long as the block lasts.

    Raises:
        ServerMissing: there is no Kafka, or it does not answer.
        StoreUnavailable: the store does not answer.
    """
    settings = settings_of(context)
    app = load_definitions(settings)
    substrate = existing(settings, Path.cwd())
    store = open_store(substrate, settings.namespace_of(app.name))
    try:
        history = KafkaHistory(substrate.kafka or "", settings.kafka_properties)
        yield Past(app, history, store, open_schemas(settings))
    except HistoryUnavailable as error:
        raise ServerMissing(str(error)) from error
    finally:
        store.close()
