"""The ``headrace`` command: one module per subcommand, imported only when it is called.

To add one: write ``headrace/command/<name>.py`` with a function ``command`` (or, where it has subcommands, a
``typer.Typer`` called ``group``) and add its line to `COMMANDS`. Each takes ``--json`` (`headrace.command.options`) and
speaks through `headrace.command.voice`; what is raised becomes a line and an exit code in `headrace.command.ending`.

Exit codes: 0 done, 1 it found a problem, 2 wrong usage, 3 a server it needs is not there.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from typing import Annotated

import typer

from headrace.command.ending import end_with_a_line

COMMANDS: Mapping[str, str] = {
    "up": "Start the local Kafka and Redis in the background.",
    "down": "Stop the local Kafka and Redis; their data stays.",
    "doctor": "Tell what is there, what is missing, and what mends it.",
    "check": "Check the definitions and tell what they cost; needs no server.",
    "run": "Run roles in the foreground.",
    "publish": "Publish JSON lines to an event topic.",
    "score": "Ask a model for one score.",
    "gateway": "Answer for scores over HTTP, by the Open Inference Protocol v2.",
    "console": "Show every feature and how it is used on a web page.",
    "load": "Ask a model at a fixed rate, and tell how it answered.",
    "features": "Show what the online store knows of an entity.",
    "audit": "Prove that every record is in exactly one tally and one state.",
    "dlq": "List, show, replay and discard dead letters; resume a partition that is full of them.",
    "repair": "Tell what does not fit between a topic and its rows, and go on in a way you choose.",
    "parity": "Prove that what was served is what the log says, bit for bit.",
    "alerts": "List the incidents that are open, and each model's verdict.",
    "models": "Show which models there are and what they have become.",
    "matrix": "Put a matrix in force that a graph keeps in memory.",
    "deploy": "Tell which release and route are in force, or put others in force.",
    "batch": "Train a model on the published past, and put its release in force.",
}
"""Name to the line that ``headrace --help`` shows; the module has the command's name."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command that ``arguments`` (default: this process's) name, and exit with its code.

    Mistakes of the user and servers that are not there end in one line, never in a traceback.
    """
    chosen = sys.argv[1:] if arguments is None else arguments
    end_with_a_line(lambda: _application(chosen)(chosen, prog_name="headrace"))


def _application(arguments: list[str]) -> typer.Typer:
    """Return the application, with the modules of only those commands that ``arguments`` may call."""
    application = typer.Typer(
        name="headrace",
        help="Streaming-first real-time machine learning: features, scoring, learning and health over Kafka.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # the plain page comes in a third of the time
    )
    application.callback()(_common)
    for name, text in COMMANDS.items():
        if name not in arguments:
            application.command(name, help=text)(_not_called)
            continue
        module = importlib.import_module(f"headrace.command.{name}")
        if hasattr(module, "group"):
            application.add_typer(module.group, name=name)
        else:
            application.command(name)(module.command)
    return application


def _common(
    context: typer.Context,
    app: Annotated[str | None, typer.Option(help="Importable module with your definitions.", metavar="MODULE")] = None,
) -> None:
    context.obj = app


def _not_called() -> None:
    """Stand for a command in the list of commands."""
