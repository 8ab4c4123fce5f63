"""``headrace models``: which models there are, what they have become, and what steers their learners."""

from __future__ import annotations

import typer

from headrace.command import models_steer
from headrace.command.models_list import list_command
from headrace.command.models_pending import pending_command
from headrace.command.models_show import show_command

group = typer.Typer(no_args_is_help=True, help="Which models there are and what they have become.")

group.command("list")(list_command)
group.command("pending")(pending_command)
group.command("pause")(models_steer.pause_command)
group.command("resume")(models_steer.resume_command)
group.command("reset")(models_steer.reset_command)
group.command("snapshots")(models_steer.snapshots_command)
group.command("rollback")(models_steer.rollback_command)
group.command("show")(show_command)


@group.callback()
def _models() -> None:
    """Which models there are and what they have become."""
