"""The frozen values that declarations become: what every other room reads.

Authors write classes (`hr.Event`, `hr.Features`, `hr.Model`, `hr.Graph`); each carries its definition
here as ``.definition``. Nothing in these values is a type object, a function or a clock, but a learner's factory.
"""

from __future__ import annotations

from definitions.declared.apps import AppDefinition
from definitions.declared.events import EventDefinition, Field, Rekeyed
from definitions.declared.graphs import (
    CandidatesDefinition,
    Dot,
    GraphColumn,
    GraphDefinition,
    Predicted,
    StageDefinition,
    StageKind,
)
from definitions.declared.models import (
    Input,
    LabelDefinition,
    LearnerDefinition,
    Lookup,
    ModelDefinition,
    PersonalDefinition,
    RouteDefinition,
)
from definitions.declared.views import Aggregate, Feature, Source, ViewDefinition, Window

__all__ = [
    "Aggregate",
    "AppDefinition",
    "CandidatesDefinition",
    "Dot",
    "EventDefinition",
    "Feature",
    "Field",
    "GraphColumn",
    "GraphDefinition",
    "Input",
    "LabelDefinition",
    "LearnerDefinition",
    "Lookup",
    "ModelDefinition",
    "PersonalDefinition",
    "Predicted",
    "Rekeyed",
    "RouteDefinition",
    "Source",
    "StageDefinition",
    "StageKind",
    "ViewDefinition",
    "Window",
]
