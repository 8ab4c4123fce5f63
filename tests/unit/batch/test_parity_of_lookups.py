"""What was looked up is had again from the log: by the names served then, at positions of its own."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from batch.parity import Label, Parity, Skip
from batch.prove_parity import ParityProof
from batch.read_predictions import Probe
from batch.replay_exactly import LogReplay
from batch.serve_again import sources_of
from definitions.declared import ModelDefinition
from definitions.values import Value
from streams.records import Partition
from tests.builders import EVENTS, declare
from tests.served import Serving, prove
from tests.unit.batch.memory_history import MemoryHistory

APP = """\
class Airport(hr.Features, on=Departed, by="origin", version=1):
    n = hr.count().over("1h")
    delay = hr.mean(Departed.delay_min).over("1h")
class Tail(hr.Features, on=Departed, by="tail", version=1):
    dest = hr.last(Departed.dest).over("1h")
class Late(hr.Model, version=1):
    features = [
        Airport.n["1h"],
        hr.lookup(Airport.delay["1h"], by=Tail.dest["1h"]),
        hr.lookup(Airport.n["1h"], by=hr.request("via", str)),
    ]
    label = hr.Label(Arrived, key="flight_id", value=Arrived.late, within="1h")
    offline = hr.xgboost()
    route = hr.Route(champion="offline")
"""
MODEL: ModelDefinition = declare(EVENTS, APP)["Late"].definition
TOPIC = MODEL.views[0].sources[0].event.topic
AIRPORT, TAIL = (view.sources[0] for view in sorted(MODEL.all_views, key=lambda view: view.name))
BY_TAIL, BY_VIA = (f"{AIRPORT.key}@{name}" for name in ("tail.dest_1h", "via"))
START_MS = 1_700_000_000_000 // 3_600_000 * 3_600_000
AIRPORTS, TAILS = ("JFK", "LAX", "SFO"), ("N1", "N2")


def departed(minute: float, origin: str, dest: str = "LAX", tail: str | None = "N1") -> bytes:
    """Return a departure with a delay of its own."""
    flight = {"flight_id": f"{origin}{minute}", "origin": origin, "dest": dest, "tail": tail, "delay_min": minute / 7}
    return json.dumps({**flight, "diverted": False, "departed_at": at_ms(minute)}).encode()


def at_ms(minute: float) -> int:
    """Return a time of this world."""
    return START_MS + round(minute * 60_000)


class World:
    """Departures of two partitions, applied as far as a test says."""

    def __init__(self, first: Sequence[bytes], second: Sequence[bytes] = ()) -> None:
        self.history = MemoryHistory({TOPIC: [list(first), list(second)]})
        self.serving = Serving((), self.history, model=MODEL)

    def apply(self, first: int, second: int = 0) -> None:
        """Apply some more of each partition to every view."""
        for source in self.serving.sources:
            self.serving.apply(source, 0, first)
            self.serving.apply(source, 1, second)

    def ask(self, minute: float, via: str | None = "JFK", *, origin: str = "JFK", meanwhile: int = 0) -> Probe:
        """Ask; ``meanwhile`` so many departures are applied between the two reads."""
        entities, inputs = {"origin": origin, "tail": "N1"}, {"via": via}
        return self.serving.look_up(entities, at_ms(minute), inputs, between=lambda: self.apply(meanwhile))

    def prove(self, *probes: Probe) -> Parity:
        """Prove probes."""
        return prove(MODEL, self.history, self.serving.store, probes)

    @property
    def partition(self) -> Partition:
        """The first of the two."""
        return self.history.partitions(TOPIC)[0]


def counts(found: Parity) -> tuple[int, int, Mapping[str, int]]:
    """Return (probes, equal, labels that were given)."""
    return found.probes, found.equal, {str(label): count for label, count in found.labels.items() if count}


@pytest.fixture
def world() -> World:
    """Return a world in which N1 has flown to SFO, and SFO has had two departures."""
    return World([departed(1, "JFK", "SFO"), departed(2, "SFO", "JFK", "N2"), departed(3, "SFO", "JFK", "N2"),
                  departed(4, "SFO", "LAX", "N2"), departed(5, "JFK", "LAX")])  # fmt: skip


def test_what_was_looked_up_is_equal_at_positions_of_its_own(world: World) -> None:
    world.apply(3)
    probe = world.ask(6, meanwhile=1)

    assert probe.vector == [1, pytest.approx(3 / 7), 1]
    assert [list(probe.positions[key].values()) for key in (AIRPORT.key, BY_TAIL, BY_VIA)] == [[3, 0], [4, 0], [4, 0]]
    found = world.prove(probe)
    assert (found.equal, found.unequal) == (1, 0)


@pytest.mark.parametrize("key", [BY_TAIL, BY_VIA, TAIL.key])
def test_a_position_of_a_lookup_or_of_what_names_it_that_is_off_is_a_fault(world: World, key: str) -> None:
    world.apply(4)
    probe = world.ask(6)
    shifted = {**probe.positions, key: {**probe.positions[key], world.partition.field: 3 if key == BY_TAIL else 0}}

    found = world.prove(replace(probe, positions=shifted), probe)

    assert (found.equal, found.faults) == (1, 1)


@pytest.mark.parametrize(("place", "value"), [(1, 0.5), (2, 7)])
def test_a_value_that_was_not_what_the_log_says_is_a_fault(world: World, place: int, value: Value) -> None:
    world.apply(3)
    probe = world.ask(6)
    vector = [value if index == place else each for index, each in enumerate(probe.vector)]

    found = world.prove(replace(probe, vector=vector))

    assert counts(found) == (1, 0, {"fault": 1})
    assert list(found.examples[0].differing) == [MODEL.inputs[place].name]


def test_what_came_late_for_who_was_looked_up_or_for_what_named_it_is_late(world: World) -> None:
    world.apply(3)
    probe = world.ask(6)  # SFO's fourth departure, and N1's to LAX, are of times before and come behind

    found = world.prove(probe)

    assert counts(found) == (1, 1, {"late": 1})
    assert MODEL.inputs[1].name in found.examples[0].differing


def test_nobody_and_who_was_never_seen_are_equal_too(world: World) -> None:
    world.apply(5)

    assert counts(world.prove(world.ask(6, None), world.ask(6, "BOS"), world.ask(6, origin="BOS"))) == (3, 3, {})


def test_an_answer_without_the_positions_of_a_lookup_is_of_another_definition(world: World) -> None:
    world.apply(5)
    probe = world.ask(6)
    positions = {name: reached for name, reached in probe.positions.items() if name != BY_VIA}

    assert counts(world.prove(replace(probe, positions=positions))) == (1, 0, {"version": 1})


def test_a_lookup_behind_the_replay_is_had_from_the_beginning_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("batch.prove_parity.ROUND", 1)
    world.apply(2)
    low = world.ask(6)
    world.apply(3)
    high = world.ask(6)
    behind = replace(
        low, positions={**high.positions, BY_VIA: low.positions[BY_VIA]}, vector=[*high.vector[:2], 1], ages_ms=()
    )
    replays = list[LogReplay]()

    def replay() -> LogReplay:
        replays.append(LogReplay(sources_of(MODEL), world.history, world.serving.store))
        return replays[-1]

    proof = ParityProof(MODEL, replay)
    for probe in (high, high, behind, low):
        proof.take(probe)
    found = proof.finish()

    assert (found.equal, found.unequal, sum(found.skipped.values())) == (4, 0, 0)
    assert len(replays) > 1


@pytest.mark.parametrize("drop", [0, 1])
@pytest.mark.parametrize("seed", range(4))
def test_whatever_is_applied_between_the_reads_is_had_again_and_a_wrong_position_is_noticed(
    seed: int, drop: int
) -> None:
    chance = random.Random(seed)
    logs = [
        [
            departed(max(0, minute - chance.choice((0, 0, 3))), *chance.choices(AIRPORTS, k=2), chance.choice(TAILS))
            for minute in range(40)
        ]
        for _ in range(2)
    ]
    world, probes = World(*logs), list[Probe]()
    for minute in range(2, 42, 2):
        world.apply(chance.randrange(3), chance.randrange(3))
        probes.append(world.ask(minute, chance.choice((*AIRPORTS, None)), meanwhile=chance.randrange(3)))
    if drop:
        probes = [_dropped(probe) for probe in probes]

    found = world.prove(*probes)

    assert found.probes + found.skipped[Skip.LOG_FORGOTTEN] == len(probes)
    assert (found.faults > 0) is bool(drop)
    assert found.labels[Label.LATE] > 0


def _dropped(probe: Probe) -> Probe:
    """Return the probe as if its lookups had contained one record less of each partition."""
    lower = {
        key: {name: max(0, position - 1) for name, position in reached.items()} if "@" in key else reached
        for key, reached in probe.positions.items()
    }
    return replace(probe, positions=lower)
