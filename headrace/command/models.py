"""``headrace models``: which models there are, what they have become, and what steers their learners."""

from __future__ import annotations

import typer

from headrace.command.models_list import list_command
from headrace.command.models_show import show_command

group = typer.Typer(no_args_is_help=True, help="Which models there are and what they have become.")

group.command("list")(list_command)
group.command("show")(show_command)


@group.callback()
def _models() -> None:
    """Which models there are and what they have become."""
