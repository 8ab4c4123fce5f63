"""Every decode hazard of every schema version is what its table says, alone and among good records."""

from __future__ import annotations

import gc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from definitions.declared import EventDefinition
from streams.intake import DecodedBatch, Intake
from streams.records import Partition
from tests.builders import event_definition
from tests.hazards import FOLDER, Hazard, hazards
from tests.records import GivenRecord, batch_of

EVENTS: dict[str, EventDefinition] = {"v1": event_definition()}
"""Schema version to the definition that reads it: a later one has to take what an earlier one took."""
INTAKES = {version: Intake(event) for version, event in EVENTS.items()}
APPENDED_MS = 1_700_000_001_000
CASES = [(version, hazard) for version in EVENTS for hazard in hazards(version)]
GOOD = next(hazard.value for _, hazard in CASES if hazard.name == "key_differs_from_body.bin")


def read(version: str, *values: bytes | None) -> DecodedBatch:
    records = [GivenRecord(offset, value, appended_ms=APPENDED_MS) for offset, value in enumerate(values)]
    return INTAKES[version].read(batch_of(Partition("t", 0, "id"), records))


@pytest.mark.parametrize(("version", "hazard"), CASES, ids=lambda each: getattr(each, "name", each))
def test_a_hazard_is_what_its_table_says(version: str, hazard: Hazard) -> None:
    for values, at in (((hazard.value,), 0), ((GOOD, hazard.value, GOOD), 1)):
        found = read(version, *values)
        dead = [(letter.offset, letter.reason, letter.path) for letter in found.dead]
        assert dead == ([] if hazard.outcome == "ok" else [(at, hazard.outcome, hazard.path)])
        assert len(found.events) == len(values) - len(dead)


def test_every_fixture_is_in_its_table_and_every_version_has_a_reader() -> None:
    for version in EVENTS:
        files = {file.name for file in (FOLDER / version).glob("*.bin")}
        assert files == {hazard.name for hazard in hazards(version)} - {"tombstone"}
    assert {folder.name for folder in FOLDER.iterdir()} == EVENTS.keys()


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from([GOOD, GOOD, GOOD, *(hazard.value for _, hazard in CASES)]), max_size=40))
def test_a_record_is_the_same_in_any_company(values: list[bytes | None]) -> None:
    """What a batch comes to is what its records come to one by one."""
    together = read("v1", *values)
    alone = [read("v1", value) for value in values]

    living = [offset for offset, each in enumerate(alone) if each.events]
    assert list(together.offsets) == living
    assert list(together.events) == [alone[offset].events[0] for offset in living]
    assert list(together.times_ms) == [alone[offset].times_ms[0] for offset in living]
    assert [(letter.offset, letter.reason, letter.path, letter.message) for letter in together.dead] == [
        (offset, letter.reason, letter.path, letter.message)
        for offset, each in enumerate(alone)
        for letter in each.dead
    ]


def test_dead_letters_leave_nothing_to_the_garbage_collector() -> None:
    """A refusal that kept its frames would keep its whole batch alive, until a collection finds the cycle."""
    values = [GOOD, *(hazard.value for _, hazard in CASES)]
    gc.collect()
    gc.disable()
    try:
        assert read("v1", *values).dead
        assert gc.collect() == 0
    finally:
        gc.enable()
