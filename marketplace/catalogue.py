"""Every feature that exists, with what is known of it: who declares it, who reads it, what was served.

What is declared comes from the app; what is measured comes from `marketplace.measured`, which reads the monitoring
role's counts. A measurement that was never made is None, not zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from definitions.declared import AppDefinition, Feature, GraphDefinition, ModelDefinition, ViewDefinition
from definitions.expressions import names_of
from marketplace.recipes import recipe

_TOP_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Served:
    """Statistics of one feature, measured from the vectors that a model was served."""

    n: int
    """Predictions that carried the feature, missing or not."""
    missing: int
    mean: float | None
    minimum: float | None
    maximum: float | None
    top: tuple[tuple[str, int], ...]
    """The most frequent categories and their counts."""
    reads_per_min: float

    @property
    def missing_ratio(self) -> float | None:
        """Share of predictions in which the feature had no value, None before the first."""
        return self.missing / self.n if self.n else None

    @property
    def centre(self) -> str:
        """The mean of a number, or the most frequent categories, as text."""
        if self.mean is not None:
            return f"{self.mean:.4g}"
        return ", ".join(f"{value} ({count})" for value, count in self.top[:_TOP_SHOWN])


@dataclass(frozen=True, slots=True)
class Entry:
    """One feature in the catalogue."""

    name: str
    """``view.feature``, the name under which models read it."""
    type: str
    entity: str
    owner: str
    source: str
    """The events it is made from, with commas."""
    recipe: str
    """What it is, in words: ``mean of delay_min over 1h``."""
    version: int
    tags: tuple[str, ...]
    models: tuple[str, ...]
    """The models that read it, in the vector, in an expression, in a lookup; and the graphs, in a stage."""
    served: Served | None
    """What was measured from scoring traffic, None where there was none."""
    unit: str = ""
    """Of a number, as its author wrote it; empty where it is not known."""
    length: int | None = None
    """How many numbers an embedding has."""

    @property
    def shown_type(self) -> str:
        """The type as people read it: ``float, min`` or ``embedding of 8``."""
        return f"{self.type} of {self.length}" if self.length else ", ".join(filter(None, (self.type, self.unit)))

    @property
    def reads_per_min(self) -> float:
        """How often scoring read it lately, over all models."""
        return self.served.reads_per_min if self.served else 0.0


@dataclass(frozen=True, slots=True)
class Filter:
    """What to keep of the catalogue. An empty text or None keeps everything."""

    text: str = ""
    """A part of the name, the recipe or a tag."""
    type: str = ""
    entity: str = ""
    owner: str = ""
    model: str = ""
    min_missing_ratio: float | None = None
    """Only features that are missing at least this often."""
    min_reads_per_min: float | None = None

    def keeps(self, entry: Entry) -> bool:
        """Return whether the entry passes every condition."""
        said = (entry.name, entry.recipe, *entry.tags)
        missing = entry.served.missing_ratio if entry.served else None
        return (
            (not self.text or any(self.text.lower() in word.lower() for word in said))
            and self.type in {"", entry.type}
            and self.entity in {"", entry.entity}
            and self.owner in {"", entry.owner}
            and (not self.model or self.model in entry.models)
            and (self.min_missing_ratio is None or (missing is not None and missing >= self.min_missing_ratio))
            and (self.min_reads_per_min is None or entry.reads_per_min >= self.min_reads_per_min)
        )


def entries(app: AppDefinition, served: Mapping[str, Served]) -> tuple[Entry, ...]:
    """Return the catalogue of an app, in order of declaration.

    Args:
        app: what is declared.
        served: what was measured, by ``view.feature``; see `marketplace.measured`.
    """
    return tuple(_entry(view, feature, app.answering, served) for view in app.views for feature in view.features)


def _entry(
    view: ViewDefinition,
    feature: Feature,
    readers: Sequence[ModelDefinition | GraphDefinition],
    served: Mapping[str, Served],
) -> Entry:
    name = f"{view.name}.{feature.name}"
    return Entry(
        name=name,
        type=str(feature.type),
        entity=", ".join(view.entity_names),
        owner=view.owner,
        source=", ".join(_events(view, feature)),
        recipe=recipe(view, feature),
        version=view.version,
        tags=view.tags,
        models=tuple(each.key for each in readers if name in each.reads),
        served=served.get(name),
        unit=feature.unit,
        length=feature.length,
    )


def _events(view: ViewDefinition, feature: Feature) -> list[str]:
    """Return the names of the events that the feature is made from, in order of the view's declaration."""
    features = {each.name: each for each in view.features}
    reads, aggregates = [feature.name], set[str | None]()
    while reads:
        read = features[reads.pop()]
        aggregates.add(read.aggregate)
        reads += [] if read.expression is None else names_of(read.expression)
    return [each.event.name for each in view.sources if any(kept.name in aggregates for kept in each.aggregates)]
