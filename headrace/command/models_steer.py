"""``headrace models pause | resume | reset | snapshots | rollback MODEL LEARNER``: what people command a learner."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from agents.context import RoleContext
from agents.keep_snapshots import Kept
from agents.metrics import Metrics
from agents.steer_learning import Steering
from definitions.declared import AppDefinition, LearnerDefinition, ModelDefinition
from definitions.declaring import listed, near
from definitions.learners import RIVER
from headrace.command.options import AsJson, settings_of
from headrace.command.voice import Voice
from headrace.errors import UsageError
from headrace.servers.substrate import existing
from headrace.session import open_session

_WIDTH = 120

ModelName = Annotated[str, typer.Argument(metavar="MODEL", help="The model's name: late.")]
LearnerName = Annotated[str, typer.Argument(metavar="LEARNER", help="One of its online learners: online.")]
Relearn = Annotated[bool, typer.Option("--relearn", help="Learn the examples that are still there again.")]


def pause_command(context: typer.Context, model: ModelName, learner: LearnerName, *, as_json: AsJson = False) -> None:
    """Let a learner stand still. Examples wait for it, as long as their topic keeps them."""
    _pause(context, model, learner, Voice(as_json), is_paused=True)


def resume_command(context: typer.Context, model: ModelName, learner: LearnerName, *, as_json: AsJson = False) -> None:
    """Let a paused learner go on, where it stood still."""
    _pause(context, model, learner, Voice(as_json), is_paused=False)


def reset_command(
    context: typer.Context, model: ModelName, learner: LearnerName, *, relearn: Relearn = False, as_json: AsJson = False
) -> None:
    """Let a learner begin anew: it forgets everything, is served fresh, and learns what comes from now on."""
    voice = Voice(as_json)

    async def reset() -> dict[str, Any]:
        async with _steering(context, model, learner) as steering:
            pointer = await steering.reset(relearn=relearn)
            return {"generation": pointer.generation, "position": pointer.position, "digest": pointer.digest}

    answer = asyncio.run(reset())
    voice.say(f"{model}.{learner}: begun anew, generation {answer['generation']}, from example {answer['position']} on")
    voice.answer({"model": model, "learner": learner, **answer})


def snapshots_command(
    context: typer.Context, model: ModelName, learner: LearnerName, *, as_json: AsJson = False
) -> None:
    """List the snapshots that a learner can go back to, the newest last, and where it stands."""
    voice = Voice(as_json)

    async def read() -> tuple[list[Kept], dict[str, Any]]:
        async with _steering(context, model, learner) as steering:
            standing = await steering.standing()
            pointer = standing.pointer
            told = {
                "in_force": None if pointer is None else pointer.digest,
                "position": None if pointer is None else pointer.position,
                "end": standing.end,
                "paused": standing.is_paused,
            }
            return steering.history(), told

    history, told = asyncio.run(read())
    Console(stderr=as_json, width=_WIDTH).print(_table(history, told["in_force"]))
    sys.stdout.flush()
    voice.say(f"{'paused' if told['paused'] else 'learning'}, at {told['position'] or 0} of {told['end']} examples")
    names = ("number", "digest", "generation", "position", "learned", "through_ms")
    listed_ = [{name: getattr(each, name) for name in names} for each in history]
    voice.answer({"model": model, "learner": learner, **told, "snapshots": listed_})


def rollback_command(
    context: typer.Context,
    model: ModelName,
    learner: LearnerName,
    to: Annotated[str | None, typer.Option(help="How its digest begins; default: the one before the newest.")] = None,
    *,
    relearn: Relearn = False,
    as_json: AsJson = False,
) -> None:
    """Put a state that the learner had before in force again. What it learned since is left out, but for --relearn."""
    voice = Voice(as_json)

    async def roll_back() -> tuple[Kept, dict[str, Any]]:
        async with _steering(context, model, learner) as steering:
            kept, pointer = await steering.roll_back(to, relearn=relearn)
            return kept, {"generation": pointer.generation, "position": pointer.position, "digest": pointer.digest}

    kept, answer = asyncio.run(roll_back())
    voice.say(
        f"{model}.{learner}: back at {kept.digest[:12]}, of {kept.learned} examples; "
        f"generation {answer['generation']}, learns from example {answer['position']} on"
    )
    voice.answer({"model": model, "learner": learner, "to": kept.digest, "learned": kept.learned, **answer})


def _pause(context: typer.Context, model: str, learner: str, voice: Voice, *, is_paused: bool) -> None:
    async def pause() -> bool:
        async with _steering(context, model, learner) as steering:
            return steering.pause(is_paused=is_paused)

    is_news = asyncio.run(pause())
    word = "paused" if is_paused else "learning"
    voice.say(f"{model}.{learner}: {word}" + ("" if is_news else " already"))
    voice.answer({"model": model, "learner": learner, "paused": is_paused, "changed": is_news})


@asynccontextmanager
async def _steering(context: typer.Context, model: str, learner: str) -> AsyncIterator[Steering]:
    settings = settings_of(context)
    async with open_session(settings, existing(settings, Path.cwd())) as session:
        found, definition = _learner(session.app, model, learner)
        world = RoleContext(
            session.namespace, session.log, session.store, session.artefacts, Metrics(session.namespace)
        )
        yield Steering(world, found, definition)


def _learner(app: AppDefinition, model: str, learner: str) -> tuple[ModelDefinition, LearnerDefinition]:
    """Return a model of the app and one of its online learners.

    Raises:
        UsageError: there is none of that name.
    """
    models = {each.name: each for each in app.models}
    if model not in models:
        raise UsageError(_unknown("model", model, list(models)))
    online = {name: each for name, each in models[model].learners.items() if each.kind == RIVER}
    if learner not in online:
        raise UsageError(_unknown(f"online learner of {model}", learner, list(online)))
    return models[model], online[learner]


def _unknown(what: str, name: str, names: list[str]) -> str:
    hint = near(name, names)
    return f"cannot find {what}: expected {listed(names)}, got {name!r}" + (f"; {hint}" if hint else "")


def _table(history: list[Kept], in_force: str | None) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("snapshot", "generation", "examples", "learned", "newest example", ""):
        table.add_column(name, justify="right" if name in ("generation", "examples", "learned") else "left")
    for each in history:
        through = "" if each.through_ms is None else _shown(each.through_ms)
        mark = "in force" if each.digest == in_force else ""
        table.add_row(each.digest[:12], str(each.generation), str(each.position), str(each.learned), through, mark)
    return table


def _shown(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1_000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
