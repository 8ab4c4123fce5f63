"""Where the state of a personal model is kept: the cells of one fold over its model's examples.

``<kind>/<entity>`` holds what is known of one entity, ``@population`` what is known of all of them, ``@progress`` how
well examples were foretold, ``@learned`` which of them were learned. They depend on each other, because an example is
learned by all its entities together: a writer commits them in one link of the chain, never in two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from definitions.declared import LearnerDefinition, ModelDefinition
from definitions.identity import digest_of, learner_identity
from definitions.values import Value
from online_models.personal import Evidence, Population
from online_models.progress import BinnedProgress
from streams.entities import entity_key

POPULATION = "@population"
PROGRESS = "@progress"
LEARNED = "@learned"

_EVIDENCE, _POPULATION, _PROGRESS, _LEARNED = b"e", b"p", b"g", b"l"


class Learned(msgspec.Struct):
    """Which examples were learned: an outcomes partition to the position of its last one."""

    positions: dict[str, tuple[int, int]] = {}


PersonalState = Evidence | Population | BinnedProgress | Learned | None
"""What a cell holds; None while it was never written."""

_positions = msgspec.msgpack.Decoder(dict[str, tuple[int, int]])


def fold(model: ModelDefinition, learner: LearnerDefinition) -> str:
    """Return the name of the learner's fold; learners declared differently have different ones."""
    return f"personal.{model.key}.{learner.name}.{digest_of(learner_identity(learner))}"


def named(learner: LearnerDefinition, values: Mapping[str, Value]) -> list[str | None]:
    """Return, per kind of entity, the cell of the one that ``values`` name; None where a part is not given."""
    kinds = () if learner.personal is None else learner.personal.by
    return [_cell(kind, values) for kind in kinds]


def _cell(kind: Sequence[str], values: Mapping[str, Value]) -> str | None:
    found = [value for name in kind if isinstance(value := values.get(name), str | int)]
    return f"{','.join(kind)}/{entity_key(found)}" if len(found) == len(kind) else None


class PersonalCodec:
    """Implements `streams.chain.StateCodec` for all cells of the fold."""

    def empty(self) -> PersonalState:
        """Return nothing: whoever loads a cell knows of what kind it is."""
        return None

    def encode(self, state: PersonalState) -> bytes | None:
        """Return the state's bytes, its kind in front."""
        if isinstance(state, Evidence):
            return _EVIDENCE + state.to_bytes()
        if isinstance(state, Population):
            return _POPULATION + state.to_bytes()
        if isinstance(state, BinnedProgress):
            return _PROGRESS + msgspec.msgpack.encode(state)
        return None if state is None else _LEARNED + msgspec.msgpack.encode(state.positions)

    def decode(self, data: bytes) -> PersonalState:
        """Return the state that the bytes were made from."""
        kind, rest = data[:1], data[1:]
        if kind == _EVIDENCE:
            return Evidence.from_bytes(rest)
        if kind == _POPULATION:
            return Population.from_bytes(rest)
        if kind == _PROGRESS:
            return msgspec.msgpack.decode(rest, type=BinnedProgress)
        if kind == _LEARNED:
            return Learned(_positions.decode(rest))
        raise ValueError(f"cannot decode cell: expected a part of a personal model, got kind {kind!r}")
