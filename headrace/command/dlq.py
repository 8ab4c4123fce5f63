"""``headrace dlq``: dead letters, and what to do about them."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from agents.handle_dead_letters import Case, Original, original_of
from headrace.command.dlq_inputs import input_of, inputs_of
from headrace.command.ending import FOUND_A_PROBLEM
from headrace.command.options import AsJson, settings_of
from headrace.command.voice import Voice
from headrace.errors import UsageError
from headrace.servers.substrate import existing
from headrace.session import Session, open_session
from streams.dead_letters import OPEN, REPLAYING, Letter
from streams.sources import accept_poison

group = typer.Typer(no_args_is_help=True, help="Dead letters, and what to do about them.")

Result = TypeVar("Result")
Topic = Annotated[str, typer.Argument(metavar="TOPIC", help="The topic that the letters come from.")]
Places = Annotated[list[str] | None, typer.Argument(metavar="[LETTER...]", help="As `dlq list TOPIC` names them.")]
Reason = Annotated[str, typer.Option(help="Those with this reason only.")]
Every = Annotated[bool, typer.Option("--all", help="All open ones, where no letter is named.")]

_SHOWN_BYTES = 2_000


@group.callback()
def _dlq() -> None:
    """Dead letters, and what to do about them."""


@group.command("list")
def list_command(
    context: typer.Context,
    topic: Annotated[str, typer.Argument(metavar="[TOPIC]", help="One topic, letter by letter.")] = "",
    reason: Reason = "",
    every: Annotated[bool, typer.Option("--all", help="Handled ones too.")] = False,  # noqa: FBT002  # a flag
    *,
    as_json: AsJson = False,
) -> None:
    """List dead letters by topic and reason: how many, the oldest and the newest. Open ones only, by default.

    Topics are those of events, copies for rekeyed views, outcomes and examples.
    """

    async def found(session: Session) -> list[Case]:
        inputs = [input_of(session, topic)] if topic else inputs_of(session)
        return [case for each in inputs for case in await each.desk(session).cases()]

    voice = Voice(as_json)
    cases = [case for case in _on(context, found) if _wanted(case, reason, every=every)]
    groups: dict[tuple[str, str, str], list[Case]] = defaultdict(list)
    for case in cases:
        groups[case.letter.topic, case.letter.reason, case.state].append(case)
    rows = [_group(*key, of) for key, of in sorted(groups.items())]
    for row in rows:
        voice.say("{topic}  {reason}  {state}  {count}  oldest {oldest}  newest {newest}".format_map(row))
    if not rows:
        voice.say("no dead letters" if every else "no open dead letters")
    letters = [_line(case) for case in cases] if topic else []
    for each in letters:
        voice.say("  {letter}  {reason}  {path}  {state}  attempt {attempts}".format_map(each))
    voice.answer({"groups": rows, "letters": letters})


@group.command("show")
def show_command(
    context: typer.Context,
    topic: Topic,
    place: Annotated[
        str, typer.Argument(metavar="LETTER", help="PARTITION/OFFSET of the source, as `dlq list TOPIC` names it.")
    ],
    *,
    as_json: AsJson = False,
) -> None:
    """Show one letter: where it was, why it is here, its headers and its bytes."""

    async def found(session: Session) -> tuple[Case, Original]:
        [case] = _named(await input_of(session, topic).desk(session).cases(), topic, [place])
        return case, original_of(case.letter, session.artefacts)

    voice = Voice(as_json)
    case, original = _on(context, found)
    answer = {**_line(case), **_shown(case, original)}
    for name, value in answer.items():
        voice.say(f"{name}: {value}")
    voice.answer(answer)


@group.command("replay")
def replay_command(  # noqa: PLR0913, PLR0917  # a command's options
    context: typer.Context,
    topic: Topic,
    places: Places = None,
    reason: Reason = "",
    every: Every = False,  # noqa: FBT002
    file: Annotated[
        Path | None, typer.Option("--with", help="Publish these bytes in place of the one letter's.")
    ] = None,
    anyway: Annotated[bool, typer.Option(help="Also what the definition still refuses.")] = False,  # noqa: FBT002
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be published.")] = False,  # noqa: FBT002
    *,
    as_json: AsJson = False,
) -> None:
    """Publish open letters to their topic again, each once, and mark them as replayed.

    What the definition in force still refuses stays, and the exit code is 1.
    """
    given = None if file is None else _bytes_of(file)

    async def done(session: Session) -> tuple[list[Case], list[str], int]:
        source = input_of(session, topic)
        source.require_replay()
        desk = source.desk(session)
        chosen = _chosen(await desk.cases(), topic, places, reason, every=every)
        if given is not None and len(chosen) != 1:
            raise UsageError(f"cannot replay: --with: expected one letter, got {len(chosen)}; name it")

        def record_of(_: Letter, original: Original) -> Original:
            return source.put_back(original, given)

        refused: dict[str, str] = {}
        for case in chosen:
            why = source.refusal(record_of(case.letter, original_of(case.letter, session.artefacts)))
            if why is not None:
                refused[case.letter.id] = why
        takes = [case for case in chosen if anyway or case.letter.id not in refused]
        marks = [] if dry_run else await desk.replay(takes, record_of)
        still = [f"{case.letter.place}: {refused[case.letter.id]}" for case in chosen if case not in takes]
        return takes, still, len(marks)

    voice, (takes, still, replayed) = Voice(as_json), _on(context, done)
    voice.say(f"{topic}: {len(takes)} to replay" if dry_run else f"{topic}: replayed {replayed}")
    for line in still:
        voice.say(f"still dead: {line}")
    voice.answer(
        {"topic": topic, "replayed": replayed, "letters": [_line(case) for case in takes], "still_dead": still}
    )
    if still:
        raise typer.Exit(FOUND_A_PROBLEM)


@group.command("discard")
def discard_command(  # noqa: PLR0913
    context: typer.Context,
    topic: Topic,
    places: Places = None,
    because: Annotated[str, typer.Option(help="Why; kept with the mark.")] = "",
    reason: Reason = "",
    every: Every = False,  # noqa: FBT002
    *,
    as_json: AsJson = False,
) -> None:
    """Mark open letters as discarded. Their bytes stay in the dead-letter topic until its retention passes."""
    if not because:
        raise UsageError(f"cannot discard: {topic}: expected --because TEXT, got none; say why")

    async def done(session: Session) -> list[Case]:
        desk = input_of(session, topic).desk(session)
        return await desk.discard(_chosen(await desk.cases(), topic, places, reason, every=every), because)

    voice = Voice(as_json)
    discarded = _on(context, done)
    voice.say(f"{topic}: discarded {len(discarded)}")
    voice.answer({"topic": topic, "discarded": len(discarded), "letters": [_line(case) for case in discarded]})


@group.command("resume")
def resume_command(
    context: typer.Context,
    topic: Topic,
    partition: Annotated[int, typer.Argument(metavar="PARTITION", help="The partition that was paused.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Let a partition that is full of poison be read on: what it holds by now may be dead."""

    async def done(session: Session) -> int:
        if input_of(session, topic).event is None:
            raise UsageError(f"cannot resume: {topic}: expected a topic of events or copies, got one that never pauses")
        found = {each.index: each for each in await session.log.partitions(topic)}
        if partition not in found:
            raise UsageError(f"cannot resume: {topic}: expected one of {len(found)} partitions, got {partition}")
        [end] = await session.log.ends([found[partition]])
        accept_poison(session.store, found[partition], end)
        return end

    voice = Voice(as_json)
    end = _on(context, done)
    voice.say(f"{topic}[{partition}]: dead records below offset {end} are let pass; roles go on within 5 s")
    voice.answer({"topic": topic, "partition": partition, "accepted_before": end})


def _on(context: typer.Context, body: Callable[[Session], Awaitable[Result]]) -> Result:
    async def run() -> Result:
        settings = settings_of(context)
        async with open_session(settings, existing(settings, Path.cwd())) as session:
            return await body(session)

    return asyncio.run(run())


def _wanted(case: Case, reason: str, *, every: bool) -> bool:
    return (every or case.state in {OPEN, REPLAYING}) and reason in {"", case.letter.reason}


def _chosen(cases: Sequence[Case], topic: str, places: Sequence[str] | None, reason: str, *, every: bool) -> list[Case]:
    if not places and not (every or reason):
        raise UsageError(f"cannot choose letters: {topic}: expected letters, --reason or --all, got none")
    found = _named(cases, topic, places) if places else list(cases)
    return [case for case in found if _wanted(case, reason, every=False)]


def _named(cases: Sequence[Case], topic: str, places: Sequence[str]) -> list[Case]:
    found = []
    for place in places:
        of_place = [case for case in cases if place in {case.letter.place, case.letter.id}]
        if not of_place:
            raise UsageError(
                f"cannot find letter: {topic} {place}: expected one of `headrace dlq list {topic}`, got none"
            )
        found.append(of_place[-1])
    return found


def _bytes_of(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot replay: {file}: {error.strerror}") from error


def _group(topic: str, reason: str, state: str, cases: Sequence[Case]) -> Mapping[str, Any]:
    times = [case.letter.timestamp_ms for case in cases]
    ends = {"oldest": _time(min(times)), "newest": _time(max(times))}
    return {"topic": topic, "reason": reason, "state": state, "count": len(cases), **ends}


def _line(case: Case) -> dict[str, Any]:
    letter = case.letter
    line = {
        "topic": letter.topic,
        "letter": letter.place,
        "id": letter.id,
        "reason": letter.reason,
        "path": letter.path,
    }
    return {**line, "state": case.state, "attempts": letter.attempts, "at": _time(letter.timestamp_ms)}


def _shown(case: Case, original: Original) -> dict[str, Any]:
    letter, value = case.letter, original.value or b""
    return {
        "message": letter.message,
        "stage": letter.stage,
        "app": letter.app,
        "event": letter.event,
        "version": letter.version,
        "first_seen": _time(letter.first_seen_ms),
        "origin": letter.origin,
        "learner": letter.learner,
        "why": "" if case.mark is None else case.mark.why,
        "key": None if original.key is None else _printable(original.key),
        "headers": {name: _printable(content or b"") for name, content in original.headers},
        "bytes": None if original.value is None else len(value),
        "text": _printable(value[:_SHOWN_BYTES]),
        "hex": value[:_SHOWN_BYTES].hex(" "),
    }


def _printable(data: bytes) -> str:
    return "".join(
        each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in data.decode("utf-8", "replace")
    )


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(max(0, at_ms) / 1_000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
