"""Where an app's rekeyed views read: the copy topics, whose names the namespace leads, in place of the events' own.

Definitions are declared without a namespace, and keep their identity under each: a view's digest and key are those of
its declaration.
"""

from __future__ import annotations

from dataclasses import replace

from definitions.declared import AppDefinition, EventDefinition, ModelDefinition, Rekeyed, Source, ViewDefinition
from streams import topics


def placed(app: AppDefinition, namespace: str) -> AppDefinition:
    """Return the app with every rekeyed source on its copy topic; one that is placed already stays as it is.

    Example:
        >>> placed(app, "flights").copies[0].topic  # doctest: +SKIP
        'flights.flights.departed.by.origin'
    """
    every = (*app.views, *(view for model in app.models for view in model.all_views))
    views = {id(view): _view(view, namespace) for view in every}
    if all(id(view) == number for number, view in views.items()):
        return app
    models = {id(model): _model(model, namespace) for model in app.models}
    return replace(
        app,
        views=tuple(views[id(view)] for view in app.views),
        models=tuple(models[id(model)] for model in app.models),
    )


def _model(model: ModelDefinition, namespace: str) -> ModelDefinition:
    return replace(
        model,
        views=tuple(_view(view, namespace) for view in model.views),
        lookups=tuple(replace(lookup, view=_view(lookup.view, namespace)) for lookup in model.lookups),
    )


def _view(view: ViewDefinition, namespace: str) -> ViewDefinition:
    if not any(_is_to_be_placed(source) for source in view.sources):
        return view
    return replace(view, sources=tuple(_source(source, namespace) for source in view.sources))


def _source(source: Source, namespace: str) -> Source:
    return replace(source, event=_copied(source, namespace)) if _is_to_be_placed(source) else source


def _copied(source: Source, namespace: str) -> EventDefinition:
    event = source.event
    name = topics.copies(namespace, event.topic, source.by)
    return replace(event, topic=name, rekeyed=Rekeyed(event.topic, source.by))


def _is_to_be_placed(source: Source) -> bool:
    return source.rekey and source.event.rekeyed is None
