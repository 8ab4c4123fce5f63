"""What people see while the demo runs: a live board on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from examples.flights.timeline import NEW_YORK

_REDRAW_S = 0.2
_PLAIN_EVERY_S = 5.0
_STYLES = {"ok": "green", "drifting": "bold red", "insufficient data": "yellow", "stale": "yellow"}


@dataclass(frozen=True, slots=True)
class Board:
    """The numbers at one moment, all read from the running system."""

    moment_ms: int
    """Event time that the demo has come to."""
    done: int
    total: int
    """Slots of schedule."""
    events: int
    events_per_s: float
    dead_letters: int
    requests: int
    statuses: Mapping[str, int]
    p50_ms: float
    p99_ms: float
    examples: int
    auc: Mapping[str, float | None]
    days: Sequence[tuple[str, str, float, float]]
    """(day, verdict, PSI, total variation), in order."""
    incidents: int


@dataclass(slots=True)
class Scoreboard:
    """Shows stages and boards. On a terminal it redraws itself in place, at most five times a second."""

    console: Console
    _live: Live | None = None
    _stages: dict[str, tuple[int, int]] = field(default_factory=dict)
    _board: Board | None = None
    _drawn_s: float = 0.0

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._live = Live(console=self.console, auto_refresh=False, transient=False)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.update(self._picture(), refresh=True)
            self._live.stop()

    def say(self, line: str) -> None:
        """Show one line that stays."""
        self.console.print(line, highlight=False, soft_wrap=True)

    def stage(self, name: str, done: int, total: int) -> None:
        """Show how far a stage has come; a finished one stays as a line where there is no terminal."""
        is_news = self._stages.get(name) != (done, total)
        self._stages[name] = (done, total)
        if self._live is not None:
            self._draw(self._picture, is_final=done == total)
        elif is_news and done == total:
            self.say(f"{name}: {total:,}")

    def show(self, board: Board, *, is_final: bool = False) -> None:
        """Show the numbers of now, if the last ones were shown long enough ago."""
        self._board = board
        if self._live is not None:
            self._draw(self._picture, is_final=is_final)
        elif is_final or time.monotonic() - self._drawn_s >= _PLAIN_EVERY_S:
            self._drawn_s = time.monotonic()
            self.say(plain(board))

    @property
    def is_due(self) -> bool:
        """Whether a board would be shown now; to reckon one costs some milliseconds."""
        every_s = _REDRAW_S if self._live is not None else _PLAIN_EVERY_S
        return time.monotonic() - self._drawn_s >= every_s

    def _draw(self, picture: Callable[[], RenderableType], *, is_final: bool) -> None:
        if self._live is not None and (is_final or time.monotonic() - self._drawn_s >= _REDRAW_S):
            self._drawn_s = time.monotonic()
            self._live.update(picture(), refresh=True)

    def _picture(self) -> RenderableType:
        bars = Table.grid(padding=(0, 2))
        for name, (done, total) in self._stages.items():
            bars.add_row(name, ProgressBar(total=max(1, total), completed=done, width=40), f"{done:,} of {total:,}")
        return Group(bars, picture(self._board)) if self._board is not None else bars


def plain(board: Board) -> str:
    """Return a board as one line."""
    scores = ", ".join(f"{learner} {_number(auc)}" for learner, auc in board.auc.items())
    statuses = " ".join(f"{status} {count:,}" for status, count in board.statuses.items() if count)
    verdict = f"{board.days[-1][0]} {board.days[-1][1]}" if board.days else "none yet"
    return (
        f"{_moment(board.moment_ms)} | {board.events:,} events, {board.events_per_s:,.0f}/s, "
        f"{board.dead_letters} dead letters | {board.requests:,} requests: {statuses or 'none'}, "
        f"p50 {board.p50_ms:.1f} ms, p99 {board.p99_ms:.1f} ms | AUC over {board.examples:,}: {scores} | "
        f"verdict: {verdict}, incidents {board.incidents}"
    )


def picture(board: Board) -> RenderableType:
    """Return a board for a terminal."""
    numbers = Table.grid(padding=(0, 3))
    numbers.add_row("flight schedule", _moment(board.moment_ms))
    numbers.add_row(
        "events", f"{board.events:,} read, {board.events_per_s:,.0f}/s now, {board.dead_letters} dead letters"
    )
    statuses = ", ".join(f"{status} {count:,}" for status, count in board.statuses.items() if count)
    numbers.add_row("requests", f"{board.requests:,}: {statuses}")
    numbers.add_row("latency", f"p50 {board.p50_ms:.1f} ms, p99 {board.p99_ms:.1f} ms")
    aucs = ", ".join(f"{learner} {_number(auc)}" for learner, auc in board.auc.items())
    numbers.add_row("AUC so far", f"{aucs}, over {board.examples:,} labels")
    numbers.add_row("verdicts", _verdicts(board.days))
    numbers.add_row("incidents", str(board.incidents))
    return Panel(numbers, title="late.v1", title_align="left", expand=False)


def _verdicts(days: Sequence[tuple[str, str, float, float]]) -> Text:
    shown = Text()
    for place, (day, verdict, psi, moved) in enumerate(days[-6:]):
        shown.append("\n" if place else "")
        shown.append(f"{day}  {verdict:<18}", style=_STYLES.get(verdict, ""))
        shown.append(f"PSI {psi:5.2f}  total variation {moved:.2f}")
    return shown


def _moment(moment_ms: int) -> str:
    return datetime.fromtimestamp(moment_ms / 1_000, NEW_YORK).strftime("%a %d %b %Y %H:%M")


def _number(auc: float | None) -> str:
    return "-" if auc is None else f"{auc:.3f}"
