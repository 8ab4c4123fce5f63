"""Keeps one model's trained versions in force: from releases put in force, and from snapshots that pointers name.

Everything is verified before it is served. What cannot be loaded is counted and logged, and the version before stays.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence

from agents.context import RoleContext
from definitions.declared import ModelDefinition, RouteDefinition
from definitions.errors import HeadraceError
from definitions.routes import misrouted
from online_models import releases
from online_models.errors import ArtefactRefused
from online_models.executor import Executor, Failure
from online_models.learners.restoring import ONLINE, restore_online
from streams.messages import Deployment
from streams.pointers import learner_pointer
from streams.store import Pointer

_RETRY_MS = 1_000

logger = logging.getLogger(__name__)


def monotonic_ms() -> float:
    """Return this process's running time in ms: the executor's clock."""
    return time.perf_counter() * 1_000


class ServedModel:
    """One model as this process serves it.

    A deployment replaces the executor as a whole; a greater pointer replaces one learner in it. Both happen between
    micro-batches, because a micro-batch is scored in one go by the executor that it finds.
    """

    def __init__(self, model: ModelDefinition, context: RoleContext) -> None:
        self.model = model
        self.release = ""
        """Digest of the release in force, empty where there is none."""
        self.executor: Executor | None = None
        self._context = context
        self._loaded: releases.Release | None = None
        self._online = tuple(name for name, learner in model.learners.items() if learner.kind == ONLINE)
        self.pointers = tuple(learner_pointer(model.key, learner) for learner in self._online)
        """Names of the pointers to the online learners' newest snapshots."""
        self._followed: dict[str, Pointer] = {}
        self._refused: dict[str, tuple[Pointer, int]] = {}
        self._said: dict[str, str] = {}

    async def deploy(self, deployment: Deployment) -> bool:
        """Put a release in force; return whether it was. It is loaded in a thread: requests are served meanwhile."""
        try:
            release = await asyncio.to_thread(
                releases.load, deployment.release, self._context.artefacts.get, self.model
            )
            executor = self._executor(release, deployment.route)
        except HeadraceError as error:
            self._count("release", "refused")
            logger.warning("kept the release in force: %s: %s", self.model.key, error)
            return False
        # The pointers followed so far belong to the release before: the next read follows them anew.
        self._loaded, self._followed, self._refused = release, {}, {}
        self.executor, self.release = executor, release.digest
        self._count("release", "loaded")
        return True

    def follow(self, found: Sequence[Pointer | None]) -> None:
        """Serve the snapshots that the pointers name, where they are greater than those served.

        Args:
            found: in the order of `pointers`.

        Cost: nothing while no pointer moved; else one file read and one restore.
        """
        for learner, pointer in zip(self._online, found, strict=True):
            if pointer is not None and self._is_news(learner, pointer):
                self._load(learner, pointer)

    def note(self, failures: Sequence[Failure]) -> None:
        """Count what learners failed at, and log it where it is not what was logged before."""
        for failure in failures:
            self._context.metrics.count("learner_failures_total", model=self.model.name, learner=failure.learner)
            if self._said.get(failure.learner) != failure.message:
                self._said[failure.learner] = failure.message
                logger.warning("no score: %s: %s: %s", self.model.key, failure.learner, failure.message)

    def _is_news(self, learner: str, pointer: Pointer) -> bool:
        followed = self._followed.get(learner)
        if followed is not None and (pointer.generation, pointer.position) <= (followed.generation, followed.position):
            return False
        refused, since_ms = self._refused.get(learner, (None, 0))
        return refused != pointer or self._context.log.now_ms() - since_ms >= _RETRY_MS

    def _load(self, learner: str, pointer: Pointer) -> None:
        if self.executor is None or self._loaded is None:
            return
        try:
            scorer, cut = restore_online(
                self.model.learners[learner],
                self._loaded.encoder,
                data=self._context.artefacts.get(pointer.digest),
                digest=pointer.digest,
            )
        except HeadraceError as error:
            self._refused[learner] = (pointer, self._context.log.now_ms())
            self._count(learner, "refused")
            logger.warning("kept the snapshot in force: %s: %s: %s", self.model.key, learner, error)
            return
        self.executor.put(learner, scorer)
        self._followed[learner] = pointer
        self._count(learner, "loaded")
        if cut.through_ms is not None:
            lag_s = max(0, self._context.log.now_ms() - cut.through_ms) / 1_000
            self._context.metrics.observe("weights_lag_seconds", lag_s, model=self.model.name, learner=learner)

    def _count(self, learner: str, result: str) -> None:
        self._context.metrics.count("model_loads_total", model=self.model.name, learner=learner, result=result)

    def _executor(self, release: releases.Release, route: RouteDefinition) -> Executor:
        problem = misrouted(route, self.model.learners)
        if problem is not None:
            expected, got, mend = problem
            text = f"cannot put release in force: {release.digest[:12]}: expected {expected}, got {got}"
            raise ArtefactRefused(f"{text}; {mend}" if mend else text)
        executor = Executor(self.model, clock=monotonic_ms)
        executor.follow(route)
        executor.put_all(release.line_up)
        return executor
