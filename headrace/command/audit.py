"""``headrace audit``: the proof that nothing vanished, from the rows, the cells and the log."""

from __future__ import annotations

from typing import Annotated

import typer

from batch.audit_log import audit_log
from batch.findings import TALLIES, Audit, PartitionAudit
from headrace.command.bars import bars
from headrace.command.ending import FOUND_A_PROBLEM
from headrace.command.options import AsJson
from headrace.command.past import open_past
from headrace.command.voice import Voice

_SHOWN_PROBLEMS = 20


def command(
    context: typer.Context,
    most: Annotated[int, typer.Option("--problems", help="How many problems to show; all with --json.")] = (
        _SHOWN_PROBLEMS
    ),
    *,
    as_json: AsJson = False,
) -> None:
    """Prove that every record is in exactly one tally and one state.

    The conservation law per partition, and what is lost or counted twice against a replay of the log by the same
    engine. May run beside the roles. The exit code is 1 where something is not as it should be.
    """
    voice = Voice(as_json)
    audit = _audit(context)
    for line in _lines(audit, most):
        voice.say(line)
    voice.answer(
        {
            "lost": audit.lost,
            "counted_twice": audit.counted_twice,
            "partitions": [each.as_json() for each in audit.views],
            "intakes": [each.as_json() for each in audit.intakes],
            "copies": [each.as_json() for each in audit.copies],
            "problems": audit.problems,
        }
    )
    if audit.problems:
        raise typer.Exit(FOUND_A_PROBLEM)


def _audit(context: typer.Context) -> Audit:
    with open_past(context) as past, bars() as tell:
        return audit_log(past.app, past.history, past.store, schemas=past.schemas, tell=tell)


def _lines(audit: Audit, most: int) -> list[str]:
    """Return the finding as people read it."""
    lines = [f"lost {audit.lost}, counted twice {audit.counted_twice}"]
    lines += [_line(each) for each in (*audit.views, *audit.intakes, *audit.copies)]
    lines += audit.problems[:most]
    more = len(audit.problems) - most
    return [*lines, f"and {more} problems more"] if more > 0 else lines


def _line(found: PartitionAudit) -> str:
    row = found.row
    tallies = ", ".join(f"{name.replace('_', ' ')} {count}" for name in TALLIES if (count := getattr(row, name)))
    behind = f", {found.end - row.next} to come" if found.end > row.next else ""
    return f"{found.view} {found.topic}[{found.partition}]: read {row.read} ({tallies or 'nothing'}){behind}"
