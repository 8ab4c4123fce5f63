"""What was served is had again from the log, and whatever is not gets exactly one label, the right one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from batch.parity import Label, Parity, Skip
from batch.prove_parity import ParityProof
from batch.read_predictions import Probe, Unread
from batch.replay_exactly import LogReplay
from batch.serve_again import sources_of
from definitions.declared import EventDefinition, Source, ViewDefinition
from streams.records import Partition
from tests.builders import aggregate, event_definition, view_definition
from tests.served import Serving, prove, with_position
from tests.unit.batch.flights import at_ms, departed
from tests.unit.batch.memory_history import MemoryHistory

EVENT = event_definition()
TOPIC = EVENT.topic
SERVED_AT = 40


def view_of(event: EventDefinition = EVENT, **changes: object) -> ViewDefinition:
    """Return a view of counts and delays over an hour."""
    aggregates = [aggregate("flights", windows=["1h"]), aggregate("delay", "sum", "delay_min", windows=["1h"])]
    return view_definition(on=event, aggregates=aggregates, **changes)  # type: ignore[arg-type]


def flights(minutes: Sequence[float]) -> list[bytes]:
    """Return departures of which each has a delay of its own."""
    return [departed(minute, delay_min=0.1 * minute, flight=f"f{minute}") for minute in minutes]


class World:
    """One view over two partitions, served after some of each."""

    def __init__(self, first: list[bytes], second: list[bytes], event: EventDefinition = EVENT) -> None:
        self.view = view_of(event)
        self.history = MemoryHistory({TOPIC: [first, second]})
        self.serving = Serving([self.view], self.history)
        self.source = self.view.sources[0]

    def partition(self, index: int) -> Partition:
        """Return one of the two."""
        return self.history.partitions(TOPIC)[index]

    def serve(self, minute: float = SERVED_AT, origin: str | None = "JFK") -> Probe:
        """Answer a question about a time."""
        return self.serving.serve({"origin": origin}, at_ms(minute))

    def prove(self, *probes: Probe | Unread, hindsight: bool = True) -> Parity:
        """Prove probes."""
        return prove(self.serving.model, self.history, self.serving.store, probes, hindsight=hindsight)


@pytest.fixture
def world() -> World:
    """Return a world in which six and three flights are applied, and one more of each partition is not."""
    world = World(flights([1, 5, 9, 12, 20, 31, 45]), flights([2, 22, 38, 44]))
    world.serving.apply(world.source, 0, 6)
    world.serving.apply(world.source, 1, 3)
    return world


def counts(found: Parity) -> tuple[int, int, dict[str, int]]:
    """Return (probes, equal, labels that were given)."""
    return found.probes, found.equal, {str(label): count for label, count in found.labels.items() if count}


def test_what_was_served_is_equal_bit_for_bit(world: World) -> None:
    probes = [world.serve(), world.serve(43.5), world.serve(origin="LGA"), world.serve(43.99)]

    found = world.prove(*probes)

    assert probes[0].vector[:2] == [9, pytest.approx(14.0)]
    assert counts(found) == (4, 4, {})


@pytest.mark.parametrize("change", [lambda value: value + 1e-15, int, lambda _: None, lambda value: -value])
def test_a_float_that_differs_in_its_last_bit_or_in_its_type_is_a_fault(world: World, change: object) -> None:
    served = world.serve()
    vector = [served.vector[0], change(served.vector[1] * 1.0), *served.vector[2:]]  # type: ignore[operator]

    found = world.prove(replace(served, vector=vector))

    assert counts(found) == (1, 0, {"fault": 1})
    [example] = found.examples
    assert list(example.differing) == ["origin_traffic.delay_1h"]


def test_a_request_input_that_differs_is_a_fault(world: World) -> None:
    found = world.prove(replace(world.serve(), inputs={"distance": 100, "carrier": "AA"}))

    assert counts(found) == (1, 0, {"fault": 1})


def test_an_age_that_differs_is_a_fault_and_one_that_was_not_logged_is_none(world: World) -> None:
    served = world.serve(40.5)
    ages = list(served.ages_ms)

    found = world.prove(replace(served, ages_ms=[ages[0], ages[1] + 1, *ages[2:]]), replace(served, ages_ms=()))  # type: ignore[operator]

    assert ages == [190_000, 190_000, None, None], "from where the tile of 38 min began; the request is of no age"
    assert counts(found) == (2, 1, {"fault": 1})
    [example] = found.examples
    assert example.differing == {"origin_traffic.delay_1h age_ms": (190_001, 190_000)}


@pytest.mark.parametrize("off_by", [-1, 1])
def test_a_position_off_by_one_is_a_fault(world: World, off_by: int) -> None:
    served = world.serve(46)

    found = world.prove(with_position(served, world.source, world.partition(0), 6 + off_by), served)

    assert (found.equal, found.faults) == (1, 1)


def test_a_replay_that_judges_lateness_otherwise_is_noticed() -> None:
    world = World(flights([1, 80, 5]), flights([2]), event_definition(disorder_ms=7_200_000))
    world.serving.apply_all()
    model, history, store, served = world.serving.model, world.history, world.serving.store, world.serve(30)

    def mutant(source: Source) -> Source:
        return replace(source, event=replace(source.event, disorder_ms=3_600_000))

    assert counts(prove(model, history, store, [served])) == (1, 1, {})
    assert counts(prove(model, history, store, [served], mutant=mutant)) == (1, 0, {"fault": 1})


def test_a_late_record_that_a_replay_leaves_out_is_a_fault() -> None:
    world = World(flights([1, 30, 3]), flights([]))
    world.serving.apply_all()
    served = world.serve()
    without = MemoryHistory({TOPIC: [[*flights([1, 30]), b"{oops"], []]})

    found = prove(world.serving.model, without, world.serving.store, [served])

    assert counts(found) == (1, 0, {"fault": 1})


def test_an_answer_from_another_definition_is_a_matter_of_version(world: World) -> None:
    other = view_of(event_definition(disorder_ms=1))
    of_other = Serving([other], world.history)
    of_other.apply_all()

    found = world.prove(of_other.serve({"origin": "JFK"}, at_ms(40)), world.serve())

    assert counts(found) == (2, 1, {"version": 1})


def test_a_release_of_another_definition_is_a_matter_of_version(world: World) -> None:
    model, store = world.serving.model, world.serving.store
    proof = ParityProof(
        model,
        lambda: LogReplay({world.source.key: world.source}, world.history, store),
        definition_of={"old": "0123", "new": model.digest}.get,
    )
    for release in ("old", "new", "unknown"):
        proof.take(replace(world.serve(), release=release))

    assert counts(proof.finish()) == (3, 2, {"version": 1})


def test_what_came_later_of_the_past_is_late_and_no_fault(world: World) -> None:
    later = World(flights([1, 5, 9, 12, 20, 31, 33, 45]), flights([2, 22, 38, 44]))
    served = world.serve()

    found = later.prove(served)

    assert counts(found) == (1, 1, {"late": 1})
    [example] = found.examples
    assert example.differing["origin_traffic.flights_1h"] == (9, 10)


@pytest.mark.parametrize(
    "minute", [40.001, 41, pytest.param(-30, id="before the window"), pytest.param(40.9, id="in the tile asked about")]
)
def test_what_came_later_but_is_not_of_the_past_is_not_late(minute: float) -> None:
    world = World(flights([1, 5, minute]), flights([]))
    world.serving.apply(world.source, 0, 2)

    assert counts(world.prove(world.serve())) == (1, 1, {})


def test_a_late_event_of_an_entity_never_seen_before_is_late() -> None:
    world = World(flights([1]), [departed(3, origin="LGA")])
    world.serving.apply(world.source, 0)

    assert counts(world.prove(world.serve(origin="LGA"))) == (1, 1, {"late": 1})


def test_an_id_that_counts_twice_is_a_duplicate_and_no_fault() -> None:
    world = World(flights([1, 5, 5, 9]), flights([]))
    world.serving.apply_all()

    found = world.prove(world.serve())

    assert counts(found) == (1, 1, {"duplicate": 1})
    assert found.examples[0].differing["origin_traffic.flights_1h"] == (4, 3)


def test_where_duplicates_are_declared_none_is_left() -> None:
    world = World(flights([1, 5, 5, 9, 9]), flights([]), event_definition(dedupe_ms=3_600_000))
    world.serving.apply(world.source, 0, 4)

    assert counts(world.prove(world.serve())) == (1, 1, {})


def test_a_second_record_of_an_id_that_comes_later_is_neither() -> None:
    world = World(flights([1, 5, 5]), flights([]))
    world.serving.apply(world.source, 0, 2)

    assert counts(world.prove(world.serve())) == (1, 1, {})


def test_what_is_late_and_what_is_there_twice_get_one_label_each() -> None:
    both = World(flights([1, 5, 5, 9]), flights([]))
    both.serving.apply(both.source, 0, 3)

    assert counts(both.prove(both.serve())) == (1, 1, {"late": 1})


def test_without_hindsight_there_is_no_label_but_of_faults() -> None:
    world = World(flights([1, 5, 5, 9]), flights([]))
    world.serving.apply(world.source, 0, 3)

    assert counts(world.prove(world.serve(), hindsight=False)) == (1, 1, {})


def test_a_probe_that_the_replay_has_passed_is_proven_by_another(world: World) -> None:
    early = World(flights([1, 5, 9, 12, 20, 31, 45]), flights([2, 22, 38, 44]))
    early.serving.apply(early.source, 0, 2)
    replays: list[LogReplay] = []

    def replay() -> LogReplay:
        replays.append(LogReplay({world.source.key: world.source}, world.history, world.serving.store))
        return replays[-1]

    proof = ParityProof(world.serving.model, replay)
    for probe in (world.serve(), early.serve(6), replace(early.serve(6), vector=[0, 0.0, 100.0, "AA"])):
        proof.take(probe)
        proof.answer()
    found = proof.finish()

    assert counts(found)[:2] == (3, 2)
    assert found.labels[Label.FAULT] == 1
    assert len(replays) == 2


def test_what_cannot_be_proven_is_counted_by_its_reason(world: World) -> None:
    served = world.serve()
    beyond = with_position(served, world.source, world.partition(0), 99)
    recreated = replace(served, positions={world.source.key: {"another/0": 3}})

    found = world.prove(Unread("late.requests/0@7"), replace(served, positions={}), beyond, recreated, served)

    assert counts(found) == (1, 1, {})
    assert found.skipped == {Skip.NOT_READ: 1, Skip.NO_REQUEST: 1, Skip.LOG_FORGOTTEN: 2}


def test_a_source_that_had_not_started_is_no_source_without_events(world: World) -> None:
    served = world.serve()
    nothing = [None, None, *served.vector[2:]]
    waiting = replace(served, positions={world.source.key: {}}, vector=nothing, ages_ms=[None] * 4)

    assert counts(world.prove(waiting)) == (1, 1, {})


@pytest.mark.parametrize("most_held", [1, 1_000])
def test_views_that_stand_far_apart_on_one_topic_are_each_proven_in_one_pass(most_held: int) -> None:
    views = [view_of(name="quick"), view_of(name="slow")]
    history = MemoryHistory({TOPIC: [flights(range(12))]}, batch=2)
    serving, probes = Serving(views, history), []
    for quick, slow in [(6, 0), (3, 1), (2, 4), (1, 7)]:
        serving.apply(serving.sources[0], 0, quick)
        serving.apply(serving.sources[1], 0, slow)
        probes.append(serving.serve({"origin": "JFK"}, at_ms(SERVED_AT)))
    replays: list[LogReplay] = []

    def replay() -> LogReplay:
        replays.append(LogReplay(sources_of(serving.model), history, serving.store, most_held=most_held))
        return replays[-1]

    proof = ParityProof(serving.model, replay)
    for probe in probes:
        proof.take(probe)
        proof.answer()
    found = proof.finish()

    assert counts(found) == (4, 4, {"late": 3})
    assert len(replays) == 1
