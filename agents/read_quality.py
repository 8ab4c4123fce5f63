"""Reads how well a model's learners do, over all partitions, and puts it on the metrics port."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from agents.context import RoleContext
from agents.transport import Log
from definitions.declared import LabelDefinition, ModelDefinition
from online_models.quality.arrivals import Clock
from online_models.quality.buckets import REACH, RELEASE, Bucket, Layout, QualityCodec, Reach, cell_of
from online_models.quality.report import FINAL, PROVISIONAL, WINDOW, Quality
from streams import joins, topics
from streams.joins import CLOCK, JoinCodec, step_ms
from streams.store import Cell, OnlineStore, Question, StoredRow

OBSERVED = 31
"""So many buckets whose horizon has passed are read, to learn how long labels take."""
FADED = "faded"


def fold(model_key: str) -> str:
    """Return the name of the fold that counts how well a model's learners do."""
    return f"quality.{model_key}"


def layout_of(model: ModelDefinition, label: LabelDefinition) -> Layout:
    """Return how the model's predictions are cut into buckets and slices."""
    return Layout.of(label.within_ms, [each.name for each in model.inputs], model.segments)


@dataclass(frozen=True, slots=True)
class QualityRead:
    """What was read of how well a model's learners do."""

    quality: Quality
    behind: int
    """Examples that are made and not counted yet: while there are any, no bucket is final."""


async def read_quality(
    store: OnlineStore, log: Log, namespace: str, model: ModelDefinition, *, window: int = WINDOW
) -> QualityRead | None:
    """Return what is known of how well a model's learners do; None of a model without a label.

    The join's clock is read first, then the end of the examples, then what is counted of them: every example that the
    clock speaks of lies below that end.

    Args:
        store: where it is counted.
        log: where the examples end.
        namespace: of the topics.
        model: which one.
        window: so many of the newest buckets, and of those that are final.

    Raises:
        StoreUnavailable, LogUnavailable: there is no answer.
    """
    if model.label is None:
        return None
    layout, name = layout_of(model, model.label), fold(model.key)
    clocks, reaches = store.read(Question(cells=[(joins.fold(model.key), CLOCK), (name, REACH)])).cells
    outcomes = await log.partitions(topics.outcomes(namespace, model))
    examples = await log.partitions(topics.examples(namespace, model))
    ends = await log.bounds(examples)
    passed = _passed(clocks.values(), len(outcomes), model.label)
    numbers = _wanted(_reaches(reaches.values()), layout, passed, max(window, OBSERVED))
    answer = store.read(Question(folds=[name], cells=[(name, cell_of(each)) for each in numbers]))
    rows = answer.rows[0]
    behind = sum(
        max(0, end - _next(rows, partition.field, first))
        for partition, (first, end) in zip(examples, ends, strict=True)
    )
    buckets = {number: _merged(cells) for number, cells in zip(numbers, answer.cells, strict=True)}
    clock = None
    if passed is not None and not behind:
        asked_ms = max((stored.row.newest_ms or 0 for stored in rows.values()), default=0)
        clock = Clock(asked_ms, *passed)
    return QualityRead(
        Quality(layout, {number: each for number, each in buckets.items() if each.slices}, clock), behind
    )


async def export_quality(context: RoleContext, model: ModelDefinition) -> None:
    """Put a model's measures on the metrics port. Releases have no metrics of their own: there would be ever more.

    Cost: a read of the newest buckets, about 20 ms.
    """
    found = await read_quality(context.store, context.log, context.namespace, model)
    if found is None or found.behind:
        return
    quality = found.quality
    for learner in quality.learners:
        for name in quality.slices:
            if not name.startswith(f"{RELEASE}="):
                _export(context, model, quality, learner, name)


def _export(context: RoleContext, model: ModelDefinition, quality: Quality, learner: str, name: str) -> None:
    labels = {"model": model.key, "learner": learner, "slice": name or "all"}
    for mark, numbers in ((FINAL, quality.final()), (PROVISIONAL, quality.newest())):
        told = quality.told(learner, numbers, name)
        if told is None:
            continue
        if told.coverage is not None:
            context.metrics.set("label_coverage_ratio", told.coverage, **labels, mark=mark)
        for measure, value in told.best.values().items():
            context.metrics.set("prequential_measure", value, **labels, measure=measure, mark=mark)
    for measure, value in quality.faded(learner, name).values().items():
        context.metrics.set("prequential_measure", value, **labels, measure=measure, mark=FADED)


def _passed(cells: Iterable[Cell], partitions: int, label: LabelDefinition) -> tuple[int, int] | None:
    """Return the event times that labels, and horizons, have come to in every outcomes partition; None before."""
    codec = JoinCodec()
    clocks = [state for cell in cells if isinstance(state := codec.decode(cell.state), joins.Clock)]
    if len(clocks) < partitions or not all(clock.passed for clock in clocks):
        return None
    label_ms = min(_label_ms(clock) for clock in clocks)
    return label_ms, min(clock.passed for clock in clocks) * step_ms(label.within_ms)


def _label_ms(clock: joins.Clock) -> int:
    """Return the event time of the labels that are furthest behind; of the newest where nobody is waited for."""
    holding = [newest for source, newest in clock.newest_ms.items() if source not in clock.idle]
    return min(holding) if holding else max(clock.newest_ms.values())


def _reaches(cells: Iterable[Cell]) -> list[int]:
    codec = QualityCodec()
    states = [codec.decode(cell.state) for cell in cells]
    return sorted({number for state in states if isinstance(state, Reach) for number in state.kept})


def _wanted(kept: list[int], layout: Layout, passed: tuple[int, int] | None, window: int) -> list[int]:
    """Return the buckets to read: so many that are final and so many that are newest."""
    before = 0 if passed is None else (passed[1] - layout.within_ms) // layout.width_ms
    final = [each for each in kept if each < before]
    return [*final[-window:], *(each for each in kept if each >= before)]


def _merged(cells: Mapping[str, Cell]) -> Bucket:
    codec, total = QualityCodec(), Bucket()
    for cell in cells.values():
        state = codec.decode(cell.state)
        total = total.merged(state) if isinstance(state, Bucket) else total
    return total


def _next(rows: Mapping[str, StoredRow], field: str, first: int) -> int:
    return rows[field].row.next if field in rows else first
