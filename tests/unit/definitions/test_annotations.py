"""What the annotations of an event's fields add to their types: units, and the length of an embedding."""

from __future__ import annotations

import pytest

from definitions.declared import Field
from definitions.errors import DefinitionError
from definitions.values import ValueType
from tests.builders import declare

HEAD = "from datetime import datetime\nfrom typing import Annotated, Optional\nimport headrace as hr\n"


def event(*fields: str, head: str = HEAD) -> str:
    """Return an event whose class statement is line 4 of the module."""
    lines = ['class Seen(hr.Event, topic="t", id="x", at="at"):', "x: str; at: datetime", *fields]
    return head + "\n    ".join(lines) + "\n"


@pytest.mark.parametrize("head", [HEAD, "from __future__ import annotations\n" + HEAD], ids=["types", "text"])
def test_units_and_lengths_become_part_of_the_field(head: str) -> None:
    fields = (
        'a: Annotated[float, hr.Unit("m/s/s")]',
        'b: Annotated[int | None, hr.Unit("min"), "a note"]',
        'c: Optional[Annotated[float, hr.Unit("min")]]',
        "d: Annotated[list[float], hr.Length(8)]",
        "e: Annotated[list[float] | None, hr.Length(1)]",
        'f: Annotated[str, "a note"]',
    )

    assert declare(event(*fields, head=head))["Seen"].definition.fields[2:] == (
        Field("a", ValueType.FLOAT, unit="m/s^2"),
        Field("b", ValueType.INT, nullable=True, unit="min"),
        Field("c", ValueType.FLOAT, nullable=True, unit="min"),
        Field("d", ValueType.EMBEDDING, length=8),
        Field("e", ValueType.EMBEDDING, nullable=True, length=1),
        Field("f", ValueType.CATEGORY),
    )


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ('y: Annotated[float, hr.Unit("a b")]', "expected y to have a unit such as min, km/h or m/s^2, got 'a b'"),
        ("y: Annotated[float, hr.Unit(5)]", "expected y to have a unit such as min, km/h or m/s^2, got 5"),
        ('y: Annotated[str, hr.Unit("min")]', "expected a unit of a number only, not of y, got a str"),
        ('y: Annotated[list[float], hr.Length(2), hr.Unit("m")]', "expected a unit of a number only, not of y"),
        ("y: Annotated[float, hr.Length(2)]", "expected a length of list[float] only, not of y, got a float"),
        (
            "y: list[float]",
            "expected y to have a length of 1 to 4096, got None; write y: Annotated[list[float], hr.Len",
        ),
        ("y: Annotated[list[float], hr.Length(0)]", "expected y to have a length of 1 to 4096, got 0"),
        ("y: Annotated[list[float], hr.Length(5000)]", "expected y to have a length of 1 to 4096, got 5000"),
        ("y: Annotated[list[float], hr.Length(True)]", "expected y to have a length of 1 to 4096, got True"),
        ("y: list[int]", "expected field y to be int, float, bool, str or datetime"),
        ("y: Annotated[dict, 1]", "expected field y to be int, float, bool, str or datetime"),
        ('y: Annotated[float, hr.Unit("m"), hr.Unit("s")]', "expected field y with one hr.Unit and one hr.Length"),
    ],
)
def test_what_an_annotation_cannot_mean_is_refused_with_its_line(field: str, text: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        declare(event(field))

    assert f"cannot declare event Seen: app.py:4: {text}" in str(refused.value)


@pytest.mark.parametrize("kind", ["sum", "mean", "min", "max"])
def test_only_last_reads_an_embedding(kind: str) -> None:
    source = event("y: Annotated[list[float], hr.Length(2)]") + (
        'class V(hr.Features, on=Seen, by="x", version=1):\n'
        '    good = hr.last(Seen.y).over("1h", every="1h")\n'
        f'    bad = hr.{kind}(Seen.y).over("1h")\n'
    )

    with pytest.raises(DefinitionError) as refused:
        declare(source)

    assert "got seen.y, a list[float]; write hr.last(seen.y)" in str(refused.value)
    assert "app.py:9: " in str(refused.value)


@pytest.mark.parametrize("expression", ["+ 1", "> 1", '== good["1h"]', ".else_(0)", ".clip(0, 1)", ".log()"])
def test_an_embedding_is_no_part_of_an_expression(expression: str) -> None:
    source = event("y: Annotated[list[float], hr.Length(2)]") + (
        'class V(hr.Features, on=Seen, by="x", version=1):\n'
        '    good = hr.last(Seen.y).over("1h", every="1h")\n'
        f'    bad = good["1h"]{expression}\n'
    )

    with pytest.raises(DefinitionError, match=r"app.py:9: .* a list\[float\]"):
        declare(source)


def test_the_last_embedding_is_a_feature_of_its_length() -> None:
    source = event("y: Annotated[list[float], hr.Length(2)]") + (
        'class V(hr.Features, on=Seen, by="x", version=1):\n    last = hr.last(Seen.y).over("1h", every="1h")\n'
    )

    [feature] = declare(source)["V"].definition.features

    assert (feature.type, feature.length) == (ValueType.EMBEDDING, 2)
    longer = declare(source.replace("Length(2)", "Length(3)"))["V"].definition
    assert longer.digest != declare(source)["V"].definition.digest
