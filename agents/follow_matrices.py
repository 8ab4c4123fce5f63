"""Follows the matrices that a graph keeps in memory: each is a pointer in the store to an artefact.

A newer one is loaded in a thread while the one before serves, and put in force between micro-batches. What cannot be
loaded is counted and logged, and the one before stays.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence

from agents.context import RoleContext
from definitions.declared import GraphDefinition
from definitions.errors import HeadraceError
from online_models.graphs.matrix import Matrix
from streams.store import Pointer

logger = logging.getLogger(__name__)


def pointer_name(matrix: str) -> str:
    """Return the name of the pointer to a matrix in force."""
    return f"matrix.{matrix}"


class MatrixFollower:
    """Keeps a graph's matrices at the newest published ones."""

    def __init__(self, graph: GraphDefinition, context: RoleContext) -> None:
        self.pointers = tuple(map(pointer_name, graph.matrices))
        self._graph = graph
        self._context = context
        self._in_force: dict[str, Matrix | None] = dict.fromkeys(graph.matrices)
        self._followed: dict[str, Pointer] = {}
        self._loading: dict[str, asyncio.Task[None]] = {}

    @property
    def in_force(self) -> Mapping[str, Matrix | None]:
        """Matrix name to the matrix, None where none could be loaded yet."""
        return self._in_force

    def follow(self, found: Sequence[Pointer | None]) -> None:
        """Begin to load the matrices whose pointers have moved.

        Args:
            found: in the order of `pointers`.
        """
        for name, pointer in zip(self._graph.matrices, found, strict=True):
            if pointer is not None and name not in self._loading and pointer != self._followed.get(name):
                self._followed[name] = pointer
                self._loading[name] = asyncio.create_task(self._load(name, pointer), name=f"load-matrix-{name}")

    async def settle(self) -> None:
        """Return when nothing is being loaded."""
        await asyncio.gather(*self._loading.values())

    async def _load(self, name: str, pointer: Pointer) -> None:
        try:
            self._in_force[name] = await asyncio.to_thread(self._read, name, pointer.digest)
            self._count(name, "loaded")
        except HeadraceError as error:
            self._count(name, "refused")
            logger.warning("kept the matrix in force: %s: %s", name, error)
        finally:
            del self._loading[name]

    def _read(self, name: str, digest: str) -> Matrix:
        kind = self._graph.candidates.entity.type
        return Matrix.from_bytes(
            self._context.artefacts.get(digest), digest, length=self._graph.matrices[name], kind=kind
        )

    def _count(self, name: str, result: str) -> None:
        self._context.metrics.count("model_loads_total", model=self._graph.name, learner=name, result=result)
