"""How long work tells how far it has come: a bar per stage on standard error, where that is a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from batch.context import Tell


@contextmanager
def bars() -> Iterator[Tell]:
    """Yield what takes progress; each stage is a bar on standard error with its rate, where that is a terminal."""
    rate = TextColumn("{task.fields[rate]}")
    columns = (TextColumn("{task.description:24}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), rate)
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        found: dict[str, TaskID] = {}

        def tell(where: str, done: int, total: int) -> None:
            if where not in found:
                found[where] = progress.add_task(where, total=total, rate="")
            speed = progress.tasks[found[where]].speed
            rate = f"{speed:,.0f}/s" if speed else ""
            progress.update(found[where], completed=done, total=total, rate=rate)

        yield tell
