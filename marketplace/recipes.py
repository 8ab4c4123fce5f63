"""What a feature is, in words: ``mean of delay_min where tail == 'N1' over 1h``."""

from __future__ import annotations

from definitions.declared import Aggregate, EventDefinition, Feature, ViewDefinition
from definitions.expressions import Constant, Expression, Function, Name, Operation

_UNITS_MS = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000))


def recipe(view: ViewDefinition, feature: Feature) -> str:
    """Return how the feature comes about."""
    found = [(each, of.event) for of in view.sources for each in of.aggregates if each.name == feature.aggregate]
    if not found:
        return feature.description or "an expression of other features"
    [(aggregate, event)] = found
    place = f"place {feature.item} of the " if feature.item is not None else ""
    return f"{place}{_statistic(aggregate, event)} over {feature.window}"


def _statistic(aggregate: Aggregate, event: EventDefinition) -> str:
    if aggregate.of:
        return " / ".join(_statistic(each, event) for each in aggregate.of)
    options = dict(aggregate.options)
    kind = aggregate.kind.removesuffix("_k").replace("_", " ")
    told = [str(options[name]) for name in ("k", "q") if name in options]
    text = " ".join([kind, *told, "of", aggregate.field or event.name])
    if aggregate.where:
        text += f" where {' and '.join(_written(each) for each in aggregate.where)}"
    half_life_ms = options.get("half_life_ms")
    return f"{text}, half life {_span(half_life_ms)}," if isinstance(half_life_ms, int) else text


def _written(expression: Expression) -> str:
    if isinstance(expression, Name):
        return expression.name
    if isinstance(expression, Constant):
        return repr(expression.value)
    if isinstance(expression, Function):
        told = "".join(f", {setting}" for setting in expression.settings)
        text = f"{expression.function}({_written(expression.operand)}{told})"
        return text if expression.otherwise is None else f"{text}.else_({expression.otherwise!r})"
    if expression.operator == "else":
        return f"{_operand(expression.left)}.else_({expression.otherwise!r})"
    text = f"{_operand(expression.left)} {expression.operator} {_operand(expression.right)}"
    return text if expression.otherwise is None else f"({text}).else_({expression.otherwise!r})"


def _operand(expression: Expression) -> str:
    return f"({_written(expression)})" if isinstance(expression, Operation) else _written(expression)


def _span(length_ms: int) -> str:
    unit, unit_ms = next((each for each in _UNITS_MS if length_ms % each[1] == 0), ("ms", 1))
    return f"{length_ms // unit_ms}{unit}"
