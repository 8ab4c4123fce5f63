"""Options that several commands share, and the settings that a command works with."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from headrace.settings import Settings, read_settings

AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on standard output, text on standard error.")]


def settings_of(context: typer.Context) -> Settings:
    """Return the settings in force in the working directory, ``--app`` written in.

    Raises:
        SettingsError: a name is unknown, or a value cannot be used.
    """
    settings = read_settings(Path.cwd())
    return dataclasses.replace(settings, app=context.obj or settings.app)
