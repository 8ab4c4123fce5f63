"""Units of measure: one way to write each, what products make of them, and what clashes."""

from __future__ import annotations

import pytest

from definitions.errors import DefinitionError
from definitions.identity import model_digest, view_digest
from definitions.units import PURE, UNKNOWN, canonical_unit, common, product, quotient
from tests.builders import declare

APP = """\
from datetime import datetime
from typing import Annotated
import headrace as hr
class Flown(hr.Event, topic="flown", id="flight_id", at="at"):
    flight_id: str; origin: str; at: datetime
    air_min: Annotated[float, hr.Unit("min")]
    delay_s: Annotated[int | None, hr.Unit("s")]
    miles: Annotated[float, hr.Unit("mi")] | None
    weight: float
"""
VIEW = """\
class V(hr.Features, on=Flown, by="origin", version=1):
    n = hr.count().over("1h")
    air = hr.mean(Flown.air_min).over("1h")
    delay = hr.sum(Flown.delay_s).over("1h")
    miles = hr.max(Flown.miles).over("1h")
    newest = hr.last(Flown.miles).over("1h")
    weight = hr.sum(Flown.weight).over("1h")
"""


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("min", "min"), ("km/h", "km/h"), ("m/s/s", "m/s^2"), ("m*m", "m^2"), ("s*m", "m*s"), ("1/s", "1/s"),
        ("1", "1"), ("km/km", "1"), ("m^2/m", "m"), ("%", "%"), ("m^-1", "1/m"), ("kg*m/s^2", "kg*m/s^2"),
    ],
)  # fmt: skip
def test_a_unit_is_written_in_one_way(text: str, unit: str) -> None:
    assert canonical_unit(text) == unit
    assert product(unit, PURE) == unit
    assert quotient(product(unit, "kg"), "kg") == unit


@pytest.mark.parametrize("text", ["", " ", "a b", "km//h", "km/", "*m", "m^x", "m^0", "3"])
def test_what_is_no_unit_is_none(text: str) -> None:
    assert canonical_unit(text) is None


def test_products_and_quotients_combine() -> None:
    assert product("km/h", "h") == "km"
    assert quotient("mi", "min") == "mi/min"
    assert quotient("min", "min") == PURE
    assert product("min", UNKNOWN) == quotient(UNKNOWN, "min") == UNKNOWN


def test_an_unknown_unit_never_clashes() -> None:
    assert common("min", UNKNOWN) == common(UNKNOWN, "min") == common("min", "min") == "min"
    assert common("min", "s") is None
    assert common("min", PURE) is None


@pytest.mark.parametrize(
    ("expression", "unit"),
    [
        ('air["1h"]', "min"),
        ('delay["1h"]', "s"),
        ('newest["1h"]', "mi"),
        ('n["1h"]', ""),
        ('air["1h"] + air["1h"]', "min"),
        ('air["1h"] - 5', "min"),
        ('air["1h"] * 60', ""),
        ('miles["1h"] / air["1h"]', "mi/min"),
        ('air["1h"] / air["1h"]', "1"),
        ('(air["1h"] / air["1h"]).log()', "1"),
        ('air["1h"].log()', ""),
        ('abs(air["1h"]).clip(0, 9).else_(0)', "min"),
        ('air["1h"] > air["1h"]', ""),
        ('air["1h"] + weight["1h"]', "min"),
        ("hr.asked_at() - hr.asked_at()", "ms"),
    ],
)
def test_units_go_through_statistics_and_expressions(expression: str, unit: str) -> None:
    view = declare(APP, VIEW, f"    e = {expression}\n")["V"].definition

    assert view.features[-1].unit == unit


@pytest.mark.parametrize(
    ("expression", "clash"),
    [
        ('air["1h"] + delay["1h"]', "min + s"),
        ('air["1h"] - miles["1h"]', "min - mi"),
        ('air["1h"] > delay["1h"]', "min > s"),
        ('air["1h"] == miles["1h"] / air["1h"]', "min == mi/min"),
        ('air["1h"] / air["1h"] + air["1h"]', "1 + min"),
    ],
)
def test_units_that_clash_are_refused_naming_both(expression: str, clash: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        declare(APP, VIEW, f"    e = {expression}\n")

    assert f"app.py:17: expected one unit on both sides, got {clash}; convert one of them" in str(refused.value)


def test_units_are_outside_every_hash() -> None:
    model = (
        "class M(hr.Model, version=1):\n"
        '    features = [V.air["1h"], hr.request("d", float, unit="mi")]\n'
        '    label = hr.Label(Flown, key="flight_id", value=Flown.air_min > 9, within="1h")\n'
        '    offline = hr.xgboost()\n    route = hr.Route(champion="offline")\n'
    )
    with_units = declare(APP, VIEW, model)
    without = declare(APP.replace('hr.Unit("min")', "0"), VIEW, model.replace(', unit="mi"', ""))

    assert view_digest(with_units["V"].definition) == view_digest(without["V"].definition)
    assert model_digest(with_units["M"].definition) == model_digest(without["M"].definition)
    assert with_units["M"].definition.inputs == without["M"].definition.inputs
