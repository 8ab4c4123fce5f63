"""Whatever the histories, however they are cut and whenever they are asked: what is served is what the log says.

A replay that is wrong is noticed: each mutant is given the same worlds, and some of its probes are faults.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from batch.parity import Label, Parity
from batch.read_predictions import Probe
from definitions.declared import Source
from streams.reading import Asked
from tests.property import test_engine_equals_oracle as sales
from tests.property import test_several_events as airports
from tests.property.histories import ASKED_BEHIND_MS
from tests.served import Serving, prove
from tests.unit.batch.memory_history import MemoryHistory

VIEWS = (sales.BY_USER, sales.BY_BOTH, airports.VIEW)
SOURCES = tuple(source for view in VIEWS for source in view.sources)
ENTITIES: tuple[Asked, ...] = (
    {"user": "ann", "shop": 1, "airport": "JFK"},
    {"user": "bob", "shop": 2, "airport": None},
)

steps = st.tuples(st.integers(0, len(SOURCES) - 1), st.integers(0, 2), st.integers(1, 12))
"""Which source goes on, in which partition, by how many records."""


@dataclass(frozen=True)
class World:
    """What was published, and how it was applied and asked."""

    topics: Mapping[str, Sequence[Sequence[Mapping[str, Any] | None]]]
    batch: int
    applied: Sequence[tuple[int, int, int]]
    asked: Sequence[int]
    """How far behind the newest event each question is, one after every step."""

    def history(self) -> MemoryHistory:
        """Return the log."""
        values = {
            topic: [[_bytes(event) for event in events] for events in partitions]
            for topic, partitions in self.topics.items()
        }
        return MemoryHistory(values, batch=self.batch)

    def newest_ms(self) -> int:
        """Return about the newest event time of all."""
        events = [event for parts in self.topics.values() for part in parts for event in part if event is not None]
        return max((event.get("at", event.get("seen", 0)) for event in events), default=sales.START_MS)


def _bytes(event: Mapping[str, Any] | None) -> bytes:
    return b"{oops" if event is None else json.dumps(event).encode()


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Draw histories of three topics, and steps at which some source goes on and a question is asked."""
    history = draw(sales.histories())
    topics: dict[str, Sequence[Sequence[Mapping[str, Any] | None]]] = {
        "sales": list(history.values()),
        "left": draw(airports.partitions(airports.LEFT)),
        "came": draw(airports.partitions(airports.CAME)),
    }
    applied = draw(st.lists(steps, min_size=1, max_size=15))
    asked = draw(st.lists(st.sampled_from(ASKED_BEHIND_MS), min_size=len(applied), max_size=len(applied)))
    return World(topics, draw(st.integers(1, 9)), applied, asked)


def served(world: World) -> tuple[Serving, MemoryHistory, list[Probe]]:
    """Apply and ask as the world says; return what was served."""
    history = world.history()
    serving, probes = Serving(VIEWS, history), list[Probe]()
    for (number, index, count), behind_ms in zip(world.applied, world.asked, strict=True):
        source = SOURCES[number]
        serving.apply(source, index % len(history.partitions(source.event.topic)), count)
        probes += [serving.serve(entities, world.newest_ms() - behind_ms) for entities in ENTITIES]
    return serving, history, probes


def found_in(world: World, mutant: Callable[[Source], Source] = lambda source: source, drop: int = 0) -> Parity:
    """Prove all that the world served, by a replay that may be wrong."""
    serving, history, probes = served(world)
    if drop:
        probes = [_shifted(probe, drop) for probe in probes]
    return prove(serving.model, history, serving.store, probes, mutant=mutant)


def _shifted(probe: Probe, by: int) -> Probe:
    positions = {
        key: {name: max(0, position + by) for name, position in reached.items()}
        for key, reached in probe.positions.items()
    }
    return replace(probe, positions=positions)


@settings(max_examples=60, deadline=None)
@given(worlds())
def test_what_is_served_is_what_the_log_says(world: World) -> None:
    found = found_in(world)

    assert (found.unequal, sum(found.skipped.values())) == (0, 0), found.examples
    assert found.probes == len(world.applied) * len(ENTITIES)
    assert found.labels[Label.LATE] + found.labels[Label.DUPLICATE] <= found.equal


def _disorder(source: Source) -> Source:
    return replace(source, event=replace(source.event, disorder_ms=source.event.disorder_ms + 600_000))


def _hasty(source: Source) -> Source:
    return replace(source, event=replace(source.event, disorder_ms=0))


def _counts_once(source: Source) -> Source:
    return replace(source, event=replace(source.event, dedupe_ms=60_000))


def _of_other_window(source: Source) -> Source:
    return replace(
        source,
        aggregates=tuple(
            replace(each, windows=tuple(replace(window, length_ms=window.length_ms // 2) for window in each.windows))
            for each in source.aggregates
        ),
    )


@pytest.mark.parametrize(
    "mutant",
    [
        pytest.param({"drop": -1}, id="positions one too low"),
        pytest.param({"mutant": _hasty}, id="no disorder"),
        pytest.param({"mutant": _counts_once}, id="an id counted once"),
        pytest.param({"mutant": _of_other_window}, id="tiles given up too early"),
    ],
)
def test_a_wrong_replay_is_noticed(mutant: dict[str, Any]) -> None:
    # The first world found will do: making it a small one takes a minute.
    thorough = settings(max_examples=4_000, deadline=None, phases=[Phase.generate], database=None)
    world = find(worlds(), lambda world: found_in(world, **mutant).faults > 0, settings=thorough)

    assert found_in(world).unequal == 0


def test_a_replay_with_another_disorder_is_noticed() -> None:
    """Drawing such a world takes minutes: somebody must be known by nothing but an event that is just too late."""
    others = {"id": "x", "shop": 1, "amount": None, "pieces": 1, "level": None, "paid": True, "colour": "red"}
    ahead = {**others, "user": "bob", "at": sales.START_MS + 1_990_000}
    too_late = {**others, "user": "ann", "at": ahead["at"] - 599_999}
    world = World({"sales": [[ahead, too_late]], "left": [[]], "came": [[]]}, 1, applied=[(0, 0, 2)], asked=[50_000])

    assert found_in(world, mutant=_disorder).faults > 0
    assert found_in(world).unequal == 0
