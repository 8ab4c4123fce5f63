"""``headrace matrix GRAPH NAME FILE``: put a matrix in force that a graph keeps resident in memory."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated

import typer

from agents.follow_matrices import pointer_name
from definitions.declared import GraphDefinition
from definitions.declaring import near
from headrace.command.options import AsJson, settings_of
from headrace.command.voice import Voice
from headrace.errors import UsageError
from headrace.servers.substrate import existing
from headrace.session import load_definitions, open_store
from online_models.graphs.matrix import Matrix
from streams.artefacts import ArtefactStore
from streams.store import OnlineStore, Pointer, Question


def command(
    context: typer.Context,
    graph: Annotated[str, typer.Argument(metavar="GRAPH", help="The graph's name: ranking.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="What hr.dot(…) calls the matrix.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A NumPy archive (.npz) of `ids` and `rows`.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Put a matrix in force: `numpy.savez(FILE, ids=…, rows=…)`, one row of numbers for each candidate's id.

    Running scoring roles load it within two seconds, while the one before serves.
    """
    voice = Voice(as_json)
    settings = settings_of(context)
    app = load_definitions(settings)
    declared = _graph(app.graphs, graph, name)
    data = _read(file)
    digest = hashlib.sha256(data).hexdigest()
    kind = declared.candidates.entity.type
    matrix = Matrix.from_bytes(data, digest, length=declared.matrices[name], kind=kind)
    store = open_store(existing(settings, Path.cwd()), settings.namespace_of(app.name))
    try:
        ArtefactStore(settings.artefacts).put(data)
        generation = _advance(store, pointer_name(name), digest)
    finally:
        store.close()
    voice.say(f"in force: {name} of {len(matrix)} rows, {digest[:12]}")
    answer = {"graph": graph, "matrix": name, "rows": len(matrix), "length": matrix.length}
    voice.answer({**answer, "digest": digest, "generation": generation})


def _graph(graphs: tuple[GraphDefinition, ...], name: str, matrix: str) -> GraphDefinition:
    """Return the graph called ``name``, which has to read the matrix."""
    names = {each.name: each for each in graphs}
    expected, got = f"one of the graphs {', '.join(names) or '(none)'}", repr(name)
    mend = near(name, names)
    if name in names and matrix in names[name].matrices:
        return names[name]
    if name in names:
        known = names[name].matrices
        expected, got, mend = f"one of its matrices {', '.join(known) or '(none)'}", repr(matrix), near(matrix, known)
    raise UsageError(f"cannot put matrix in force: {name}: expected {expected}, got {got}" + (mend and f"; {mend}"))


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot put matrix in force: {file}: expected a file, got {error.strerror}") from error


def _advance(store: OnlineStore, name: str, digest: str) -> int:
    """Move the pointer to the matrix; return its generation."""
    while True:
        [held] = store.read(Question(pointers=[name])).pointers
        pointer = Pointer(1 if held is None else held.generation + 1, 0, digest)
        if store.advance_pointer(name, pointer):
            return pointer.generation
