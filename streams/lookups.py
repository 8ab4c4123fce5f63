"""Features of entities that other values name: what to ask once those are known, live and in a replay alike.

A lookup is answered from what was served before it: where the values that name its entity could not be read, it is
unanswerable; where they are there but name nobody, or somebody who was never seen, its view is absent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from definitions.declared import Lookup
from definitions.expressions import ASKED_AT
from definitions.values import Value
from streams.entities import entity_key
from streams.opened import Opened
from streams.reading import FeatureQuestion, Served, Serving, ViewReader, folds_of
from streams.store import Answer

Row = Mapping[str, Value]
"""Everything that expressions and lookups of one request may read; what could not be read is not in it."""


def row_of(served: Served, inputs: Mapping[str, Value], at_ms: int) -> dict[str, Value]:
    """Return what a model's expressions and lookups read for one request. Cost: 0.5 us for 30 features.

    Args:
        served: its features; what is unanswerable is left out, for that is not the same as having no value.
        inputs: what the request carries.
        at_ms: the time asked about.
    """
    row = {**served.values, **inputs, ASKED_AT: at_ms}
    for name in served.unanswerable:
        del row[name]
    return row


@dataclass(frozen=True, slots=True)
class Looked:
    """A lookup, ready to be asked: its reader, and the values that name its entity."""

    lookup: Lookup
    reader: ViewReader

    @classmethod
    def of(cls, lookup: Lookup) -> Looked:
        """Return a lookup, ready to be asked."""
        return cls(lookup, ViewReader(lookup.view, lookup.suffix))

    def is_known(self, row: Row) -> bool:
        """Return whether everything that names the entity could be read."""
        return all(name in row for name in self.lookup.by)

    def key(self, row: Row) -> str | None:
        """Return the key of the entity that the row names, None where a part of it has no value."""
        values = [value for name in self.lookup.by if isinstance(value := row.get(name), str | int)]
        return entity_key(values) if len(values) == len(self.lookup.by) else None


class LookupReader:
    """Asks for what is looked up by whole micro-batches, once their other features are served.

    One question, so one round trip, however many lookups and requests there are.
    """

    def __init__(self, lookups: Sequence[Lookup]) -> None:
        self._looked = tuple(Looked.of(each) for each in lookups)
        self._readers = tuple(each.reader for each in self._looked)
        self._kept = tuple(reader.kept for reader in self._readers)
        self._opened: Opened | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The views with their suffixes, as they are called where they are lost."""
        return tuple(f"{each.lookup.view.name}{each.lookup.suffix}" for each in self._looked)

    def question(self, rows: Sequence[Row]) -> FeatureQuestion:
        """Return what to ask the store, for one request per row."""
        cells: dict[tuple[str, str], int] = {}
        places = [
            [place for each in self._looked for place in each.reader.places(cells, each.key(row))] for row in rows
        ]
        return FeatureQuestion(folds=folds_of(self._readers), cells=list(cells), places=places)

    def serve(
        self, question: FeatureQuestion, answer: Answer, index: int, row: Row, *, after: Served, at_ms: int
    ) -> Served:
        """Return what was served ``after`` which request ``index`` was asked, and what it looked up besides."""
        if self._opened is None or self._opened.answer is not answer:
            self._opened = Opened(answer, self._kept, self._opened)
        opened, serving = self._opened, Serving.behind(after, at_ms)
        for each, part in zip(self._looked, opened.parts(question.places[index]), strict=True):
            if each.is_known(row):
                each.reader.add(serving, part.held, part.positions)
            else:
                each.reader.add_unanswerable(serving, part.positions)
        return serving.done(earlier(after.as_of_ms, opened.reached.as_of_ms))


def earlier(first_ms: int | None, second_ms: int | None) -> int | None:
    """Return the earlier of two times as of which something is contained, None where one is not known."""
    return None if first_ms is None or second_ms is None else min(first_ms, second_ms)
