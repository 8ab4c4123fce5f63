"""``python -m examples.flights``: the main job on real data, from nothing to a summary and ``.headrace/demo.json``."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from pathlib import Path

from rich.console import Console

from examples.flights.driver import Play
from examples.flights.scoreboard import Scoreboard
from examples.flights.stage import open_stage
from examples.flights.story import Span, read_story
from examples.flights.summary import lines_of, summary_of, write
from headrace import servers
from headrace.command.ending import end_with_a_line
from headrace.settings import read_settings

INTERRUPTED = 130


async def play(span: Span, console: Console, directory: Path) -> Path:
    """Run the demo in the project of ``directory``; return the file with its figures."""
    began_s = time.monotonic()
    settings = read_settings(directory)
    with Scoreboard(console) as shown:
        reading = asyncio.ensure_future(asyncio.to_thread(read_story, span))
        async with open_stage(settings, shown.say) as stage:
            playing = await Play.of(stage, await reading, shown)
            try:
                await playing.run()
                summary = await summary_of(playing)
            finally:
                await playing.observer.close()
    summary["wall_s"] = round(time.monotonic() - began_s, 1)
    for line in lines_of(summary, playing):
        console.print(line, highlight=False, soft_wrap=True)
    file = settings.root / servers.FOLDER / "demo.json"
    write(summary, file)
    console.print(f"figures: {file}", highlight=False, soft_wrap=True)
    return file


async def _until_told() -> None:
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await play(Span(), Console(), Path.cwd())


def main() -> None:
    """Run the demo; Ctrl-C and SIGTERM stop roles and servers before it ends."""
    try:
        end_with_a_line(lambda: asyncio.run(_until_told()))
    except (KeyboardInterrupt, asyncio.CancelledError):
        Console(stderr=True).print("stopped; roles and servers have ended")
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
