"""Recalls what a model's personal learners know of the entities of a micro-batch, from cells read with its features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from agents.personal_cells import POPULATION, PersonalCodec, fold, named
from definitions.declared import LearnerDefinition, ModelDefinition
from definitions.encoder import Vector
from definitions.values import Value
from online_models.learners.restoring import ONLINE, LineUp
from online_models.personal import Evidence, PersonalModel, Population, Recalled
from online_models.personal.exploring import draw
from streams.messages import Personal
from streams.store import Cell

Cells = Mapping[tuple[str, str], Mapping[str, Cell]]
"""(fold, cell) to what the store holds there, by partition field."""
_DIGITS = 12


class Asking(Protocol):
    """What asks: a request, or a candidate of one."""

    @property
    def request_id(self) -> str:
        """Its position, and of a candidate its id behind it: what is drawn for it is a function of that."""
        ...

    @property
    def entities(self) -> Mapping[str, str | int | None]:
        """Those that it names."""
        ...

    @property
    def inputs(self) -> Mapping[str, Value]:
        """The values that it carries."""
        ...


class Vectors(Protocol):
    """The vectors that are to be scored, and by whom: a turn."""

    @property
    def vectors(self) -> Sequence[Vector]:
        """One per request."""
        ...

    @property
    def refused(self) -> Mapping[int, str]:
        """The places of those that no learner may see."""
        ...

    @property
    def line_up(self) -> LineUp:
        """The learners in force."""
        ...


@dataclass(frozen=True, slots=True)
class Remembered:
    """What one personal learner knows of one request's entities, and what it adds for them this time."""

    model: PersonalModel
    recalled: Recalled
    added: float
    """What is believed or, where answers are drawn, what was drawn of it."""

    def told(self) -> Personal:
        """Return what the reply says of it."""
        recalled, is_drawn = self.recalled, self.model.explore is not None
        return Personal(adds=recalled.adds, deviation=recalled.deviation, known=dict(recalled.known), drawn=is_drawn)

    def propensity(self, offset: float) -> float:
        """Return how probable it was that the answer fell on its side of the score from which callers act."""
        return self.model.propensity(offset, self.recalled, self.added)


@dataclass(frozen=True, slots=True)
class _Part:
    """One personal learner, as it is asked for."""

    definition: LearnerDefinition
    model: PersonalModel
    fold: str
    has_versions: bool


class PersonalReader:
    """What to ask the store for the personal learners of a model, and what its answer means."""

    def __init__(self, model: ModelDefinition) -> None:
        self._parts = [
            _Part(each, personal := PersonalModel(each, model.inputs), fold(model, each),
                  model.learners[personal.offset].kind != ONLINE)
            for each in model.personal
        ]  # fmt: skip
        self._codec = PersonalCodec()
        self.names = tuple(part.definition.name for part in self._parts)
        self._named_by = tuple(
            dict.fromkeys(
                name for part in self._parts if part.definition.personal for name in part.definition.personal.named_by
            )
        )

    def entities(self, request: Asking) -> dict[str, str | int]:
        """Return what a request's entities are known by: what its prediction says of them."""
        if not self._named_by:
            return {}
        values: Mapping[str, Value] = {**request.inputs, **request.entities}
        return {name: value for name in self._named_by if isinstance(value := values.get(name), str | int)}

    def cells(self, requests: Sequence[Asking]) -> list[tuple[str, str]]:
        """Return the cells to be read, (fold, cell) each, every one once."""
        if not self._parts:
            return []
        entities = [self.entities(request) for request in requests]
        wanted: dict[tuple[str, str], None] = {}
        for part in self._parts:
            wanted[part.fold, POPULATION] = None
            for each in entities:
                wanted |= {(part.fold, name): None for name in named(part.definition, each) if name is not None}
        return list(wanted)

    def recall(
        self,
        requests: Sequence[Asking],
        turn: Vectors,
        cells: Cells | None,
    ) -> dict[str, list[Remembered | None]]:
        """Return what each learner knows, request by request; None of a vector that no learner may see.

        ``cells`` are those of `cells`; None where the store did not answer: then nobody remembers anything.

        Cost: 20 us a request and kind of entity, of 30 coefficients each.
        """
        if cells is None or not self._parts:
            return {}
        return {
            part.definition.name: self._recall(part, requests, turn, cells)
            for part in self._parts
            if part.definition.name in turn.line_up
        }

    def _recall(self, part: _Part, requests: Sequence[Asking], turn: Vectors, cells: Cells) -> list[Remembered | None]:
        field, population = self._population(part, cells)
        digest = _digest(turn.line_up, part) if population.base else population.digest
        found: list[Remembered | None] = []
        for index, request in enumerate(requests):
            if index in turn.refused:
                found.append(None)
                continue
            evidence = [
                None if name is None else self._evidence(cells[part.fold, name].get(field), part.model, population)
                for name in named(part.definition, self.entities(request))
            ]
            recalled = part.model.recall(turn.vectors[index], evidence, population, digest)
            added = recalled.adds
            if part.model.explore is not None:
                seed = f"{request.request_id}/{part.definition.name}"
                added = draw(recalled.adds, recalled.deviation, seed=seed)
            found.append(Remembered(part.model, recalled, added))
        return found

    def _population(self, part: _Part, cells: Cells) -> tuple[str, Population]:
        """Return the partition whose cells count, and the population there.

        Examples have one partition. Where the topic was made anew, what was learned from the old one lies beside it:
        the one that has newer predictions counts.
        """
        held = {field: self._codec.decode(cell.state) for field, cell in cells[part.fold, POPULATION].items()}
        found = {field: each for field, each in held.items() if isinstance(each, Population)}
        newest = max(found, key=lambda field: found[field].newest_ms, default="")
        return newest, found.get(newest) or part.model.population()

    def _evidence(self, cell: Cell | None, model: PersonalModel, population: Population) -> Evidence:
        # Decoded anew for each request: recalling brings it to the version in force.
        found = None if cell is None else self._codec.decode(cell.state)
        return found if isinstance(found, Evidence) else model.fresh(population)


def _digest(line_up: LineUp, part: _Part) -> str:
    return (line_up.digest(part.model.offset) or "")[:_DIGITS] if part.has_versions else ""
