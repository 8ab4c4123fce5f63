"""``headrace score MODEL --entity k=v --input k=v``: one request, one reply.

A graph is asked the same way, about the candidates in a file or on standard input.
"""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from agents.client import ScoreQuestion, ScoringClient
from definitions.declared import GraphDefinition, ModelDefinition
from definitions.values import Value, ValueType
from headrace.command.candidates import read_candidates
from headrace.command.ending import FOUND_A_PROBLEM
from headrace.command.options import AsJson, settings_of
from headrace.command.voice import Voice
from headrace.errors import UsageError
from headrace.servers.substrate import existing
from headrace.session import load_definitions, open_log
from headrace.settings import Settings
from streams.messages import ScoreReply
from streams.request_reply import Status

Entities = Annotated[
    list[str], typer.Option("--entity", metavar="NAME=VALUE", help="An entity; nothing after = for one not known.")
]
Inputs = Annotated[
    list[str],
    typer.Option("--input", metavar="NAME=VALUE", help="A request input: x=1.5, x=0.1,0.2, or x= for no value."),
]
Candidates = Annotated[
    str | None,
    typer.Option(
        "--candidates",
        metavar="FILE",
        help='What a graph is to rank: a JSON list, or one a line, of ids or {"id": …, "inputs": {…}}; - reads stdin.',
    ),
]
TIMEOUT_MS = 1_000
"""How long a command waits for a reply, unless it is told."""

TimeoutMs = Annotated[int, typer.Option(min=1, max=60_000, help="How long to wait for the reply.")]
_SHOWN_PLACES = 20
_BOOLS = {"true": True, "false": False}


def command(  # noqa: PLR0913, PLR0917  # a command's options
    context: typer.Context,
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="The model's or the graph's name: late for a class Late.")
    ],
    entity: Entities = [],  # noqa: B006  # typer copies it
    input: Inputs = [],  # noqa: A002, B006  # the option's name
    candidates: Candidates = None,
    label_key: Annotated[str | None, typer.Option(help="What the label will come with.")] = None,
    at: Annotated[str | None, typer.Option(help="Epoch ms or RFC 3339 with offset; default: now.")] = None,
    timeout_ms: TimeoutMs = TIMEOUT_MS,
    *,
    as_json: AsJson = False,
) -> None:
    """Ask a model for one score, or a graph for one ranking. The exit code is 1 where the reply holds none."""
    voice = Voice(as_json)
    settings = settings_of(context)
    app = load_definitions(settings)
    definition = app.asked(model)
    question = ScoreQuestion(
        entities=read_entities(definition, entity),
        inputs=read_inputs(definition, input),
        label_key=label_key,
        at=int(at) if at is not None and at.isdecimal() else at,
        candidates=read_candidates(definition, candidates),
    )
    reply = asyncio.run(_score(settings, app.name, question, model=model, timeout_ms=timeout_ms))
    for line in _lines(reply):
        voice.say(line)
    voice.answer(msgspec.to_builtins(reply))
    if reply.status not in {Status.OK, Status.DEGRADED}:
        raise typer.Exit(FOUND_A_PROBLEM)


@asynccontextmanager
async def open_client(settings: Settings, app_name: str) -> AsyncIterator[ScoringClient]:
    """Yield a client of the project's namespace, on the servers that are there.

    Raises:
        ServerMissing: there are none.
        LogUnavailable: Kafka does not answer.
    """
    log = open_log(settings, existing(settings, Path.cwd()))
    try:
        async with ScoringClient(settings.namespace_of(app_name), log=log) as client:
            yield client
    finally:
        await log.close()


def read_entities(model: ModelDefinition | GraphDefinition, given: Sequence[str]) -> dict[str, str | int | None]:
    """Return the entities that the command line names, typed as the model's views declare them.

    Raises:
        UsageError: a name that the model does not ask for, or a value of another type.
    """
    types = model.entity_types
    read = _typed("--entity", given, types)
    return {name: value for name, value in read.items() if isinstance(value, str | int | None)}


def read_inputs(model: ModelDefinition | GraphDefinition, given: Sequence[str]) -> dict[str, Value]:
    """Return the request inputs that the command line names, typed as the model declares them.

    Raises:
        UsageError: a name that the model does not ask for, or a value of another type.
    """
    return _typed("--input", given, {each.name: each.type for each in model.requests})


def _typed(option: str, given: Sequence[str], types: Mapping[str, ValueType]) -> dict[str, Value]:
    values: dict[str, Value] = {}
    for text in given:
        name, is_pair, value = text.partition("=")
        if not is_pair:
            raise UsageError(f"cannot read {option}: expected NAME=VALUE, got {text!r}")
        if name not in types:
            raise UsageError(f"cannot read {option}: expected {_listed(types)}, got {name!r}{_near(name, types)}")
        values[name] = _value(f"{option} {name}", value, types[name])
    return values


def _value(where: str, text: str, kind: ValueType) -> Value:
    if not text:
        return None
    try:
        if kind is ValueType.INT:
            return int(text)
        if kind is ValueType.FLOAT:
            return float(text)
        if kind is ValueType.EMBEDDING:
            return [float(each) for each in text.strip("[]").split(",")]
        return _BOOLS[text.lower()] if kind is ValueType.BOOL else text
    except (ValueError, KeyError):
        raise UsageError(f"cannot read {where}: expected {kind}, got {text!r}") from None


def _listed(names: Collection[str]) -> str:
    return " or ".join(names) or "no such option, for nothing of the kind is asked for"


def _near(name: str, names: Collection[str]) -> str:
    near = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


async def _score(
    settings: Settings, app_name: str, question: ScoreQuestion, *, model: str, timeout_ms: int
) -> ScoreReply:
    async with open_client(settings, app_name) as client:
        return await client.score(model, timeout_ms=timeout_ms, **question)


def _lines(reply: ScoreReply) -> list[str]:
    """Return the reply as people read it."""
    why = f" ({reply.reason})" if reply.reason else ""
    lines = [f"{reply.status}{why}  {reply.request_id}".rstrip()]
    lines += [f"  {reply.message}"] if reply.message else []
    lines += [f"  {learner} {score:.6g}" for learner, score in reply.scores.items()]
    lines += _ranked(reply)
    lines += [f"  {each.role} {each.learner} {each.digest}" for each in reply.versions]
    lines += [f"  without {', '.join(reply.degraded)}"] if reply.degraded else []
    lines += [f"  nothing known of the entity in {', '.join(reply.absent)}"] if reply.absent else []
    lines += [f"  features as of {reply.features_as_of}"] if reply.features_as_of is not None else []
    return lines


def _ranked(reply: ScoreReply) -> list[str]:
    """Return the first places of a ranking; whoever wants all of them asks for JSON."""
    if reply.candidates is msgspec.UNSET:
        return []
    shown = reply.candidates[:_SHOWN_PLACES]
    lines = [
        f"  {place}. {each.id}  {'no score' if each.score is None else format(each.score, '.6g')}"
        for place, each in enumerate(shown, 1)
    ]
    left = len(reply.candidates) - len(shown)
    return [*(lines or ["  no candidate is left"]), *([f"  … {left} more; --json has them all"] if left else [])]
