"""The scoreboard can be read on a terminal and in a log file."""

from __future__ import annotations

import io
from dataclasses import replace

from rich.console import Console

from examples.flights.scoreboard import Board, Scoreboard, plain
from examples.flights.timeline import local_midnight_ms

BOARD = Board(
    moment_ms=local_midnight_ms("2013-02-09") + 3_600_000,
    done=500,
    total=1_435,
    events=68_000,
    events_per_s=612.0,
    dead_letters=9,
    requests=7_000,
    statuses={"ok": 6_990, "degraded": 10},
    p50_ms=8.25,
    p99_ms=21.0,
    examples=6_400,
    auc={"online": 0.7021, "offline": None},
    days=[("2013-02-07", "ok", 0.1, 0.09), ("2013-02-08", "drifting", 1.67, 0.52)],
    incidents=1,
)


def shown(*, terminal: bool) -> str:
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=120, color_system=None)
    with Scoreboard(console) as board:
        board.say("in-process log")
        board.stage("past published", 10, 20)
        board.stage("past published", 20, 20)
        board.show(BOARD)
        board.show(replace(BOARD, events=99_999), is_final=True)
    return file.getvalue()


def test_a_board_is_one_line_in_a_log() -> None:
    line = plain(BOARD)
    assert "\n" not in line
    for part in ("Sat 09 Feb 2013 01:00", "68,000 events, 612/s, 9 dead letters", "ok 6,990 degraded 10"):
        assert part in line
    for part in ("p50 8.2 ms, p99 21.0 ms", "online 0.702, offline -", "2013-02-08 drifting", "incidents 1"):
        assert part in line


def test_without_a_terminal_there_are_only_lines() -> None:
    lines = shown(terminal=False).splitlines()
    assert lines[:2] == ["in-process log", "past published: 20"]
    assert len(lines) == 4
    assert all("\x1b" not in line for line in lines)


def test_on_a_terminal_the_last_board_stays() -> None:
    text = shown(terminal=True)
    last = text[text.rindex("late.v1") :]
    for part in ("99,999 read", "drifting", "PSI  1.67", "online 0.702", "9 dead letters"):
        assert part in last
