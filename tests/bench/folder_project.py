"""A project in a folder of its own, on servers that are given: its processes, its topics, and its end."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from agents.transport.kafka import KafkaLog
from definitions.declared import AppDefinition, ModelDefinition
from headrace.settings import child_environment, read_settings
from streams import topics
from streams.artefacts import ArtefactStore
from streams.records import Partition
from tests.bench.card_features import forget, load

PARTITIONS = 4

_REPOSITORY = Path(__file__).resolve().parents[2]
_STOP_S = 20.0


@dataclass(frozen=True)
class FolderProject:
    """A project with one model. Its namespace is its name."""

    folder: Path
    name: str
    kafka: str
    redis: str
    app: AppDefinition

    @property
    def model(self) -> ModelDefinition:
        """The one model."""
        [model] = self.app.models
        return model

    @property
    def artefacts(self) -> ArtefactStore:
        """Where its releases and snapshots are."""
        return ArtefactStore(self.artefacts_folder)

    @property
    def artefacts_folder(self) -> Path:
        """The folder of all its artefacts."""
        return read_settings(self.folder).artefacts

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment of the project's processes."""
        settings = replace(read_settings(self.folder), kafka=self.kafka, redis=self.redis, admin_port=0)
        return {**child_environment(settings), "PYTHONPATH": str(_REPOSITORY)}

    async def create_topics(self) -> Sequence[Partition]:
        """Create what the app needs; return the partitions of the label events."""
        log = KafkaLog(self.kafka)
        await log.create_topics(topics.declared(self.app, self.name, PARTITIONS))
        found = await log.partitions(f"{self.name}.settled")
        await log.close()
        return found

    @contextmanager
    def started(self, module: Sequence[str], roles: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
        """Run a module, told of roles, for as long as the block lasts. What it says is `said`."""
        with (self.folder / "run.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *module, *roles],
                cwd=self.folder,
                env=dict(self.environment),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
            )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            assert process.stdin is not None
            process.stdin.close()

    def said(self) -> str:
        """Return what the roles said."""
        return (self.folder / "run.log").read_text(errors="replace")


@contextmanager
def written(name: str, source: str, redis_url: str) -> Iterator[tuple[Path, AppDefinition]]:
    """Write an author's module into a folder and load it; at the end both are gone, with the project's keys."""
    with tempfile.TemporaryDirectory() as folder:
        app = load(Path(folder), f"app_{name.replace('-', '_')}", source)
        try:
            yield Path(folder), app
        finally:
            forget(redis_url, name)
