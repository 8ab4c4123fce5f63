"""What a definition's hash covers, and what it leaves out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from definitions.declared import Field, ModelDefinition, ViewDefinition
from definitions.expressions import Constant, Name, Operation
from definitions.identity import (
    CELL_CODEC_VERSION,
    ENGINE_SEMANTICS_VERSION,
    canonical_view,
    difference,
    fields_of,
    model_digest,
    view_digest,
)
from definitions.values import ValueType
from tests.builders import (
    aggregate,
    event_definition,
    label_definition,
    model_definition,
    request_input,
    river_learner,
    view_definition,
    window,
    xgboost_learner,
)

VIEW, MODEL, EVENT = view_definition(), model_definition(), event_definition()
LATE = Operation(">", Name("seats"), Constant(15))


def _with_field(name: str, **changes: object) -> ViewDefinition:
    fields = tuple(replace(each, **changes) if each.name == name else each for each in EVENT.fields)  # type: ignore[arg-type]
    return view_definition(on=replace(EVENT, fields=fields))


def test_digests_are_the_same_in_every_process_and_release() -> None:
    assert view_digest(VIEW) == "42d1cd7469b7"
    assert model_digest(MODEL) == "454092309f12"


@pytest.mark.parametrize(
    "changed",
    [
        replace(VIEW, owner="someone", description="else", tags=("new",)),
        replace(VIEW, name="renamed", version=7),
        replace(VIEW, features=VIEW.features[:-1]),
        view_definition(aggregates=[replace(VIEW.aggregates[0], name="departures"), VIEW.aggregates[1]]),
        view_definition(aggregates=[aggregate("n", windows=["60m", "1d"]), VIEW.aggregates[1]]),
        view_definition(on=event_definition(name="left", max_bytes=1)),
        view_definition(on=event_definition(codec="avro")),
        view_definition(on=event_definition(fields=(*EVENT.fields, Field("new", ValueType.INT)))),
        _with_field("seats", type=ValueType.FLOAT),
    ],
    ids=["text", "name", "expressions", "aggregate name", "span text", "event name", "codec", "field", "unused field"],
)
def test_what_does_not_decide_state_changes_no_digest(changed: ViewDefinition) -> None:
    assert view_digest(changed) == view_digest(VIEW)
    assert difference(VIEW, changed) is None


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (view_definition(on=event_definition(topic="t")), 'event.topic was "flights.departed", is "t"'),
        (view_definition(on=event_definition(disorder_ms=600_000)), "event.disorder_ms was 900000, is 600000"),
        (view_definition(on=event_definition(id="tail")), 'event.id was "flight_id", is "tail"'),
        (view_definition(on=event_definition(key=("tail",))), 'event.key was ["flight_id"], is ["tail"]'),
        (view_definition(by=("dest",)), 'by was ["origin"], is ["dest"]'),
        (
            _with_field("delay_min", type=ValueType.INT),
            'event.fields.delay_min was ["float", false], is ["int", false]',
        ),
        (_with_field("delay_min", nullable=True), 'is ["float", true]'),
        (
            view_definition(aggregates=[VIEW.aggregates[0], aggregate("delay", "max", "delay_min")]),
            'aggregates[1].kind was "mean", is "max"',
        ),
        (
            view_definition(aggregates=[aggregate(windows=[window("1h", every="2m"), "24h"]), VIEW.aggregates[1]]),
            "is [[3600000, 120000], [86400000, 1440000]]",
        ),
        (
            view_definition(aggregates=[aggregate("flights", where=[LATE]), VIEW.aggregates[1]]),
            'aggregates[0].where was nothing, is [[">", ["name", "seats"], ["constant", 15], null]]',
        ),
        (
            view_definition(aggregates=[aggregate("flights", where=[LATE]), VIEW.aggregates[1]]),
            'event.fields.seats was nothing, is ["int", true]',
        ),
        (
            view_definition(aggregates=[VIEW.aggregates[0], aggregate("delay", "quantile", "delay_min", q=0.9)]),
            "aggregates[1].options.q was nothing, is 0.9",
        ),
        (view_definition(aggregates=VIEW.aggregates[:1]), 'aggregates[1].kind was "mean", is nothing'),
    ],
)
def test_what_decides_state_changes_the_digest_and_is_said(changed: ViewDefinition, said: str) -> None:
    assert view_digest(changed) != view_digest(VIEW)
    assert said in (difference(VIEW, changed) or "")


def test_what_a_ratio_divides_decides_state() -> None:
    above, below = aggregate("", "sum", "seats", ()), aggregate("", windows=())
    ratio, other = (
        view_definition(aggregates=[aggregate("x", "ratio", of=of)]) for of in ([above, below], [above, above])
    )

    assert difference(ratio, other) == (
        'aggregates[0].of[1].kind was "count", is "sum"; aggregates[0].of[1].field was null, is "seats"'
    )
    assert fields_of(ratio.aggregates[0]) == {"seats"}


def test_another_engine_or_codec_is_another_digest() -> None:
    canonical = canonical_view(VIEW)

    assert (canonical["engine"], canonical["cells"]) == (ENGINE_SEMANTICS_VERSION, CELL_CODEC_VERSION)


@pytest.mark.parametrize(
    "changed",
    [
        replace(MODEL, owner="x", description="y", timeout_ms=1, version=2),
        replace(MODEL, route=replace(MODEL.route, champion="online", shadow=())),
        model_definition(views=[replace(VIEW, owner="x")]),
    ],
    ids=["text", "route", "view text"],
)
def test_what_does_not_decide_what_is_learned_changes_no_model_digest(changed: ModelDefinition) -> None:
    assert model_digest(changed) == model_digest(MODEL)


@pytest.mark.parametrize(
    "change",
    [
        lambda: model_definition(inputs=MODEL.inputs[:-1]),
        lambda: model_definition(inputs=[*MODEL.inputs[:-1], request_input("carrier", ValueType.INT)]),
        lambda: model_definition(inputs=MODEL.inputs[::-1]),
        lambda: model_definition(label=label_definition(within_ms=1)),
        lambda: model_definition(label=label_definition(otherwise=False)),
        lambda: model_definition(label=label_definition(value=Operation(">", Name("delay_min"), Constant(16)))),
        lambda: model_definition(label=None),
        lambda: model_definition(learners=[xgboost_learner(parameters={"max_depth": 3}), river_learner()]),
        lambda: model_definition(learners=[xgboost_learner()]),
        lambda: model_definition(views=[view_definition(on=event_definition(disorder_ms=1))]),
        lambda: model_definition(
            views=[
                replace(VIEW, features=(*VIEW.features[:-1], replace(VIEW.features[-1], expression=Name("delay_1h"))))
            ]
        ),
    ],
)
def test_what_decides_what_is_learned_changes_the_model_digest(change: Callable[[], ModelDefinition]) -> None:
    changed = change()

    assert model_digest(changed) != model_digest(MODEL)
    assert difference(MODEL, changed)


def test_many_differences_are_cut_short() -> None:
    changed = view_definition(
        by=("dest", "carrier"),
        aggregates=[aggregate("x", "last", "tail")],
        on=event_definition(topic="t", disorder_ms=1),
    )

    said = difference(VIEW, changed) or ""

    assert said.count(" was ") == 3
    assert said.endswith("more")
    assert "\n" not in said


def test_a_labels_policies_are_part_of_the_model_only_where_they_are_chosen() -> None:
    """So that models declared before there was a choice keep their digest."""
    of = [
        model_digest(model_definition(label=label_definition(**changes)))
        for changes in ({}, {"revised": "ignore", "per_key": "all"}, {"revised": "replace"}, {"per_key": "first"})
    ]

    assert of[0] == of[1]
    assert len(set(of)) == 3
