"""What a model's probe is served, from cells of the log: asked, named and finalised as the live path does it.

A lookup's entity is named by what was served before it. So a probe asks twice: for the entities of its request, and
then, at positions of their own, for those that the answers name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from batch.look_back import Reach
from batch.read_predictions import Probe
from batch.replay_exactly import Shot
from definitions.declared import ModelDefinition, Source
from definitions.values import Value
from streams.cells import CellState
from streams.entities import asked_key
from streams.finalise import Held
from streams.lookups import Looked, row_of
from streams.opened import in_order
from streams.reading import Served, Serving, ViewReader
from streams.retention import Retention

Shots = Mapping[Reach, Shot]
"""What a probe asked of the log, and the answers."""

Oldest = Mapping[str, int | None]
"""Per source of a view, the oldest time that may be asked about: `streams.retention.Retention.oldest_ms`."""


def sources_of(model: ModelDefinition) -> dict[str, Source]:
    """Return what a model reads, by the names that positions have. What is looked up is apart, behind its suffix.

    A view that is read and looked up is there twice: its entity is known, and so asked for, later the second time.
    """
    sources = {source.key: source for view in model.views for source in view.sources}
    looked = {f"{source.key}{each.suffix}": source for each in model.lookups for source in each.view.sources}
    return sources | looked


class ServedAgain:
    """The views and lookups of one model."""

    def __init__(self, model: ModelDefinition) -> None:
        self._views = [_Reads(ViewReader(view)) for view in model.views]
        self._looked = [(each, _Reads(each.reader, each.lookup.suffix)) for each in map(Looked.of, model.lookups)]
        every = (*self._views, *(reads for _, reads in self._looked))
        self.retentions: Mapping[str, Retention] = dict(pair for reads in every for pair in reads.retentions())
        """What is kept of each source, by the names that positions have."""

    def reaches(self, probe: Probe) -> Sequence[Reach]:
        """Return the cells of the entities that a probe's request names."""
        asked = ((reads, asked_key(reads.reader.by, probe.entities)) for reads in self._views)
        return [reach for reads, entity in asked for reach in reads.reaches(probe, entity)]

    def named(self, probe: Probe, cells: Mapping[Reach, CellState], oldest: Oldest) -> Mapping[str, Value]:
        """Return what may name the entities of lookups, served from cells of the entities of the request."""
        return row_of(self._serving(probe, cells, oldest).done(None), probe.inputs, probe.at_ms)

    def looked_up(self, probe: Probe, row: Mapping[str, Value]) -> Sequence[Reach]:
        """Return the cells of the entities that a row names."""
        known = [(looked, reads) for looked, reads in self._looked if looked.is_known(row)]
        return [reach for looked, reads in known for reach in reads.reaches(probe, looked.key(row))]

    def served(self, probe: Probe, shots: Shots, cells: Mapping[Reach, CellState], oldest: Oldest) -> Served:
        """Return what a probe is served from cells.

        What is looked up of an entity that was not asked for, because other records named another, is unanswerable.
        """
        serving = self._serving(probe, cells, oldest)
        row = row_of(serving.done(None), probe.inputs, probe.at_ms) if self._looked else {}
        for looked, reads in self._looked:
            entity = looked.key(row)
            if looked.is_known(row) and all(reach in shots for reach in reads.reaches(probe, entity)):
                reads.add(serving, probe, entity, cells, oldest)
            else:
                reads.reader.add_unanswerable(serving, reads.positions(probe))
        return serving.done(None)

    def _serving(self, probe: Probe, cells: Mapping[Reach, CellState], oldest: Oldest) -> Serving:
        serving = Serving(probe.at_ms)
        for reads in self._views:
            reads.add(serving, probe, asked_key(reads.reader.by, probe.entities), cells, oldest)
        return serving


class _Reads:
    """A view, under the names that positions have."""

    def __init__(self, reader: ViewReader, suffix: str = "") -> None:
        self.reader = reader
        self._keys = [f"{source.key}{suffix}" for source in reader.view.sources]

    def retentions(self) -> Iterable[tuple[str, Retention]]:
        return zip(self._keys, self.reader.retentions, strict=True)

    def positions(self, probe: Probe) -> list[Mapping[str, int]]:
        return [probe.positions[key] for key in self._keys]

    def reaches(self, probe: Probe, entity: str | None) -> Iterator[Reach]:
        if entity is not None:
            for key in self._keys:
                for name, position in probe.positions[key].items():
                    yield Reach(key, name, position, entity)

    def add(
        self,
        serving: Serving,
        probe: Probe,
        entity: str | None,
        cells: Mapping[Reach, CellState],
        oldest: Oldest,
    ) -> None:
        positions = self.positions(probe)
        held = [
            Held(_states(key, entity, reached, cells), oldest[key])
            for key, reached in zip(self._keys, positions, strict=True)
        ]
        self.reader.add(serving, None if entity is None else held, positions)


def _states(
    source: str, entity: str | None, positions: Mapping[str, int], cells: Mapping[Reach, CellState]
) -> list[CellState] | None:
    """Return an entity's cells in one source, in order of partition; None if the source had not started."""
    if not positions:
        return None
    if entity is None:
        return []
    reaches = (Reach(source, name, positions[name], entity) for name in in_order(positions))
    return [cells[reach] for reach in reaches if reach in cells]
