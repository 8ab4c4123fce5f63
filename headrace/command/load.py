"""``headrace load MODEL --rate N --seconds S``: what callers would see at a given rate.

Requests are due at fixed times whatever became of those before, and latency counts from the time a request was due: a
scorer that stops answering for a second is seen by every request of that second.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from agents.client import ScoreQuestion, ScoringClient
from agents.garbage import collect_after_batch, collected_between_batches
from definitions.declared import GraphDefinition, ModelDefinition
from definitions.values import Value
from headrace.command.candidates import made_up_candidates
from headrace.command.options import AsJson, settings_of
from headrace.command.score import TIMEOUT_MS, Entities, Inputs, TimeoutMs, open_client, read_entities, read_inputs
from headrace.command.values import random_input, random_value
from headrace.command.voice import Voice
from headrace.errors import UsageError
from headrace.session import load_definitions
from headrace.settings import Settings
from streams.messages import ScoreReply
from streams.request_reply import Status

_SCORED = frozenset({Status.OK, Status.DEGRADED})
_SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999, "max": 1.0}


@dataclass(slots=True)
class LoadResult:
    """What callers saw. Latencies are in ms from the time that a request was due."""

    replies: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    unanswered: int = 0
    """Requests that no reply came for: the client ended them itself."""
    late_replies: int = 0
    took_s: float = 0.0
    latencies_ms: list[float] = field(default_factory=list)
    """Of all requests, those that ended without a score included."""
    scored_ms: list[float] = field(default_factory=list)
    """Of the requests that got a score."""
    behind_ms: float = 0.0
    """The longest time between a request being due and being sent: far from zero, this side is what is slow."""

    def percentiles_ms(self, *, scored: bool = False) -> dict[str, float]:
        """Return p50, p90, p99, p999 and max, by nearest rank: of all requests, or of those that got a score."""
        ordered = sorted(self.scored_ms if scored else self.latencies_ms) or [0.0]
        last = len(ordered) - 1
        return {name: round(ordered[min(last, int(share * len(ordered)))], 3) for name, share in _SHARES.items()}

    def note(self, reply: ScoreReply, latency_ms: float) -> None:
        """Count one outcome."""
        self.replies[reply.status] += 1
        if reply.reason is not None:
            self.reasons[reply.reason] += 1
        self.unanswered += reply.status == Status.EXPIRED and not reply.request_id
        self.latencies_ms.append(latency_ms)
        if reply.status in _SCORED:
            self.scored_ms.append(latency_ms)


def command(  # noqa: PLR0913, PLR0917  # a command's options
    context: typer.Context,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The model's or the graph's name.")],
    rate: Annotated[float, typer.Option(min=0.1, help="Requests per second.")] = 100.0,
    seconds: Annotated[float, typer.Option(min=0.1, help="For how long.")] = 10.0,
    requests: Annotated[
        Path | None, typer.Option(help="Request bodies as JSON lines, taken in turn; else values are made up.")
    ] = None,
    entity: Entities = [],  # noqa: B006  # typer copies it
    input: Inputs = [],  # noqa: A002, B006  # the option's name
    candidates: Annotated[
        int | None,
        typer.Option(min=0, help="Made up for each request to a graph; default: as many as it takes, at most 1,000."),
    ] = None,
    timeout_ms: TimeoutMs = TIMEOUT_MS,
    *,
    as_json: AsJson = False,
) -> None:
    """Ask a model or a graph at a fixed rate, and tell how it answered.

    The requests are real ones: they are logged as predictions, under label keys that begin with load-.
    """
    voice = Voice(as_json)
    settings = settings_of(context)
    app = load_definitions(settings)
    definition = app.asked(model)
    if candidates is not None and (requests is not None or not isinstance(definition, GraphDefinition)):
        got = "--requests too" if requests is not None else f"a model, {model}"
        raise UsageError(f"cannot make up candidates: expected --candidates with a graph alone, got {got}")
    if requests is None:
        given = read_entities(definition, entity), read_inputs(definition, input)
        questions = made_up(definition, *given, candidates=candidates)
    else:
        questions = itertools.cycle(_read(requests))
    result = asyncio.run(_load(settings, app.name, model, (questions, rate, seconds, timeout_ms)))
    voice.say("  ".join(f"{status} {count}" for status, count in result.replies.items()))
    voice.say("  ".join(f"{name} {value} ms" for name, value in result.percentiles_ms().items()))
    voice.answer(_answer(model, rate, result))


def _answer(model: str, rate: float, result: LoadResult) -> dict[str, Any]:
    return {
        "model": model,
        "rate": rate,
        "requests": result.replies.total(),
        "per_s": round(result.replies.total() / result.took_s, 1),
        "replies": {status: result.replies[status] for status in Status},
        "reasons": dict(result.reasons),
        "unanswered": result.unanswered,
        "late_replies": result.late_replies,
        "latency_ms": result.percentiles_ms(),
        "scored_latency_ms": result.percentiles_ms(scored=True),
        "behind_ms": round(result.behind_ms, 3),
    }


async def ask_at_rate(
    client: ScoringClient,
    model: str,
    questions: Iterable[ScoreQuestion],
    *,
    rate: float,
    seconds: float,
    timeout_ms: int = TIMEOUT_MS,
) -> LoadResult:
    """Ask ``rate * seconds`` requests, each at its time, and return what became of them.

    Args:
        client: open.
        model: its name.
        questions: taken one by one; as many as are needed.
        rate: requests per second.
        seconds: from the first to the last.
        timeout_ms: the budget of each.
    """
    loop = asyncio.get_running_loop()
    result = LoadResult()
    started_s = loop.time()
    asked: set[asyncio.Task[None]] = set()

    async def ask(question: ScoreQuestion, due_s: float) -> None:
        result.behind_ms = max(result.behind_ms, (loop.time() - due_s) * 1_000)
        reply = await client.score(model, timeout_ms=timeout_ms, **question)
        result.note(reply, (loop.time() - due_s) * 1_000)

    for place, question in enumerate(itertools.islice(questions, max(1, round(rate * seconds)))):
        due_s = started_s + place / rate
        collect_after_batch()
        if due_s > loop.time():
            await asyncio.sleep(due_s - loop.time())
        task = asyncio.create_task(ask(question, due_s))
        asked.add(task)
        task.add_done_callback(asked.discard)
    if asked:
        await asyncio.gather(*asked)
    result.took_s = loop.time() - started_s
    result.late_replies = client.late_replies
    return result


def made_up(
    model: ModelDefinition | GraphDefinition,
    entities: Mapping[str, str | int | None],
    inputs: Mapping[str, Value],
    *,
    candidates: int | None = None,
    seed: int = 1,
) -> Iterator[ScoreQuestion]:
    """Return questions without end: what is given as it is, the rest at random from a thousand values of its type.

    Args:
        model: who is asked.
        entities: those that are the same in all questions.
        inputs: the same.
        candidates: how many each question to a graph brings; None for as many as it takes, at most a thousand.
        seed: of what is random.

    Raises:
        UsageError: more candidates than the graph takes.
    """
    chance = random.Random(seed)  # noqa: S311  # load, not secrets
    types = model.entity_types
    wanted = {each.name: each for each in model.requests}
    run = uuid.uuid4().hex[:8]
    lists = made_up_candidates(model, candidates, chance) if isinstance(model, GraphDefinition) else [None]

    def one(place: int) -> ScoreQuestion:
        values = {name: random_value(chance, kind) for name, kind in types.items()}
        return ScoreQuestion(
            entities={name: value for name, value in values.items() if isinstance(value, str | int)} | dict(entities),
            inputs={name: random_input(chance, each) for name, each in wanted.items()} | dict(inputs),
            label_key=f"load-{run}-{place}",
            candidates=lists[place % len(lists)],
        )

    return map(one, itertools.count())


def _read(file: Path) -> Sequence[ScoreQuestion]:
    try:
        lines = [line for line in file.read_bytes().splitlines() if line.strip()]
        questions = [msgspec.json.decode(line, type=ScoreQuestion) for line in lines]
    except OSError as error:
        raise UsageError(f"cannot read requests: {file}: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read requests: {file}: expected request bodies as JSON lines: {error}") from error
    if not questions:
        raise UsageError(f"cannot read requests: {file}: expected at least one line, got none")
    return questions


async def _load(
    settings: Settings, app_name: str, model: str, plan: tuple[Iterable[ScoreQuestion], float, float, int]
) -> LoadResult:
    questions, rate, seconds, timeout_ms = plan
    async with open_client(settings, app_name) as client:
        with collected_between_batches():  # else what is measured is this process's garbage collector
            return await ask_at_rate(client, model, questions, rate=rate, seconds=seconds, timeout_ms=timeout_ms)
