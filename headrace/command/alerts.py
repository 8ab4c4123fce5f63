"""``headrace alerts``: the incidents that are open, and what is known about each model's health."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

import msgspec
import typer

from agents.raise_alerts import ModelVerdict, read_verdicts, verdict_on
from agents.transport import Log
from definitions.declared import ModelDefinition
from headrace.command.options import AsJson, settings_of
from headrace.command.voice import Voice
from headrace.servers.substrate import existing
from headrace.session import open_session
from streams import topics
from streams.messages import Alert
from streams.records import Record

_POLL_S = 0.5
_QUIET_POLLS = 4


def command(
    context: typer.Context,
    every: Annotated[bool, typer.Option("--all", help="Resolved incidents too.")] = False,  # noqa: FBT002  # a flag
    *,
    as_json: AsJson = False,
) -> None:
    """List the incidents that are open, and each model's verdict: ok, drifting, insufficient data or stale."""
    voice = Voice(as_json)
    incidents, verdicts = asyncio.run(_found(context, every=every))
    for alert in incidents:
        voice.say(f"{alert.state}  since {alert.since}  {alert.message}")
    if not incidents:
        voice.say("no incidents" if every else "no open incidents")
    for verdict in verdicts:
        voice.say(f"{verdict['model']}: {verdict['verdict']} (last day judged: {verdict['day'] or 'none'})")
    voice.answer({"incidents": [msgspec.to_builtins(alert) for alert in incidents], "verdicts": verdicts})


def newest_of(records: Iterable[Record]) -> list[Alert]:
    """Return the newest state of each incident, in order of their first days. Records that cannot be read are skipped.

    Args:
        records: of the alerts topic, in order.
    """
    newest: dict[str, Alert] = {}
    for record in records:
        try:
            alert = msgspec.json.decode(record.value() or b"", type=Alert)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
        newest[alert.incident] = alert
    return sorted(newest.values(), key=lambda alert: (alert.since, alert.incident))


def verdict_line(model: ModelDefinition, found: ModelVerdict | None, now: datetime) -> Mapping[str, object]:
    """Return what holds for a model now; a verdict that is too old to speak for today is stale."""
    today = now.astimezone(ZoneInfo(model.tz)).date().isoformat()
    health = None if found is None else found.health
    return {
        "model": model.key,
        "verdict": verdict_on(found, today),
        "day": None if health is None else health.day,
        "n": 0 if health is None else health.n,
        "psi": None if health is None else round(health.psi, 4),
        "total_variation": None if health is None else round(health.total_variation, 4),
        "last_tick_ms": None if found is None else found.told_ms,
    }


async def _found(context: typer.Context, *, every: bool) -> tuple[list[Alert], list[Mapping[str, object]]]:
    settings = settings_of(context)
    async with open_session(settings, existing(settings, Path.cwd())) as session:
        incidents = newest_of(await _records(session.log, topics.alerts(session.namespace)))
        judged = read_verdicts(session.store)
        verdicts = [verdict_line(model, judged.get(model.key), datetime.now(UTC)) for model in session.app.models]
    return [alert for alert in incidents if every or alert.state == "firing"], verdicts


async def _records(log: Log, topic: str) -> list[Record]:
    """Return the topic's records; where compaction left no record at the end, give up when nothing more comes."""
    partitions = await log.partitions(topic)
    if not partitions:
        return []
    [(first, end)] = await log.bounds(partitions[:1])
    tail = await log.tail([(partitions[0], first)])
    records: list[Record] = []
    quiet = 0
    while first < end and (not records or records[-1].offset() + 1 < end) and quiet < _QUIET_POLLS:
        found = await tail.poll(_POLL_S)
        quiet = 0 if found else quiet + 1
        records += [record for _, record in found]
    await tail.stop()
    return records
