"""Valid definitions for tests: say only what matters to the test, the rest is filled in.

Definitions are plain values, so a test may also build its own; these keep digests true to what they are built from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from definitions.declared import (
    Aggregate,
    AppDefinition,
    EventDefinition,
    Feature,
    Field,
    Input,
    LabelDefinition,
    LearnerDefinition,
    ModelDefinition,
    PersonalDefinition,
    RouteDefinition,
    Source,
    ViewDefinition,
    Window,
)
from definitions.expressions import Constant, Expression, Name, Operation
from definitions.identity import model_digest, view_digest
from definitions.values import Value, ValueType, parse_span

EVENTS = """\
from datetime import datetime
import headrace as hr
class Departed(hr.Event, topic="flights.departed", id="flight_id", at="departed_at", disorder="15m"):
    flight_id: str; origin: str; dest: str; tail: str | None
    delay_min: float; seats: int | None
    diverted: bool; departed_at: datetime
class Arrived(hr.Event, topic="flights.arrived", id="flight_id", at="arrived_at", disorder="1h"):
    flight_id: str; delay_min: float; late: bool; gate: str; arrived_at: datetime
"""
"""The first lines of an author's module, for `declare`: two events, in 8 lines."""

VIEW = """\
class OriginTraffic(hr.Features, on=Departed, by="origin", version=1, owner="ops-ml"):
    flights = hr.count().over("1h", "24h")
    delay = hr.mean(Departed.delay_min).over("1h", "24h")
    worsening = delay["1h"] - delay["24h"]
"""
"""A view for an author's module, in 4 lines."""

_GRIDS = 60


def declare(*source: str) -> dict[str, Any]:
    """Run the sources as one author's module, ``app.py``, and return what it defines."""
    module: dict[str, Any] = {"__name__": "app"}
    code = compile("".join(source), "/home/author/app.py", "exec", dont_inherit=True)
    exec(code, module)  # noqa: S102  # it is the author's module
    return module


def event_definition(**changes: Any) -> EventDefinition:
    """Return the event ``departed`` of the topic ``flights.departed``, with ``changes``."""
    departed = EventDefinition(
        name="departed",
        topic="flights.departed",
        fields=(
            Field("flight_id", ValueType.CATEGORY),
            Field("origin", ValueType.CATEGORY),
            Field("dest", ValueType.CATEGORY),
            Field("carrier", ValueType.CATEGORY),
            Field("tail", ValueType.CATEGORY, nullable=True),
            Field("delay_min", ValueType.FLOAT),
            Field("seats", ValueType.INT, nullable=True),
            Field("departed_at", ValueType.TIME),
        ),
        id="flight_id",
        at="departed_at",
        key=("flight_id",),
        disorder_ms=15 * 60_000,
    )
    return replace(departed, **changes)


def label_event_definition(**changes: Any) -> EventDefinition:
    """Return the event ``arrived`` of the topic ``flights.arrived``, with ``changes``."""
    arrived = EventDefinition(
        name="arrived",
        topic="flights.arrived",
        fields=(
            Field("flight_id", ValueType.CATEGORY),
            Field("delay_min", ValueType.FLOAT),
            Field("arrived_at", ValueType.TIME),
        ),
        id="flight_id",
        at="arrived_at",
        key=("flight_id",),
        disorder_ms=60 * 60_000,
    )
    return replace(arrived, **changes)


def window(text: str = "1h", *, every: str | None = None) -> Window:
    """Return a window such as ``1h``, cut into 60 tiles unless ``every`` says otherwise."""
    length_ms = parse_span(text, where="a test")
    return Window(text, length_ms, length_ms // _GRIDS if every is None else parse_span(every, where="a test"))


def aggregate(
    name: str = "flights",
    kind: str = "count",
    field: str | None = None,
    windows: Sequence[Window | str] = ("1h", "24h"),
    *,
    where: Sequence[Expression] = (),
    of: Sequence[Aggregate] = (),
    **options: Value,
) -> Aggregate:
    """Return an aggregate; windows may be given as text, and of the kind's options those that matter."""
    said = tuple(sorted({**OPTIONS.get(kind, {}), **options}.items()))
    spans = tuple(window(each) if isinstance(each, str) else each for each in windows)
    return Aggregate(name, kind, field, spans, tuple(where), said, tuple(of))


OPTIONS: Mapping[str, Mapping[str, Value]] = {
    "last_k": {"k": 3},
    "distinct": {"exact": 256, "precision": 12},
    "quantile": {"accuracy": 0.01, "q": 0.5},
    "top_k": {"capacity": 64, "k": 3},
    "decayed_count": {"half_life_ms": 3_600_000},
    "decayed_mean": {"half_life_ms": 3_600_000},
}
"""What each kind is told where a test does not say."""

_FLOATS = frozenset({"mean", "variance", "std", "quantile", "decayed_count", "decayed_mean", "ratio"})


def feature_type(event: EventDefinition, of: Aggregate) -> ValueType:
    """Return the type of the features of one aggregate."""
    declared = None if of.field is None else event.field(of.field)
    if of.kind in _FLOATS:
        return ValueType.FLOAT
    if declared is None or of.kind == "distinct" or (of.kind == "sum" and declared.type is ValueType.BOOL):
        return ValueType.INT
    return declared.type


def entity_fields(sources: Sequence[Source], names: Sequence[str]) -> tuple[Field, ...]:
    """Return what names the entity of a view on ``sources``, called ``names`` in requests."""
    keys = [[field for field in (each.event.field(name) for name in each.by) if field] for each in sources]
    return tuple(
        Field(name, same[0].type, any(field.nullable for field in same))
        for name, same in zip(names, zip(*keys, strict=True), strict=True)
    )


def view_definition(
    *,
    on: EventDefinition | None = None,
    by: Sequence[str] = ("origin",),
    aggregates: Sequence[Aggregate] | None = None,
    sources: Sequence[Source] = (),
    entity: Sequence[str] = (),
    expressions: Sequence[Feature] | None = None,
    **changes: Any,
) -> ViewDefinition:
    """Return the view ``origin_traffic``: flights and mean delay over 1h and 24h, and ``worsening`` from them.

    With ``aggregates`` given there are no expressions, unless they are given too. A view on several events is made
    from ``sources``, in place of ``on``, ``by`` and ``aggregates``. ``entity`` names it where ``by`` does not.
    """
    event = event_definition() if on is None else on
    if aggregates is None and not sources:
        aggregates = [aggregate("flights"), aggregate("delay", "mean", "delay_min")]
        if expressions is None:
            expression = Operation("-", Name("delay_1h"), Name("delay_24h"))
            expressions = [Feature("worsening", ValueType.FLOAT, expression=expression)]
    sources = sources or [Source(event, tuple(by), tuple(aggregates or ()))]
    features = [
        feature
        for source in sources
        for each in source.aggregates
        for span in each.windows
        for feature in _features(source.event, each, span)
    ]
    view = ViewDefinition(
        name="origin_traffic",
        version=1,
        entity=entity_fields(sources, entity or sources[0].by),
        sources=tuple(sources),
        features=(*features, *(expressions or ())),
        digest="",
        owner="ops-ml",
    )
    view = replace(view, **changes)
    return view if view.digest else replace(view, digest=view_digest(view))


def rekeyed_view(**changes: Any) -> ViewDefinition:
    """Return the view of `view_definition`, rekeyed."""
    plain = view_definition(**changes)
    view = replace(plain, sources=tuple(replace(each, rekey=True) for each in plain.sources), digest="")
    return replace(view, digest=view_digest(view))


def airport_day(**changes: Any) -> ViewDefinition:
    """Return the view ``airport_day`` on two events: what left an ``airport``, what came there, and ``waiting``."""
    to = (*label_event_definition().fields, Field("dest", ValueType.CATEGORY))
    sources = [
        Source(event_definition(), ("origin",), (aggregate("left"), aggregate("delay", "mean", "delay_min"))),
        Source(
            label_event_definition(fields=to), ("dest",), (aggregate("came"), aggregate("worst", "max", "delay_min"))
        ),
    ]
    waiting = Feature("waiting", ValueType.INT, expression=Operation("-", Name("came_1h"), Name("left_1h")))
    given = {"name": "airport_day", "sources": sources, "entity": ["airport"], "expressions": [waiting]}
    return view_definition(**(given | changes))


def _features(event: EventDefinition, of: Aggregate, span: Window) -> list[Feature]:
    name, kind, k = f"{of.name}_{span.text}", feature_type(event, of), dict(of.options).get("k")
    if not isinstance(k, int):
        return [Feature(name, kind, aggregate=of.name, window=span.text)]
    return [Feature(f"{name}_{item}", kind, aggregate=of.name, window=span.text, item=item) for item in range(1, k + 1)]


def feature_input(view: ViewDefinition, name: str) -> Input:
    """Return the model input that reads one feature of a view."""
    feature = next(each for each in view.features if each.name == name)
    return Input(f"{view.name}.{name}", feature.type, view.name, name)


def request_input(name: str = "distance", kind: ValueType = ValueType.FLOAT) -> Input:
    """Return a model input that the request carries."""
    return Input(name, kind)


def label_definition(**changes: Any) -> LabelDefinition:
    """Return the label "arrived more than 15 min late, known within 24h, else dropped", with ``changes``."""
    label = LabelDefinition(
        event=label_event_definition(),
        key="flight_id",
        value=Operation(">", Name("delay_min"), Constant(15)),
        within_ms=24 * 3_600_000,
    )
    return replace(label, **changes)


def river_learner(name: str = "online", factory: Callable[[], object] = object) -> LearnerDefinition:
    """Return a learner of kind ``river``."""
    return LearnerDefinition(name, "river", factory=factory)


def xgboost_learner(name: str = "offline", parameters: Mapping[str, Value] | None = None) -> LearnerDefinition:
    """Return a learner of kind ``xgboost``."""
    return LearnerDefinition(name, "xgboost", parameters=parameters or {"objective": "binary:logistic"})


def personal_learner(name: str = "own", of: str = "offline", **changes: Any) -> LearnerDefinition:
    """Return a learner of kind ``personal`` by carrier and by route, with a coefficient for the distance."""
    given: dict[str, Any] = {"by": (("carrier",), ("origin", "dest")), "features": ("distance",)}
    return LearnerDefinition(name, "personal", members={of: 1.0}, personal=PersonalDefinition(**(given | changes)))


def model_definition(
    *,
    views: Sequence[ViewDefinition] | None = None,
    inputs: Sequence[Input] | None = None,
    learners: Sequence[LearnerDefinition] | None = None,
    **changes: Any,
) -> ModelDefinition:
    """Return the model ``late``: every feature of its views and two request inputs; champion offline, shadow online.

    With other ``learners`` the first is the champion and the rest are shadows.
    """
    read = (view_definition(),) if views is None else tuple(views)
    named = (xgboost_learner(), river_learner()) if learners is None else tuple(learners)
    if inputs is None:
        features = [feature_input(view, each.name) for view in read for each in view.features]
        inputs = [*features, request_input("distance"), request_input("carrier", ValueType.CATEGORY)]
    model = ModelDefinition(
        name="late",
        version=1,
        inputs=tuple(inputs),
        views=read,
        learners={each.name: each for each in named},
        route=RouteDefinition(named[0].name, tuple(each.name for each in named[1:])),
        digest="",
        label=label_definition(),
        owner="ops-ml",
    )
    model = replace(model, **changes)
    return model if model.digest else replace(model, digest=model_digest(model))


def app_definition(**changes: Any) -> AppDefinition:
    """Return the app ``flights`` with the events, the view and the model of this module, with ``changes``."""
    model = model_definition()
    events = (*(source.event for view in model.views for source in view.sources), label_event_definition())
    return replace(AppDefinition("flights", events, model.views, (model,)), **changes)
