"""Records that the official serializers of their day wrote are read for as long as a log keeps them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from definitions.declared import Field
from definitions.values import ValueType
from streams.codecs import Schema, decoder_of
from tests.builders import event_definition

FIXTURES = Path(__file__).parents[2] / "fixtures" / "framed_records.jsonl"
KEPT: list[dict[str, Any]] = [json.loads(line) for line in FIXTURES.read_text().splitlines()]
"""A line is added when what writers do changes; none is ever changed."""


@pytest.mark.parametrize("kept", KEPT, ids=[f"{each['codec']}: {each['note']}" for each in KEPT])
def test_a_record_of_every_version_still_decodes_to_the_same_event(kept: dict[str, Any]) -> None:
    booked, full = Field("booked_at", ValueType.TIME, nullable=True), Field("full", ValueType.BOOL)
    event = event_definition(fields=(*event_definition().fields, booked, full), codec=kept["codec"])
    decoder = decoder_of(event, {kept["id"]: Schema(kept["codec"].upper(), kept["schema"])}.get)
    record = bytes.fromhex(kept["record"])

    assert decoder.row(decoder.decode(record)) == kept["row"]
    assert [decoder.row(each) for each in decoder.decode_all([record]) or ()] == [kept["row"]]
