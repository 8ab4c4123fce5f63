"""``headrace down``: stop the local Kafka and Redis."""

from __future__ import annotations

from pathlib import Path

from headrace import servers
from headrace.command.options import AsJson
from headrace.command.voice import Voice


def command(*, as_json: AsJson = False) -> None:
    """Stop the local Kafka and Redis of this project; their data stays for the next `headrace up`."""
    voice = Voice(as_json)
    folder = servers.folder(Path.cwd())
    stopped = () if folder is None else servers.stop(folder)
    voice.say(f"stopped {' and '.join(stopped)}" if stopped else "nothing was up")
    voice.answer({"stopped": stopped})
