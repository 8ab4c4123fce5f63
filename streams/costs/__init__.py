"""What a view costs, worked out offline from its definition: bytes per entity, and the work of a read.

Two entities are told apart. A *typical* one has five events in the view's shortest window; a *hot* one has events in
every tile that is kept, so many that every sketch is full: no entity costs more.

==========================  ===========================================================================
`streams.costs.sizes`       the bytes of a cell, and the memory that Redis takes for it
`streams.costs.work`        what a read takes, and the time for it by measured constants
`streams.costs.rankings`    what a request to a graph reads, stage by stage, and its size
==========================  ===========================================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from definitions.declared import ModelDefinition, Source, ViewDefinition
from streams.costs.sizes import POSITION_BYTES, CellSizes, redis_bytes
from streams.costs.work import MEASURED, Work, read_work, rows_work

__all__ = ["EntityCost", "ModelCost", "SourceCost", "ViewCost", "cost_of_model", "cost_of_view", "is_keyed"]

_ENTITY_BYTES = 16
"""How long an entity's key is taken to be in Redis."""


@dataclass(frozen=True, slots=True)
class EntityCost:
    """What one entity costs in one view."""

    cell_bytes: int
    """Encoded state, of all sources and partitions."""
    redis_bytes: int
    """Memory in Redis."""
    read_bytes: int
    """What one read of it transfers, rows included."""
    read_ms: float
    """How long one read takes: transferred, decoded, merged and finalised."""


@dataclass(frozen=True, slots=True)
class SourceCost:
    """What is known of one source of a view."""

    event: str
    partitions: int
    """In how many partitions one entity's events lie."""
    typical_cell_bytes: int
    hot_cell_bytes: int
    """Of one partition's cell."""
    tiles: Mapping[str, int]
    """Window to the number of its tiles."""
    rekeyed: bool = False
    """Whether it reads a copy of the event's topic."""
    disorder_ms: int = 0
    """How far behind an event may be without counting as late."""


@dataclass(frozen=True, slots=True)
class ViewCost:
    """What one view costs."""

    view: str
    sources: tuple[SourceCost, ...]
    typical: EntityCost
    hot: EntityCost
    rows_bytes: int = 0
    rows_ms: float = 0.0
    """What of a read is for the rows of its partitions: once, however many entities are read together."""

    @property
    def cells(self) -> int:
        """How many cells one read fetches: of every source, in each partition that the entity's events lie in."""
        return sum(each.partitions for each in self.sources)


@dataclass(frozen=True, slots=True)
class ModelCost:
    """What the features of one request cost: all its views in one round trip, what is looked up in a second one."""

    model: str
    views: tuple[str, ...]
    round_trips: int
    cells: int
    typical_bytes: int
    hot_bytes: int
    typical_ms: float
    hot_ms: float


def is_keyed(source: Source) -> bool:
    """Return whether an entity's events share a partition: the entity decides all of the topic's key, or makes it."""
    return source.rekey or set(source.event.key) <= set(source.by)


def cost_of_view(view: ViewDefinition, partitions: int, *, namespace: str, each_ns: Work = MEASURED) -> ViewCost:
    """Return what a view costs. Cost: milliseconds; up to 0.2 s for a dozen sketches.

    Args:
        view: the view.
        partitions: of each event's topic.
        namespace: leads the keys in Redis.
        each_ns: how long each part of a read takes.
    """
    sizes = {source.key: CellSizes(source) for source in view.sources}
    spread = {source.key: 1 if is_keyed(source) else partitions for source in view.sources}
    rows = sum((rows_work(each, partitions) for each in view.sources), Work())

    def entity(*, few: bool) -> EntityCost:
        work = read_work(view, sizes, spread, few=few) + rows
        cells = {key: each.typical().bytes if few else each.full().bytes for key, each in sizes.items()}
        return EntityCost(
            sum(each * spread[key] for key, each in cells.items()),
            sum(
                redis_bytes(len(f"{namespace}:cell:{key}:") + _ENTITY_BYTES, spread[key], POSITION_BYTES + each)
                for key, each in cells.items()
            ),
            round(work.bytes),
            work.cost_ms(each_ns),
        )

    sources = tuple(_source(source, sizes[source.key], spread[source.key]) for source in view.sources)
    read = round(rows.bytes), rows.cost_ms(each_ns)
    return ViewCost(view.name, sources, entity(few=True), entity(few=False), *read)


def _source(source: Source, sizes: CellSizes, partitions: int) -> SourceCost:
    windows = {each.text: each.length_ms // each.grid_ms for one in source.aggregates for each in one.windows}
    few, full = sizes.typical().bytes, sizes.full().bytes
    return SourceCost(
        source.event.name, partitions, few, full, windows, rekeyed=source.rekey, disorder_ms=source.event.disorder_ms
    )


def cost_of_model(model: ModelDefinition, views: Mapping[str, ViewCost]) -> ModelCost:
    """Return what one request's features cost.

    Args:
        model: the model.
        views: the costs of its views, by view key.
    """
    looked_up = [views[lookup.view.key] for lookup in model.lookups]
    read = [*(views[view.key] for view in model.views), *looked_up]
    return ModelCost(
        model=model.key,
        views=tuple(each.view for each in read),
        round_trips=bool(read) + bool(looked_up),
        cells=sum(each.cells for each in read),
        typical_bytes=sum(each.typical.read_bytes for each in read),
        hot_bytes=sum(each.hot.read_bytes for each in read),
        typical_ms=sum(each.typical.read_ms for each in read),
        hot_ms=sum(each.hot.read_ms for each in read),
    )
