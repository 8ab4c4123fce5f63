"""The proof that every record a rekeyed view should see was copied: the copiers' rows, the source, and the copies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import compress

from msgspec.structs import replace

from batch.context import Tell
from batch.findings import PartitionAudit, begun, can_begin, compare_rows
from batch.history import History
from definitions.declared import AppDefinition, EventDefinition
from streams.codecs import Schemas
from streams.copies import advance_copier, copier_fold, first_copies
from streams.entities import keys_of
from streams.intake import Intake
from streams.records import Partition
from streams.store import OnlineStore, Question, Row, StoredRow

Span = tuple[int, int]


def audit_copies(
    app: AppDefinition,
    copy: EventDefinition,
    history: History,
    store: OnlineStore,
    *,
    schemas: Schemas | None,
    tell: Tell,
) -> list[PartitionAudit]:
    """Return what is found of one copy topic, per partition of its source. Cost: both are read, 3 us a copy.

    Args:
        app: whose copy it is.
        copy: the event of the copy topic.
        history: the log.
        store: the online store.
        schemas: the schema registry, where the event's codec needs one.
        tell: is told of progress, in records.

    Raises:
        HistoryUnavailable, StoreUnavailable, RegistryUnavailable: as `batch.audit_log.audit_log`.
    """
    # Read before the log: what a row contains is in the copies then.
    [rows] = store.read(Question(folds=[copier_fold(copy.topic)])).rows
    sources = history.partitions(copy.origin)
    spans = {each.field: _span(rows, each) for each in sources}
    copied, oldest = _copied(copy, history, spans, schemas, tell)
    intake = Intake(next(each for each in app.events if each.topic == copy.origin), schemas)
    found = []
    for source in sources:
        finding = _of_source(copy, source, rows.get(source.field), history, intake)
        if finding.audited and finding.row.read and oldest:
            finding.audited = False
            finding.problems.append(
                f"not audited: expected copies from 0 on in {copy.topic}, got them from {oldest} on"
            )
        elif finding.audited:
            _compare(finding, copy, copied[source.field])
        found.append(finding)
    return found


def _span(rows: Mapping[str, StoredRow], source: Partition) -> Span:
    stored = rows.get(source.field)
    return (0, 0) if stored is None else (stored.row.first, stored.row.next)


def _copied(
    copy: EventDefinition, history: History, spans: Mapping[str, Span], schemas: Schemas | None, tell: Tell
) -> tuple[Counter[str], int]:
    """Return of how many source records there are copies, per source partition, and the oldest copy's offset."""
    intake, copied, oldest = Intake(copy, schemas), Counter[str](), 0
    for partition in history.partitions(copy.topic):
        first, end = history.bounds(partition)
        oldest, row = max(oldest, first), Row(next=first, first=first)
        for records in history.read(partition, first, end):
            batch = intake.read(records)
            sifted = first_copies(row, batch)
            for each in (*compress(batch.origins or (), sifted.taken), *sifted.set_aside):
                source = f"{each.topic_id}/{each.partition}"
                low, high = spans.get(source, (0, 0))
                if not each.is_replay and low < each.after <= high:
                    copied[source] += 1
            row = replace(row, next=batch.next, copied=sifted.contained)
            tell(f"{partition.topic}[{partition.index}]", batch.next - first, end - first)
    return copied, oldest


def _of_source(
    copy: EventDefinition, source: Partition, stored: StoredRow | None, history: History, intake: Intake
) -> PartitionAudit:
    """Return the copier's tallies of one source partition against a replay of it."""
    oldest, end = history.bounds(source)
    row = Row(next=0, first=0) if stored is None else stored.row
    found = begun(copier_fold(copy.topic), source, row, end)
    if stored is None and end:
        found.problems.append("expected a copier's row, got none: no features role with this view has run")
    if not can_begin(found, (row.first, row.next), oldest):
        return found
    assert copy.rekeyed is not None  # noqa: S101  # it is what makes it a copy
    entities_of, replayed = keys_of(copy.rekeyed.by), Row(next=row.first, first=row.first)
    for records in history.read(source, row.first, min(row.next, end)):
        batch = intake.read(records)
        replayed = advance_copier(replayed, batch, entities_of(batch.events))
    compare_rows(found, replayed)
    return found


def _compare(found: PartitionAudit, copy: EventDefinition, copied: int) -> None:
    missing = found.row.applied - copied
    if missing:
        found.lost += max(0, missing)
        found.counted_twice += max(0, -missing)
        found.problems.append(f"expected {found.row.applied} records copied to {copy.topic}, got {copied}")
