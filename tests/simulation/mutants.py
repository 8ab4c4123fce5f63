"""Rules that safety rests on, each broken alone: a simulation that does not notice is not worth its time.

Every mutant changes one part of a simulated process, from outside: what leaves it, what comes back, or who drives it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from unittest import mock

from agents.featurize import FeaturesRole
from agents.runner import Runner
from agents.transport import Headers
from streams import engine
from streams.copies import Sifted
from streams.derived import COPIED_HEADER
from streams.records import RecordBatch
from streams.store import Cell, Link, Row, RowKey, fresh_mark
from tests.simulation.connection import Connection
from tests.simulation.process import Parts
from tests.simulation.rekeyed import FeaturesProcess
from tests.simulation.sending import SimulatedProducer
from tests.simulation.store import TimeTravellingStore


class MarkNotCompared(TimeTravellingStore):
    """Takes every link of a row that is there."""

    def take(self, link: Link) -> None:
        """Expect what is held."""
        [held] = self.read_rows([link.key])
        super().take(link if held is None else replace(link, expected=held.mark))

    def compare(self, key: RowKey, expected: bytes) -> None:
        """Compare nothing."""


class MarkNotComparedInReads(TimeTravellingStore):
    """Trusts whatever cells a read brings."""

    def compare(self, key: RowKey, expected: bytes) -> None:
        """Compare nothing."""


class MarkNotRenewed(TimeTravellingStore):
    """Keeps a mark that says no more than the position: links that do not advance the row leave it as it was."""

    def __init__(self) -> None:
        super().__init__()
        self._meant: dict[bytes, bytes] = {}

    def take(self, link: Link) -> None:
        """Leave the mark of the row's position, whatever fresh one was sent."""
        expected = self._meaning(link.expected)
        fresh = expected if link.row is None else self._mark(link.row)
        self._meant[link.fresh] = fresh
        super().take(replace(link, expected=expected, fresh=fresh))

    def compare(self, key: RowKey, expected: bytes) -> None:
        """Compare what the mark means."""
        super().compare(key, self._meaning(expected))

    def _meaning(self, mark: bytes) -> bytes:
        return self._meant.get(mark, mark)

    def _mark(self, row: Row) -> bytes:
        return row.next.to_bytes(8, "big")

    def _state(self) -> dict[str, Any]:
        return {name: value for name, value in super()._state().items() if name != "_meant"}


class RowOutsideTheChain(Connection):
    """Advances rows by calls of their own, whatever became of the links before."""

    def write(self, links: Sequence[Link]) -> None:
        """Write the links without their rows, then put the rows there without asking."""
        try:
            super().write([replace(link, row=None) for link in links])
        finally:
            for link in links:
                [held] = self.store.read_rows([link.key])
                if link.row is not None and held is not None and not self._process.dead:
                    self.store.take(Link(link.key, held.mark, held.mark, {}, link.row))


class RowBeforeItsCells(Connection):
    """Advances a row in the first of its links."""

    def sent(self, links: Sequence[Link]) -> Sequence[Link]:
        """Bring each row forward."""
        rows = {link.key: link.row for link in links if link.row is not None}
        return [replace(link, row=rows.pop(link.key, None)) for link in links]


class CellPositionNotTheMaximum(Connection):
    """Writes cells at the batch's position, even where they contain more."""

    def sent(self, links: Sequence[Link]) -> Sequence[Link]:
        """Put every cell where its row will be."""
        rows = {link.key: link.row for link in links if link.row is not None}
        return [replace(link, cells=_placed(link, rows[link.key].next)) for link in links]


def _placed(link: Link, position: int) -> Mapping[str, Cell | None]:
    return {name: None if cell is None else Cell(position, cell.state) for name, cell in link.cells.items()}


class CacheKeptAfterARefusal(Connection):
    """Remembers the cells that it read and wrote for as long as the process lives."""

    def __init__(self, process: Any) -> None:
        super().__init__(process)
        self._kept: dict[tuple[RowKey, str], Cell | None] = {}

    def read_cells(self, key: RowKey, entities: Sequence[str], *, expected: bytes | None = None) -> list[Cell | None]:
        """Read what is not remembered."""
        missing = [entity for entity in entities if (key, entity) not in self._kept]
        found = super().read_cells(key, missing, expected=expected)
        self._kept.update({(key, entity): cell for entity, cell in zip(missing, found, strict=True)})
        return [self._kept[key, entity] for entity in entities]

    def write(self, links: Sequence[Link]) -> None:
        """Remember what is written, whatever becomes of it."""
        self._kept.update({(link.key, entity): cell for link in links for entity, cell in link.cells.items()})
        super().write(links)


class RemovedOutsideTheAdvance(Connection):
    """Removes cells in a link of their own, before the one that advances the row."""

    def sent(self, links: Sequence[Link]) -> Sequence[Link]:
        """Put the removals in front of the link that carries them."""
        return [each for link in links for each in _removed_first(link)]


def _removed_first(link: Link) -> Sequence[Link]:
    removed = {name: cell for name, cell in link.cells.items() if cell is None}
    if not removed or link.row is None:
        return [link]
    between = fresh_mark()
    kept = {name: cell for name, cell in link.cells.items() if cell is not None}
    return [Link(link.key, link.expected, between, removed), replace(link, expected=between, cells=kept)]


class FromNotCompared(Runner):
    """Takes whatever batch comes next for the one that follows."""

    async def take(self, batch: RecordBatch) -> None:
        """Close every gap by not looking at it."""
        position = self.positions().get(batch.partition, batch.first)
        await super().take(replace(batch, first=position) if 0 <= position < batch.first else batch)


class LettersNotAwaited(SimulatedProducer):
    """Says that a record is acknowledged as soon as it is sent."""

    def produce(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None = None,
        headers: Headers = (),
        partition: int | None = None,
    ) -> Awaitable[int]:
        """Put the record on its way, and wait for nothing."""
        super().produce(topic, value, key=key, headers=headers, partition=partition)
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        done.set_result(0)
        return done


FEATURES: Mapping[str, Callable[[Parts], Parts]] = {
    "mark not compared": lambda parts: replace(parts, store=MarkNotCompared),
    "mark not compared in reads": lambda parts: replace(parts, store=MarkNotComparedInReads),
    "mark not renewed": lambda parts: replace(parts, store=MarkNotRenewed),
    "row advanced outside the chain": lambda parts: replace(parts, connection=RowOutsideTheChain),
    "row advanced before its cells": lambda parts: replace(parts, connection=RowBeforeItsCells),
    "batches applied without comparing from": lambda parts: replace(parts, runner=FromNotCompared),
    "cache kept after a refusal": lambda parts: replace(parts, connection=CacheKeptAfterARefusal),
    "dead letters not acknowledged before the row": lambda parts: replace(parts, producer=LettersNotAwaited),
}
"""Mutants that the features role shows."""


class CopiesSentAloneProducer(SimulatedProducer):
    """Does not say which copy was sent just before and is not acknowledged yet."""

    def produce(self, topic: str, value: bytes | None, *, headers: Headers = (), **given: Any) -> Awaitable[int]:
        """Say that none was."""
        told = [(name, _alone(content) if name == COPIED_HEADER else content) for name, content in headers]
        return super().produce(topic, value, headers=told, **given)


def _alone(content: bytes | None) -> bytes:
    topic_id, _, stamp = json.loads(content or b"")
    return json.dumps([topic_id, 0, stamp]).encode()


class EveryCopyTaken(FeaturesRole):
    """Does not ask whether a copy was there before."""

    async def apply(self, batch: RecordBatch) -> None:
        """Take what comes."""
        with mock.patch.object(engine, "first_copies", lambda row, given: Sifted(given, (), (), row.copied)):
            await super().apply(batch)


COPIES: Mapping[str, Callable[[Parts], Parts]] = {
    "copies sent again taken again": lambda parts: replace(
        parts, role=lambda context: FeaturesProcess(context, features=EveryCopyTaken)
    ),
    "copies not acknowledged before the row": lambda parts: replace(parts, producer=LettersNotAwaited),
    "copies that do not name their predecessor": lambda parts: replace(parts, producer=CopiesSentAloneProducer),
}
"""Mutants that a rekeyed view has to show."""

FOLDS: Mapping[str, Callable[[Parts], Parts]] = {
    "cell position not the maximum": lambda parts: replace(parts, connection=CellPositionNotTheMaximum),
    "removed cell outside the advancing link": lambda parts: replace(parts, connection=RemovedOutsideTheAdvance),
}
"""Mutants that a fold has to show which removes cells, and writes cells that it did not change."""
