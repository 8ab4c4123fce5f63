"""``headrace doctor``: what is there, what is missing, and what mends it."""

from __future__ import annotations

from pathlib import Path

import typer

from headrace.command.ending import FOUND_A_PROBLEM
from headrace.command.options import AsJson, settings_of
from headrace.command.voice import Voice
from headrace.doctor import Finding, examine


def command(context: typer.Context, *, as_json: AsJson = False) -> None:
    """Tell what is there, what is missing, and the command that mends it.

    Exit code 1 if something that is needed here is missing.
    """
    voice = Voice(as_json)
    findings = examine(settings_of(context), Path.cwd())
    for each in findings:
        voice.say(_line(each))
    healthy = all(each.ok for each in findings if each.needed)
    voice.answer({"ok": healthy, "findings": findings})
    raise typer.Exit(0 if healthy else FOUND_A_PROBLEM)


def _line(finding: Finding) -> str:
    mark = "ok" if finding.ok else "MISSING" if finding.needed else "no"
    mend = f"  ->  {finding.mend}" if finding.mend else ""
    return f"{mark:8}{finding.name:16}{finding.found}{mend}"
