"""Finds what is wrong between a source topic and its rows, and repairs it where somebody said how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agents.transport import Log
from definitions.declared import AppDefinition, EventDefinition
from definitions.errors import HeadraceError
from streams import repairs, sources
from streams.copies import copier_fold
from streams.intake import FOLD
from streams.records import Partition
from streams.repairs import ACCEPT_LOSS, RESTART, Fault
from streams.store import OnlineStore, RowKey


@dataclass(frozen=True, slots=True)
class Examined:
    """A source topic as the log and the store know it, and what does not fit."""

    event: EventDefinition
    folds: Sequence[str]
    partitions: Sequence[Partition]
    bounds: Sequence[tuple[int, int]]
    faults: Sequence[Fault]


async def examine(app: AppDefinition, event: EventDefinition, log: Log, store: OnlineStore) -> Examined:
    """Look at every partition of an event's topic. Nothing is changed.

    Raises:
        HeadraceError: there is no such topic.
        LogUnavailable: the log does not answer.
    """
    partitions = await log.partitions(event.topic)
    if not partitions:
        raise HeadraceError(f"cannot examine: {event.topic}: expected a topic, got none; run `headrace run`")
    bounds, policy = await log.bounds(partitions), await log.cleanup_policy(event.topic)
    copiers = [copier_fold(copy.topic) for copy in app.copies if copy.origin == event.topic != copy.topic]
    folds = [FOLD, *(source.key for source in app.sources_on(event.topic)), *copiers]
    source = sources.source_of(store, event.topic)
    faults = []
    for partition, bound in zip(partitions, bounds, strict=True):
        rows = store.read_rows([RowKey(fold, partition) for fold in folds])
        fault = repairs.fault_of(partition, rows, bound, source=source, policy=policy, was_read=bound[1] > 0)
        faults += [] if fault is None else [fault]
    return Examined(event, folds, partitions, bounds, faults)


async def repair(examined: Examined, way: str, log: Log, store: OnlineStore, index: int | None = None) -> int:
    """Repair the topic, or one partition of it; return how many records are counted as lost by it.

    Args:
        examined: what was found.
        way: `streams.repairs.ACCEPT_LOSS` or `streams.repairs.RESTART`.
        log: where the topic is.
        store: where its rows are.
        index: the partition, None for all.

    Raises:
        HeadraceError: what was found cannot be repaired this way, or not in one partition alone.
        ChainBroken: somebody is writing the rows.
    """
    chosen = [each for each in examined.faults if index is None or each.partition.index == index]
    _refuse_the_wrong_way(chosen, way, index)
    reasons = {each.reason for each in chosen}
    if examined.event.rekeyed is not None:
        _refuse_more_partitions(examined.event.topic, reasons)
    firsts = [
        (partition, first)
        for partition, (first, _) in zip(examined.partitions, examined.bounds, strict=True)
        if index is None or partition.index == index
    ]
    if way == ACCEPT_LOSS:
        return await _accept_loss(examined, reasons, firsts, log, store)
    lost = repairs.restart(store, examined.folds, firsts, len(examined.partitions))
    if examined.event.rekeyed is not None and "recreated" in reasons:
        await _copy_again(examined.event, log, store)
    return lost


def _refuse_more_partitions(copy: str, reasons: set[str]) -> None:
    # A copy that is sent again would go to another partition than the first time, and be taken there once more.
    if "partitions" in reasons:
        raise HeadraceError(
            f"cannot repair: {copy}: expected as many partitions as its copies were made for, got more; delete the "
            f"topic, have `headrace run` create it anew, then run `headrace repair {copy} {RESTART}`"
        )


async def _copy_again(copy: EventDefinition, log: Log, store: OnlineStore) -> None:
    """Let the copiers of a topic that was made anew begin at the first records of their source."""
    partitions = await log.partitions(copy.origin)
    for partition, (first, _) in zip(partitions, await log.bounds(partitions), strict=True):
        repairs.begin_again(store, RowKey(copier_fold(copy.topic), partition), first)


async def _accept_loss(
    examined: Examined, reasons: set[str], firsts: Sequence[tuple[Partition, int]], log: Log, store: OnlineStore
) -> int:
    [topic, topic_id] = [examined.partitions[0].topic, examined.partitions[0].topic_id]
    if "compacted" in reasons:
        await log.stop_compacting(topic)
    if "partitions" in reasons:
        sources.replace_source(store, topic, topic_id, len(examined.partitions))
    return sum(repairs.accept_loss(store, examined.folds, partition, first) for partition, first in firsts)


def _refuse_the_wrong_way(faults: Sequence[Fault], way: str, index: int | None) -> None:
    for fault in faults:
        offers = repairs.OFFERS[fault.reason]
        if way not in offers:
            raise HeadraceError(f"cannot repair by {way}: {fault.message}")
        if index is not None and fault.reason in {"recreated", "restarting", "partitions"}:
            raise HeadraceError(f"cannot repair one partition alone: {fault.message}")
