"""The candidates of a micro-batch while they go through a graph: rows that become fewer, columns that become more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

import numpy as np

from definitions.expressions import ASKED_AT
from definitions.values import Value
from online_models.graphs import Ask, Features, Known, Read
from online_models.graphs.columns import Column, Mask, Numbers, Rows
from online_models.graphs.plan import Plan


@dataclass(slots=True)
class Course:
    """How one request fared."""

    degraded: dict[str, None] = field(default_factory=dict)
    reason: str | None = None
    is_scored: bool = False

    def note(self, what: str, reason: str) -> None:
        """Say what was done without, or only in part, and why."""
        self.degraded.setdefault(what)
        self.reason = self.reason or reason


class Table:
    """Rows of candidates, request by request, and what is known of them."""

    def __init__(self, plan: Plan, asks: Sequence[Ask]) -> None:
        counts = [len(each.ids) for each in asks]
        self.asks = asks
        self.courses = [Course() for _ in asks]
        self.owners: Rows = np.repeat(np.arange(len(asks)), counts)
        """The request of each row."""
        self.places: Rows = np.concatenate([np.arange(0), *(np.arange(each) for each in counts)])
        """The place of each row's candidate in its request."""
        self.scores: Numbers = np.full(len(self.owners), np.nan)
        self.columns: dict[str, Column] = {}
        self.noted: dict[str, None] = {}
        """Columns that no stage needs, but whoever logs the answer."""
        self._plan = plan
        self._inputs = {each.name for each in plan.graph.candidates.inputs}

    def __len__(self) -> int:
        return len(self.owners)

    @property
    def counts(self) -> list[int]:
        """How many rows each request has."""
        if len(self.asks) == 1:
            return [len(self.owners)]
        counts: list[int] = np.bincount(self.owners, minlength=len(self.asks)).tolist()
        return counts

    def requests(self) -> Iterator[tuple[int, slice]]:
        """Yield each request's number with the rows that are its own."""
        start = 0
        for number, count in enumerate(self.counts):
            yield number, slice(start, start + count)
            start += count

    def take(self, rows: Rows) -> None:
        """Keep some rows, in this order: still request by request."""
        if len(rows) == len(self.owners) and (rows == np.arange(len(rows))).all():
            return
        self.owners, self.places, self.scores = self.owners[rows], self.places[rows], self.scores[rows]
        self.columns = {name: each.take(rows) for name, each in self.columns.items()}

    def keep(self, names: frozenset[str]) -> None:
        """Forget the columns that nothing needs any more."""
        self.columns = {name: each for name, each in self.columns.items() if name in names or name in self.noted}

    def note(self, name: str, column: Column) -> None:
        """Keep a column for the log, if anything is logged."""
        if self._plan.logged:
            self.noted[name] = None
            self.columns[name] = column

    def put_input(self, name: str) -> None:
        """Make a column of what requests or their candidates carry."""
        if name not in self._inputs:
            values = [each.at_ms if name == ASKED_AT else each.inputs.get(name) for each in self.asks]
            self.columns[name] = Column.of(self._plan.types[name], values).take(self.owners)
            return
        own = [self._own(number, rows, name) for number, rows in self.requests()]
        self.columns[name] = Column.of(self._plan.types[name], own[0] if len(own) == 1 else list(chain(*own)))

    def _own(self, number: int, rows: slice, name: str) -> Sequence[Value]:
        """Return an input of a request's candidates, row by row."""
        values, places = self.asks[number].candidates[name], self.places[rows]
        if len(places) == len(values) and (places == np.arange(len(places))).all():
            return values
        return [values[place] for place in places.tolist()]

    def put_features(self, views: Sequence[str], found: Features | None) -> None:
        """Make columns of what was read, or could not be; the requests concerned are degraded then."""
        wanted = [name for name, view in self._plan.views.items() if view in views]
        for name in wanted:
            kind = self._plan.types[name]
            if found is None:
                self.columns[name] = Column.nothing(kind, len(self), unread=True)
            elif name in self._plan.request_features:
                read = found.of_requests[name]
                self.columns[name] = Column.of(kind, read.values, read.unread).take(self.owners)
                self._note_unread(name, read, np.arange(len(self.asks)))
            else:
                read = found.of_candidates[name]
                self.columns[name] = Column.of(kind, read.values, read.unread)
                self._note_unread(name, read, self.owners)
        if found is None:
            for number, rows in self.requests():
                if rows.stop > rows.start:
                    for view in views:
                        self.courses[number].note(view, "features_unavailable")

    def _note_unread(self, name: str, read: Read, owners: Rows) -> None:
        if read.unread is not None:
            for number in np.unique(owners[read.unread]).tolist():
                self.courses[number].note(name, "features_unavailable")

    def note_all(self, what: str, reason: str, among: Mask | None = None) -> None:
        """Say of every request that has rows what was done without; ``among`` says of which rows alone."""
        owners = self.owners if among is None else self.owners[among]
        for number in np.unique(owners).tolist():
            self.courses[number].note(what, reason)

    def vector_of(self, number: int, name: str) -> Value:
        """Return an embedding of a request, as its rows have it."""
        rows = np.flatnonzero(self.owners == number)
        found: Value = self.columns[name].values[rows[0]] if len(rows) else None
        return found

    def known(self, number: int) -> Known:
        """Return what the first places of a request were ranked by, as many as the graph logs.

        Cost: 1 us a value; behind the reply.
        """
        rows = dict(self.requests())[number]
        first = np.arange(rows.start, min(rows.stop, rows.start + self._plan.graph.logged))
        names = (*self._plan.logged, *self.noted)
        columns = [
            self.columns[name].take(first).listed() if name in self.columns else [None] * len(first) for name in names
        ]
        return Known(names, [list(each) for each in zip(*columns, strict=True)] if names else [[] for _ in first])
