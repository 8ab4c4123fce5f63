"""Everything that one author declares, as data, and how it is found by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from definitions.declared.events import EventDefinition
from definitions.declared.graphs import GraphDefinition
from definitions.declared.models import ModelDefinition
from definitions.declared.views import Source, ViewDefinition
from definitions.declaring import not_declared

_Named = TypeVar("_Named", EventDefinition, ViewDefinition, ModelDefinition, GraphDefinition)


@dataclass(frozen=True, slots=True)
class AppDefinition:
    """Everything that one author's module declares."""

    name: str
    events: tuple[EventDefinition, ...]
    views: tuple[ViewDefinition, ...]
    models: tuple[ModelDefinition, ...]
    graphs: tuple[GraphDefinition, ...] = ()

    @property
    def answering(self) -> tuple[ModelDefinition | GraphDefinition, ...]:
        """Everything that requests may ask."""
        return (*self.models, *self.graphs)

    def event(self, name: str) -> EventDefinition:
        """Return the event called ``name``.

        Raises:
            NotDeclared: there is none; the text lists those there are, and the nearest.
        """
        return _named("event", self, name, self.events)

    def view(self, name: str, version: int | None = None) -> ViewDefinition:
        """Return the view called ``name``, its newest version where none is asked for.

        Raises:
            NotDeclared: there is no such view, or not in that version.
        """
        newest = _named("view", self, name, sorted(self.views, key=lambda each: -each.version))
        if version is None or version == newest.version:
            return newest
        versions = {str(each.version): each for each in self.views if each.name == name}
        if str(version) not in versions:
            raise not_declared(f"version of view {name}", f"app {self.name}", str(version), versions)
        return versions[str(version)]

    @property
    def copies(self) -> tuple[EventDefinition, ...]:
        """The events of the copies that rekeyed views read, each topic once; none before `streams.placement`."""
        events = (source.event for view in self.views for source in view.sources)
        return tuple({each.topic: each for each in events if each.rekeyed is not None}.values())

    def sources_on(self, topic: str) -> tuple[Source, ...]:
        """Return every view's source that is on ``topic``: the folds over each of its partitions."""
        return tuple(each for view in self.views for each in view.sources if each.event.topic == topic)

    def versions(self, name: str) -> tuple[ViewDefinition, ...]:
        """Return every version of the view called ``name``, the oldest first.

        Raises:
            NotDeclared: there is no such view.
        """
        _named("view", self, name, self.views)
        return tuple(sorted((each for each in self.views if each.name == name), key=lambda each: each.version))

    def model(self, name: str) -> ModelDefinition:
        """Return the model called ``name``.

        Raises:
            NotDeclared: there is none; the text lists those there are, and the nearest.
        """
        return _named("model", self, name, self.models)

    def asked(self, name: str) -> ModelDefinition | GraphDefinition:
        """Return the graph or the model that requests call ``name``.

        Raises:
            NotDeclared: there is neither.
        """
        kind = "model or graph" if self.graphs else "model"
        for each in self.answering:
            if each.name == name:
                return each
        raise not_declared(kind, f"app {self.name}", name, dict.fromkeys(each.name for each in self.answering))


def _named(kind: str, app: AppDefinition, name: str, among: Sequence[_Named]) -> _Named:
    for each in among:
        if each.name == name:
            return each
    raise not_declared(kind, f"app {app.name}", name, dict.fromkeys(each.name for each in among))
