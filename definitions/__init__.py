"""What the author declares: events, views of features, models, labels and routes. Data only.

Knows: names, types, spans, expressions, the identity of a definition, the one encoder of vectors.
Never knows: logs, stores, clocks, learners' libraries; it imports no other room.
Start with: `definitions.declared` (the frozen values that every room reads), `definitions.features` (how a class
becomes one), `definitions.identity` (what a hash covers), `definitions.encoder` (values to numbers; numpy is loaded
only there).
"""

from definitions.declared import AppDefinition, EventDefinition, ModelDefinition, ViewDefinition
from definitions.errors import AppNotLoaded, DefinitionError, HeadraceError, NotDeclared, VectorError
from definitions.values import Value, ValueType

__all__ = [
    "AppDefinition",
    "AppNotLoaded",
    "DefinitionError",
    "EventDefinition",
    "HeadraceError",
    "ModelDefinition",
    "NotDeclared",
    "Value",
    "ValueType",
    "VectorError",
    "ViewDefinition",
]
