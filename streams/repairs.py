"""What can be wrong between a source topic and the rows that rest on it, and the two ways to go on.

=============  =============================================  ==================  ====================================
reason         what was found                                 what stands still   what ``headrace repair`` offers
=============  =============================================  ==================  ====================================
``recreated``  another topic of the same name                 all its partitions  ``--restart``
``restarting`` a restart was begun and not ended              all its partitions  ``--restart``
``compacted``  compaction deletes events of the topic         all its partitions  ``--accept-loss``, it stops compacting
``partitions`` more partitions than when rows were begun      the new partitions  ``--accept-loss`` (nothing is), or
                                                                                  ``--restart``
``no_rows``    the group has read, the store knows nothing    that partition      ``--restart``
``log_start``  retention took records that were never read    that partition      ``--accept-loss``, or ``--restart``
``log_end``    the log ends before what the rows contain      that partition      ``--restart``
=============  =============================================  ==================  ====================================

*Accepting a loss* goes on with the log as it is: state stays, rows advance over what is gone and count it as lost.
*Restarting* gives the state up and reads the log again from its oldest record: what it no longer holds is counted as
lost, dead letters are written once more, at the same source positions. Both are links of the chains of the rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from msgspec.structs import replace

from streams import sources
from streams.chain import CELLS_A_LINK
from streams.errors import ChainBroken
from streams.records import Partition
from streams.store import GONE, Link, OnlineStore, Pointer, Question, Row, RowKey, StoredRow, fresh_mark

ACCEPT_LOSS = "--accept-loss"
RESTART = "--restart"

OFFERS = {
    "recreated": (RESTART,),
    "restarting": (RESTART,),
    "compacted": (ACCEPT_LOSS,),
    "partitions": (ACCEPT_LOSS, RESTART),
    "no_rows": (RESTART,),
    "log_start": (ACCEPT_LOSS, RESTART),
    "log_end": (RESTART,),
}
"""Reason to the options of ``headrace repair`` that resolve it."""

_LINKS_A_WRITE = 50
_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a partition must not be read on. ``reason`` is one of the table above."""

    partition: Partition
    reason: str
    found: str
    """What was expected and what was found."""

    @property
    def message(self) -> str:
        """One line for people, with the commands that resolve it."""
        topic, index = self.partition.topic, self.partition.index
        ways = " or ".join(f"`headrace repair {topic} {way}`" for way in OFFERS[self.reason])
        return f"cannot go on: {topic}[{index}]: {self.found}; run {ways}"


def fault_of(
    partition: Partition,
    rows: Sequence[StoredRow | None],
    bounds: tuple[int, int],
    *,
    source: Pointer | None,
    policy: str,
    was_read: bool,
) -> Fault | None:
    """Return what is wrong with one partition, None where it may be read.

    Args:
        partition: as the log knows it now.
        rows: of the partition's folds, the intake's first; a view that waits has none.
        bounds: (first, end) of the log.
        source: which topic the rows are of, see `streams.sources`.
        policy: the topic's cleanup policy.
        was_read: whether rows must be there.
    """
    found = _of_topic(partition, source, policy) or _of_rows(rows, bounds, was_read=was_read)
    return None if found is None else Fault(partition, *found)


def _of_topic(partition: Partition, source: Pointer | None, policy: str) -> tuple[str, str] | None:
    if source is not None and source.position == sources.RESTARTING:
        return "restarting", "expected its rows, got those of a restart that was not ended"
    if source is not None and source.digest != partition.topic_id:
        return "recreated", f"expected the topic {source.digest}, got another one of its name, {partition.topic_id}"
    if "compact" in policy:
        return "compacted", f"expected a topic that keeps its events, got cleanup.policy={policy}"
    if source is not None and partition.index >= source.position:
        added = f"expected {source.position} partitions as when its rows were begun, got more"
        return "partitions", f"{added}: entities will have state on both sides"
    return None


def _of_rows(rows: Sequence[StoredRow | None], bounds: tuple[int, int], *, was_read: bool) -> tuple[str, str] | None:
    if rows[0] is None and was_read:
        return "no_rows", "expected the rows of records already read, got a store that knows nothing of them"
    (first, end), positions = bounds, [stored.row.next for stored in rows if stored is not None]
    if positions and min(positions) < first:
        return "log_start", f"expected offset {min(positions)}, got a log that begins at {first}"
    if positions and max(positions) > end:
        return "log_end", f"expected a log up to offset {max(positions)}, got one that ends at {end}"
    return None


def accept_loss(store: OnlineStore, folds: Sequence[str], partition: Partition, first: int) -> int:
    """Advance the partition's rows to the log's first offset, and count what they skip; return the most of it.

    Raises:
        ChainBroken: somebody is writing the rows.
    """
    keys = [RowKey(fold, partition) for fold in folds]
    lost = 0
    for key, stored in zip(keys, store.read_rows(keys), strict=True):
        if stored is not None and stored.row.next < first:
            gone = first - stored.row.next
            row = replace(stored.row, next=first, lost=stored.row.lost + gone)
            store.write([Link(key, stored.mark, fresh_mark(), row=row)])
            lost = max(lost, gone)
    return lost


def restart(store: OnlineStore, folds: Sequence[str], firsts: Sequence[tuple[Partition, int]], partitions: int) -> int:
    """Give up what the folds know of a topic, and let them begin at its first offsets; return what is counted as lost.

    Until it ends, no role reads the topic: should it be cut short, it has to be done again. Cost: a scan of the store
    for each fold, and about 10 us a cell.

    Args:
        store: the online store.
        folds: the intake and every view on the topic.
        firsts: the partitions to restart, as the log knows them now, and the first offset of each.
        partitions: how many the topic has by now.
    """
    topic, topic_id = firsts[0][0].topic, firsts[0][0].topic_id
    source = sources.source_of(store, topic)
    old_id = topic_id if source is None else source.digest
    sources.replace_source(store, topic, old_id, sources.RESTARTING)
    lost = 0
    for fold in folds:
        entities = store.entities(fold)
        if old_id != topic_id:
            for field in store.read(Question(folds=[fold])).rows[0]:
                found_id, _, index = field.rpartition("/")
                if found_id == old_id:
                    _let_go(store, RowKey(fold, Partition(topic, int(index), old_id)), entities, None)
        for partition, first in firsts:
            lost = max(lost, _let_go(store, RowKey(fold, partition), entities, first))
    part = source is not None and source.position and len(firsts) < partitions
    sources.replace_source(store, topic, topic_id, source.position if source is not None and part else partitions)
    return lost


def begin_again(store: OnlineStore, key: RowKey, first: int) -> None:
    """Let a fold without cells begin again at an offset of its partition.

    Raises:
        ChainBroken: somebody keeps writing the row.
    """
    _let_go(store, key, (), first)


def _let_go(store: OnlineStore, key: RowKey, entities: Sequence[str], first: int | None) -> int:
    """Remove a fold's cells of one partition; its row begins at ``first``, or goes too. Return what is lost with it."""
    for attempt in range(_ATTEMPTS):
        [stored] = store.read_rows([key])
        if stored is None:
            if first is not None:
                store.create_row(key, Row(next=first, first=first, lost=first))
            return first or 0
        row = None if first is None else _begun(stored.row, first)
        links = _links(key, stored.mark, entities, row)
        try:
            while some := list(islice(links, _LINKS_A_WRITE)):
                store.write(some)
        except ChainBroken:
            # An owner that has not noticed yet; he finds his own chain broken, and the topic closed.
            if attempt == _ATTEMPTS - 1:
                raise
        else:
            return 0 if row is None else row.lost
    return 0


def _begun(row: Row, first: int) -> Row:
    return Row(next=first, first=first, lost=min(first, row.lost + max(0, first - row.first)))


def _links(key: RowKey, mark: bytes, entities: Sequence[str], row: Row | None) -> Iterator[Link]:
    if row is not None:
        fresh = fresh_mark()
        yield Link(key, mark, fresh, row=row)
        mark = fresh
    names = iter(entities)
    while some := list(islice(names, CELLS_A_LINK)):
        fresh = fresh_mark()
        yield Link(key, mark, fresh, dict.fromkeys(some))
        mark = fresh
    if row is None:
        yield Link(key, mark, GONE)
