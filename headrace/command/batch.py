"""``headrace batch``: work on the past. ``headrace batch train MODEL --questions FILE`` makes a release."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from batch.build_training_set import Question, read_questions
from batch.context import JobContext
from batch.errors import HistoryUnavailable
from batch.history import KafkaHistory
from batch.train import TrainResult, train
from definitions.declared import ModelDefinition
from definitions.values import parse_span
from headrace.command.bars import bars
from headrace.command.options import AsJson, settings_of
from headrace.command.voice import Voice
from headrace.errors import ServerMissing, UsageError
from headrace.servers.substrate import existing
from headrace.session import Session, open_session
from streams import topics
from streams.messages import encode

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
    result = asyncio.run(_train(context, model, questions, delay_ms))
    for line in _lines(result):
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


async def _train(context: typer.Context, name: str, file: Path, delay_ms: int) -> TrainResult:
    settings = settings_of(context)
    substrate = existing(settings, Path.cwd())
    async with open_session(settings, substrate) as session:
        model = session.app.model(name)
        history = KafkaHistory(substrate.kafka or "", settings.kafka_properties)
        job = JobContext(session.namespace, history, session.store, session.artefacts, session.schemas)
        asked = _questions_of(file, model)
        try:
            with bars() as tell:
                result = train(model, asked, job, now_ms=session.log.now_ms(), delay_ms=delay_ms, tell=tell)
        except HistoryUnavailable as error:
            raise ServerMissing(str(error)) from error
        await _deploy(session, result)
        return result


async def _deploy(session: Session, result: TrainResult) -> None:
    topic = topics.deployments(session.namespace)
    await session.log.create_topics([topics.of_deployments(session.namespace)])
    deployment = result.deployment
    await session.log.producer().produce(topic, encode(deployment), key=deployment.model.encode())


def _questions_of(file: Path, model: ModelDefinition) -> list[Question]:
    try:
        with file.open("rb") as lines:
            return list(read_questions(lines, model))
    except OSError as error:
        raise UsageError(f"cannot read questions: {file}: {error.strerror}") from error


def _lines(result: TrainResult) -> list[str]:
    """Return the result as people read it."""
    name = result.deployment.model
    lines = [f"{name}: {result.rows} of {result.asked} questions have a label"]
    for learner, measures in result.measures.items():
        shown = ", ".join(f"{measure} {_shown(value)}" for measure, value in measures.items())
        lines.append(f"  {learner}: {shown}")
    return [*lines, f"release {result.release[:12]} is in force"]


def _shown(value: float) -> str:
    return str(int(value)) if value.is_integer() else f"{value:.4f}"
