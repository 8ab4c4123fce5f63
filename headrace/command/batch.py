"""``headrace batch``: work on the past. ``headrace batch train MODEL --questions FILE`` makes a release."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from batch.build_training_set import Question, read_questions
from batch.context import JobContext
from batch.errors import HistoryUnavailable
from batch.history import KafkaHistory
from batch.train import TrainResult, train
from definitions.declared import ModelDefinition, RouteDefinition
from definitions.routes import misrouted
from definitions.values import parse_span
from headrace.ask_servers import ask_servers
from headrace.command.bars import bars
from headrace.command.deploy import read_deployed, shown_route
from headrace.command.options import AsJson, settings_of
from headrace.command.voice import Voice
from headrace.errors import ServerMissing, UsageError
from headrace.servers.substrate import existing
from headrace.session import Session, open_session
from streams import topics
from streams.messages import Deployment, encode

group = typer.Typer(no_args_is_help=True, help="Work on the past: training.")


@group.callback()
def _batch() -> None:
    """Work on the past: training."""


@group.command("train")
def train_command(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="The model's name, as in late for a class Late.")],
    questions: Annotated[Path, typer.Option(help="JSON lines: score requests with label_key and at.")],
    delay: Annotated[str, typer.Option(help="How long after its event time a record counts as known.")] = "0ms",
    *,
    as_json: AsJson = False,
) -> None:
    """Train a model on the published past, write a release, and put it in force."""
    voice = Voice(as_json)
    delay_ms = 0 if delay in {"0", "0ms"} else parse_span(delay, where="--delay")
    result, declared = asyncio.run(_train(context, model, questions, delay_ms))
    for line in _lines(result, declared.route):
        voice.say(line)
    voice.answer(
        {
            "model": result.deployment.model,
            "release": result.release,
            "asked": result.asked,
            "rows": result.rows,
            "measures": result.measures,
        }
    )


async def _train(context: typer.Context, name: str, file: Path, delay_ms: int) -> tuple[TrainResult, ModelDefinition]:
    settings = settings_of(context)
    substrate = existing(settings, Path.cwd())
    async with open_session(settings, substrate) as session:
        model = session.app.model(name)
        history = KafkaHistory(substrate.kafka or "", settings.kafka_properties)
        job = JobContext(session.namespace, history, session.store, session.artefacts, session.schemas, ask_servers)
        asked = _questions_of(file, model)
        try:
            with bars() as tell:
                result = train(model, asked, job, now_ms=session.log.now_ms(), delay_ms=delay_ms, tell=tell)
        except HistoryUnavailable as error:
            raise ServerMissing(str(error)) from error
        return replace(result, deployment=await _deploy(session, model, result.deployment)), model


async def _deploy(session: Session, model: ModelDefinition, trained: Deployment) -> Deployment:
    """Put the new release in force, by the route that is in force: a canary goes on with it. Return what was put."""
    topic = topics.deployments(session.namespace)
    await session.log.create_topics([topics.of_deployments(session.namespace)])
    deployed = await read_deployed(session.log, topic, model)
    route = route_kept(model, [each.deployment for each in deployed])
    deployment = Deployment.of(model.name, trained.release, route, at_ms=trained.at_ms)
    await session.log.producer().produce(topic, encode(deployment), key=model.name.encode())
    return deployment


def route_kept(model: ModelDefinition, deployed: Sequence[Deployment]) -> RouteDefinition:
    """Return the route in force if the model still has its learners, else the author's.

    Args:
        model: of which.
        deployed: what is in force, and what was before, the newest first.
    """
    if deployed and misrouted(deployed[0].route, model.learners) is None:
        return deployed[0].route
    return model.route


def _questions_of(file: Path, model: ModelDefinition) -> list[Question]:
    try:
        with file.open("rb") as lines:
            return list(read_questions(lines, model))
    except OSError as error:
        raise UsageError(f"cannot read questions: {file}: {error.strerror}") from error


def _lines(result: TrainResult, declared: RouteDefinition) -> list[str]:
    """Return the result as people read it, beside the author's route."""
    name = result.deployment.model
    lines = [f"{name}: {result.rows} of {result.asked} questions have a label"]
    for learner, measures in result.measures.items():
        shown = ", ".join(f"{measure} {_shown(value)}" for measure, value in measures.items())
        lines.append(f"  {learner}: {shown}")
    lines.append(f"release {result.release[:12]} is in force: {shown_route(result.deployment.route)}")
    if result.deployment.route != declared:
        route = shown_route(declared)
        lines.append(f"the author's route is another: {route}; `headrace deploy {name}` puts another in force")
    return lines


def _shown(value: float) -> str:
    return str(int(value)) if value.is_integer() else f"{value:.4f}"
