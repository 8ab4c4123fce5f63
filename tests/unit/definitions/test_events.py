"""What `hr.Event` reads from a class, and what it refuses."""

from __future__ import annotations

import pytest

from definitions.declared import EventDefinition, Field
from definitions.errors import DefinitionError
from definitions.values import ValueType
from tests.builders import EVENTS, declare

PREAMBLE = "from datetime import datetime\nimport headrace as hr\n"
WORDS = 'topic="t", id="x", at="at"'


def refusal(*source: str) -> str:
    """Return the text with which the author's module is refused."""
    with pytest.raises(DefinitionError) as refused:
        declare(*source)
    return str(refused.value)


def event(keywords: str = WORDS, fields: str = "x: str; at: datetime", base: str = "hr.Event") -> str:
    """Return a module that declares one event in its third line."""
    return f"{PREAMBLE}class Seen({base}, {keywords}):\n    {fields}\n"


def test_a_class_becomes_its_definition() -> None:
    declared = declare(EVENTS)["Arrived"].definition

    assert declared == EventDefinition(
        name="arrived",
        topic="flights.arrived",
        fields=(
            Field("flight_id", ValueType.CATEGORY),
            Field("delay_min", ValueType.FLOAT),
            Field("late", ValueType.BOOL),
            Field("gate", ValueType.CATEGORY),
            Field("arrived_at", ValueType.TIME),
        ),
        id="flight_id",
        at="arrived_at",
        key=("flight_id",),
        disorder_ms=3_600_000,
        max_bytes=262_144,
    )


def test_a_horizon_of_duplicates_is_a_span() -> None:
    declared = declare(event(f'{WORDS}, dedupe="24h"'))["Seen"].definition

    assert declared.dedupe_ms == 86_400_000
    assert "expected a number and ms, s, m, h or d, got 'a day'" in refusal(event(f'{WORDS}, dedupe="a day"'))


def test_records_are_json_unless_the_codec_says_otherwise() -> None:
    assert declare(event())["Seen"].definition.codec == "json"
    assert declare(event(f'{WORDS}, codec="protobuf"'))["Seen"].definition.codec == "protobuf"


def test_names_are_in_snake_case() -> None:
    declared = declare(event().replace("Seen", "HTTPErrorSeen"))["HTTPErrorSeen"].definition

    assert declared.name == "http_error_seen"


def test_fields_may_be_nullable_in_both_spellings() -> None:
    fields = "x: str; a: int | None; b: Optional[bool]; c: float; at: datetime"

    declared = declare("from typing import Optional\n", event(fields=fields))["Seen"].definition

    assert [each.nullable for each in declared.fields] == [False, True, True, False, False]


def test_annotations_may_be_text_with_names_of_the_module_or_of_the_function() -> None:
    source = f"""from __future__ import annotations
import datetime as dt
import headrace as hr
def local():
    Number = float
    class Seen(hr.Event, {WORDS}):
        x: str
        at: dt.datetime | None = None if False else None
    return Seen
"""
    fields = source.replace(
        "at: dt.datetime | None = None if False else None", "n: Number | None\n        at: dt.datetime"
    )

    seen = declare(fields)["local"]()

    assert seen.definition.fields == (
        Field("x", ValueType.CATEGORY),
        Field("n", ValueType.FLOAT, nullable=True),
        Field("at", ValueType.TIME),
    )


def test_datetime_may_be_imported_for_type_checkers_only() -> None:
    source = event().replace("from datetime import datetime\n", "from __future__ import annotations\n")

    assert declare(source)["Seen"].definition.at == "at"


def test_the_key_may_be_other_fields_than_the_id() -> None:
    declared = declare(event(f'{WORDS}, key=("y", "x")', "x: str; y: int; at: datetime"))["Seen"].definition

    assert declared.key == ("y", "x")


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (
            event('topic="t", id="y", at="at"'),
            "app.py:3: expected id= to be a field of the event, one of x, at, got 'y'",
        ),
        (
            event('topic="t", id="x", at="att"'),
            "app.py:3: expected at= to be a field of the event, one of x, at, got 'att'",
        ),
        (event('topic="t", id="x", at="x"'), "app.py:3: expected at= to be a datetime, got x, a str"),
        (event(fields="x: str | None; at: datetime"), "expected id= to be never null, got x | None; remove | None"),
        (event(fields="x: str; at: datetime | None"), "expected at= to be never null, got at | None"),
        (event(f'{WORDS}, key="z"'), "expected key= to be a field of the event, one of x, at, got 'z'"),
        (event(f'{WORDS}, key="y"', "x: str; y: str | None; at: datetime"), "expected key= to be never null"),
        (event(f'{WORDS}, key=("x", "x")'), "expected key= to name each once, got ('x', 'x')"),
        (event(f"{WORDS}, key=5"), "expected key= to be a name or a tuple of names, got 5"),
        (event(fields="x: float; at: datetime"), "expected id= to be a str or an int, got x, a float"),
        (
            event(f'{WORDS}, disorder="15x"'),
            "cannot read span: app.py:3: expected a number and ms, s, m, h or d, got '15x'",
        ),
        (event(f"{WORDS}, disorder=15"), "cannot read span: app.py:3"),
        (event(f'{WORDS}, disorder="99999d"'), "expected at most 3650d, got '99999d'"),
        (event(f"{WORDS}, max_bytes=0"), "expected max_bytes= to be a whole number from 1 on, got 0"),
        (
            event(f'{WORDS}, codec="arvo"'),
            "expected codec= to be one of json, avro, protobuf, got 'arvo'; did you mean 'avro'",
        ),
        (event(f"{WORDS}, codec=7"), "expected codec= to be text, got 7"),
        (event(f'{WORDS}, disordr="15m"'), "got disordr=; did you mean 'disorder'?"),
        (event('id="x", at="at"'), "expected the keyword topic=, got none; write Seen(…, topic=…)"),
        (event('topic="a b", id="x", at="at"'), "expected topic= of up to 200 letters"),
        (event('topic=5, id="x", at="at"'), "expected topic= to be text, got 5"),
        (event(fields="x: str; y: list; at: datetime"), "expected field y to be int, float, bool, str or datetime"),
        (event(fields="x: str; y: 'Decimal'; at: datetime"), "name 'Decimal' is not defined"),
        (
            event(fields="x: str; y: int | str; at: datetime"),
            "expected field y to be int, float, bool, str or datetime",
        ),
        (
            event(fields="x: str; y: int = 3; at: datetime"),
            "expected field y without a value, got 3; write only its type",
        ),
        (event(fields="x: str; y = 3; at: datetime"), "expected fields with a type, as in `origin: str`, got y"),
        (event(fields="x: str; definition: str; at: datetime"), "expected a name other than definition"),
        (event(fields=f"x: str; {'y' * 65}: str; at: datetime"), "expected a name of at most 64 characters"),
        (event(fields="pass"), "expected at least its id and its time as fields, got none"),
        (event(base="int, hr.Event"), "expected hr.Event as the only base, got ['int', 'Event']"),
        (event().replace("Seen", "Lambda"), "expected a name, got the Python keyword 'lambda'; give it another name"),
    ],
)
def test_a_wrong_event_is_refused_with_its_line_and_the_mend(source: str, text: str) -> None:
    said = refusal(source)

    assert text in said
    assert "app.py:3" in said


def test_the_line_is_the_class_statements_own() -> None:
    assert "cannot declare event Gone: app.py:9: " in refusal(EVENTS, 'class Gone(hr.Event, topic="t"):\n    x: str\n')


def test_a_field_on_the_class_is_no_truth_value() -> None:
    said = refusal(EVENTS, "found = Departed.delay_min > 15 and Departed.seats\n")

    assert "app.py:9: expected one comparison at a time" in said
