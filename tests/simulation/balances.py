"""A fold that does what views do not (yet): it removes cells, and writes cells that it did not change.

Balances of accounts: a record adds to one or takes from it. A balance of nothing has no cell, so what was in it before
can not be told again. What every account holds is a sum over the log.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from agents.context import RoleContext
from agents.transport import Assigned, CommitPolicy, Role, StartAt, Subscription
from streams.chain import Chain
from streams.records import Partition, Record, RecordBatch
from streams.store import Row, RowKey
from streams.topics import TopicConfig

if TYPE_CHECKING:
    from tests.simulation.world import World

FOLD = "balances"
ACCOUNTS = ("ann", "bob", "cleo", "dora")


class _Codec:
    """Whole numbers as text."""

    def empty(self) -> int:
        """Return nothing."""
        return 0

    def encode(self, state: int) -> bytes | None:
        """Keep nothing of a balance of nothing."""
        return b"%d" % state if state else None

    def decode(self, data: bytes) -> int:
        """Return the balance."""
        return int(data)


class BalancesRole:
    """Keeps the balances. Implements `agents.transport.Role`."""

    name = "balances"

    def __init__(self, context: RoleContext) -> None:
        self._context = context
        self._open: dict[Partition, Chain[int]] = {}

    def subscription(self) -> Subscription:
        """Return what is read."""
        return Subscription("ns.balances", (Balances.topic,), CommitPolicy.AFTER_DURABLE, StartAt.FIRST)

    async def open(self, given: Assigned) -> int:
        """Go on where the row says."""
        key = RowKey(FOLD, given.partition)
        stored = self._context.store.create_row(key, Row(next=given.first, first=given.first))
        self._open[given.partition] = Chain(self._context.store, key, stored, _Codec())
        return stored.row.next

    async def apply(self, batch: RecordBatch) -> None:
        """Add up; every account of the batch is written, changed or not, and so are their neighbours."""
        chain = self._open[batch.partition]
        records = [record for record in batch.records if record.offset() >= chain.row.next]
        accounts = dict.fromkeys([*map(_account, records), *(_neighbour(_account(record)) for record in records)])
        slots = chain.load(accounts)
        for record in records:
            slot = slots[_account(record)]
            if record.offset() >= slot.position:
                slot.state += _amount(record)
        row = chain.row
        chain.commit(replace(row, next=max(batch.next, row.next), applied=row.applied + len(records)), accounts)

    async def reached_end(self, partition: Partition, end: int, broker_ms: int) -> None:
        """Write a link, so that a store gone back is noticed."""
        chain = self._open.get(partition)
        if chain is not None and chain.row.next == end:
            chain.commit(replace(chain.row, applied_through_ms=broker_ms), ())

    async def close(self, partition: Partition) -> None:
        """Forget the partition."""
        self._open.pop(partition, None)


class Balances:
    """The fold as a `tests.simulation.world.Subject`."""

    topic = "balances"
    reads = ("balances",)

    def __init__(self, partitions: int = 1) -> None:
        self._partitions = partitions

    def topics(self) -> Sequence[TopicConfig]:
        """Return the one topic."""
        return [TopicConfig(self.topic, partitions=self._partitions)]

    def role(self, context: RoleContext) -> Role:
        """Return the role."""
        return BalancesRole(context)

    def record(self, chance: random.Random, number: int, now_ms: int) -> tuple[bytes | None, bytes]:
        """Return one more, or one less."""
        del number, now_ms
        return chance.choice((b"1", b"-1")), chance.choice(ACCOUNTS).encode()

    def rows(self, partition: Partition) -> Sequence[RowKey]:
        """Return the key of the one row."""
        return [RowKey(FOLD, partition)]

    async def findings(self, world: World) -> list[str]:
        """Return the balances and tallies that are not what the log says."""
        found = []
        for partition in world.partitions:
            records = world.log.kept(partition).records
            sums = {name: sum(_amount(record) for record in records if _account(record) == name) for name in ACCOUNTS}
            [key] = self.rows(partition)
            [stored] = world.store.read_rows([key])
            cells = zip(ACCOUNTS, world.store.read_cells(key, ACCOUNTS), strict=True)
            held = {name: 0 if cell is None else int(cell.state) for name, cell in cells}
            applied = None if stored is None else stored.row.applied
            if (held, applied) != (sums, len(records)):
                found.append(f"balances[{partition.index}]: expected {sums} of {len(records)}, got {held} of {applied}")
        return found


def _account(record: Record) -> str:
    return (record.key() or b"").decode()


def _amount(record: Record) -> int:
    return int(record.value() or b"")


def _neighbour(account: str) -> str:
    return ACCOUNTS[(ACCOUNTS.index(account) + 1) % len(ACCOUNTS)]
