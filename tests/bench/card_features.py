"""Ours, as a user runs it: a project with one declared view, ``headrace run features``, and readers of its store."""

from __future__ import annotations

import math
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from subprocess import PIPE, Popen, TimeoutExpired

import redis

from definitions.declared import AppDefinition, ViewDefinition
from headrace.loading import load_app
from headrace.settings import child_environment, read_settings
from streams.reading import FeatureReader
from streams.store import Question, Row
from streams.store.redis import RedisStore
from tests.bench.payments import Payments
from tests.bench.processes import descent

APP = """
from datetime import datetime
import headrace as hr

__app_name__ = "{name}"

class Payment(hr.Event, topic="{topic}", id="id", at="at", disorder="5s", key="card"):
    id: str
    card: str
    amount: float
    at: datetime

class Cards(hr.Features, on=Payment, by="card", version=1):
{features}
"""

WINDOWS = """
    n = hr.count().over("10m", "1h", "24h")
    spent = hr.sum(Payment.amount).over("10m", "1h", "24h")
"""
"""What every engine is measured on: count and sum over three windows."""

_START_S = 60.0
_STOP_S = 15.0


@dataclass(frozen=True)
class Project:
    """A project folder with one view of cards over a topic. Its namespace is its name."""

    folder: Path
    name: str
    topic: str
    kafka: str
    redis: str
    view: ViewDefinition

    @contextmanager
    def store(self) -> Iterator[RedisStore]:
        """Open the project's online store."""
        store = RedisStore(self.redis, self.name)
        try:
            yield store
        finally:
            store.close()

    @contextmanager
    def running(self, *, profile: Path | None = None) -> Iterator[int]:
        """Run the features role; yield the pid of the process that does its work.

        ``profile`` runs it under cProfile without its supervisor, and takes the profile when the block ends.
        """
        command = [sys.executable, "-m", "headrace", "run", "features"]
        settings = replace(read_settings(self.folder), kafka=self.kafka, redis=self.redis, admin_port=0)
        if profile is not None:
            command = [sys.executable, "-m", "cProfile", "-o", str(profile), "-m", "headrace.role", "features"]
        with (self.folder / "run.log").open("ab") as log:
            process = Popen(
                command, cwd=self.folder, env=child_environment(settings), stdin=PIPE, stdout=log, stderr=log
            )
        try:
            yield process.pid if profile is not None else self._child_of(process)
        finally:
            process.terminate()
            try:
                process.wait(_STOP_S)
            except TimeoutExpired:
                process.kill()
                process.wait()

    def rows(self, store: RedisStore) -> Mapping[str, Row]:
        """Return the view's resume rows by partition."""
        [found] = store.read(Question(folds=[self.view.key]), timeout_ms=5_000).rows
        return {name: stored.row for name, stored in found.items()}

    def values(self, store: RedisStore, cards: Sequence[str], as_of_ms: int) -> list[Mapping[str, object]]:
        """Return the view's values of each card, names without the view's."""
        reader = FeatureReader([self.view])
        question = reader.question([{"card": card} for card in cards])
        answer = store.read(question, timeout_ms=5_000)
        served = [reader.serve(question, answer, index, as_of_ms) for index in range(len(cards))]
        return [{name.partition(".")[2]: value for name, value in each.values.items()} for each in served]

    def said(self) -> str:
        """Return what the role's process said."""
        return (self.folder / "run.log").read_text()

    def _child_of(self, supervisor: Popen[bytes]) -> int:
        def children() -> list[int]:
            if supervisor.poll() is not None:
                raise RuntimeError(f"cannot run features: {self.said()}")
            return descent(supervisor.pid)[1:]

        until(lambda: bool(children()), _START_S, "the role's process to start")
        return children()[0]


@contextmanager
def project(name: str, topic: str, *, kafka: str, redis_url: str, features: str = WINDOWS) -> Iterator[Project]:
    """Make a project in a folder of its own; what it leaves in Redis is removed with it."""
    with tempfile.TemporaryDirectory() as folder:
        app = load(Path(folder), f"app_{name.replace('-', '_')}", APP.format(name=name, topic=topic, features=features))
        made = Project(Path(folder), name, topic, kafka, redis_url, app.views[0])
        try:
            yield made
        finally:
            forget(redis_url, name)


def load(folder: Path, module: str, source: str) -> AppDefinition:
    """Write an author's module into a folder and load it."""
    (folder / f"{module}.py").write_text(source)
    (folder / "pyproject.toml").write_text(f'[tool.headrace]\napp = "{module}"\n')
    sys.path.insert(0, str(folder))
    try:
        return load_app(module)
    finally:
        sys.path.remove(str(folder))


def forget(redis_url: str, namespace: str) -> None:
    """Remove a namespace's keys."""
    client = redis.Redis.from_url(redis_url)
    for keys in batches(list(client.scan_iter(f"{namespace}:*", count=10_000)), 10_000):
        client.unlink(*keys)
    client.close()


def batches(keys: Sequence[bytes], size: int) -> Iterator[Sequence[bytes]]:
    """Cut a sequence."""
    return (keys[at : at + size] for at in range(0, len(keys), size))


def spans_of(view: ViewDefinition) -> dict[str, tuple[int, int]]:
    """Return the length of each window of the view and of its tiles, ms, by text."""
    return {each.text: (each.length_ms, each.grid_ms) for each in view.aggregates[0].windows}


def differing(made: Project, store: RedisStore, payments: Payments, cards: Sequence[int], as_of_ms: int) -> list[str]:
    """Return how the served values of cards differ from a plain recomputation; empty where all is right.

    Counts are compared exactly, sums to a relative 1e-9.
    """
    spans, found = spans_of(made.view), []
    names = [f"c{card:05d}" for card in cards]
    for card, values in zip(cards, made.values(store, names, as_of_ms), strict=True):
        for text, (count, total) in payments.windows(card, spans, as_of_ms).items():
            n, spent = values[f"n_{text}"], values[f"spent_{text}"]
            if n != count or not isinstance(spent, float) or not math.isclose(spent, total, rel_tol=1e-9):
                found.append(f"c{card:05d} over {text}: expected {count}, {total}, got {n}, {spent}")
    return found


def until(condition: Callable[[], bool], deadline_s: float, what: str, *, every_s: float = 0.01) -> None:
    """Wait for a condition.

    Raises:
        TimeoutError: it did not come about in time.
    """
    until_s = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > until_s:
            raise TimeoutError(f"waited {deadline_s:.0f} s for {what}")
        time.sleep(every_s)
