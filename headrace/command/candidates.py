"""The candidates that a graph is asked about: read from a file or standard input, or made up to load it."""

from __future__ import annotations

import random
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from definitions.declared import GraphDefinition, ModelDefinition
from definitions.values import ValueType
from headrace.command.values import random_input
from headrace.errors import UsageError

STDIN = "-"

_SHAPE = 'a JSON list, or one a line, of ids or {"id": …, "inputs": {…}}'
_POPULATION = 1_000
_PREPARED = 16
_MOST_MADE_UP = 1_000

Candidate = str | int | Mapping[str, Any]


class _Given(msgspec.Struct):
    """A candidate as an object; what the graph asks of its inputs is checked where it is asked."""

    id: str | int
    inputs: dict[str, Any] = {}
    label_key: str | int | None = None


_DECODER = msgspec.json.Decoder(_Given | str | int)
_MANY = msgspec.json.Decoder(list[_Given | str | int])


def read_candidates(asked: ModelDefinition | GraphDefinition, given: str | None) -> Sequence[Candidate] | None:
    """Return the candidates that ``--candidates`` names; None where a model is asked, which ranks none.

    Raises:
        UsageError: a model is given candidates, or a graph none; the file cannot be read, or holds something else.
    """
    if not isinstance(asked, GraphDefinition):
        if given is None:
            return None
        raise UsageError(f"cannot read --candidates: expected none, for {asked.name} is a model; leave it out")
    if given is None:
        raise UsageError(
            f"cannot ask {asked.name}: expected --candidates FILE, for it is a graph, got none; "
            f"write {_SHAPE} to a file, or to standard input with --candidates -"
        )
    where = "standard input" if given == STDIN else given
    try:
        data = sys.stdin.buffer.read() if given == STDIN else Path(given).read_bytes()
        found = _MANY.decode(data) if data.lstrip()[:1] == b"[" else _lines(data)
    except OSError as error:
        raise UsageError(f"cannot read --candidates: {where}: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read --candidates: {where}: expected {_SHAPE}: {error}") from error
    return [msgspec.structs.asdict(each) if isinstance(each, _Given) else each for each in found]


def _lines(data: bytes) -> list[_Given | str | int]:
    return [_DECODER.decode(line) for line in data.splitlines() if line.strip()]


def made_up_candidates(graph: GraphDefinition, count: int | None, chance: random.Random) -> list[list[Candidate]]:
    """Return lists of candidates to be asked about in turn, made before the load so that it is not what is slow.

    Args:
        graph: whose inputs each candidate gets, at random.
        count: how many are in a list; None for as many as the graph takes, at most a thousand.
        chance: what is random in them.

    Raises:
        UsageError: more than the graph takes.
    """
    limit = graph.candidates.limit
    if count is not None and count > limit:
        raise UsageError(f"cannot make up candidates: expected at most {limit}, as {graph.name} takes, got {count}")
    wanted = min(limit, _MOST_MADE_UP) if count is None else count
    population = range(max(_POPULATION, wanted))
    is_int = graph.candidates.entity.type is ValueType.INT
    inputs = graph.candidates.inputs

    def one(number: int) -> Candidate:
        name = number if is_int else f"load-{number}"
        return {"id": name, "inputs": {each.name: random_input(chance, each) for each in inputs}} if inputs else name

    return [[one(number) for number in chance.sample(population, wanted)] for _ in range(_PREPARED)]
