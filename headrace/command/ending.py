"""How a process of ours ends: the one place where an error becomes a line for people and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable

from definitions.errors import HeadraceError
from headrace.errors import ServerMissing, UsageError

FOUND_A_PROBLEM = 1
WRONG_USAGE = 2
SERVER_MISSING = 3


def end_with_a_line(body: Callable[[], object]) -> None:
    """Run ``body``; a user's mistake and a server that is not there end the process in one line, untraced."""
    try:
        body()
    except Exception as error:
        # The top of the process: what is not expected here is our own mistake and keeps its traceback.
        code = exit_code(error)
        if code is None:
            raise
        print(f"headrace: {error}", file=sys.stderr)
        sys.exit(code)


def exit_code(error: Exception) -> int | None:
    """Return the exit code that an error stands for, None for one that nobody expects."""
    from agents.transport import LogUnavailable  # noqa: PLC0415  # needed only where something went wrong
    from streams.errors import RegistryUnavailable, StoreUnavailable  # noqa: PLC0415

    if isinstance(error, UsageError):
        return WRONG_USAGE
    if isinstance(error, ServerMissing | LogUnavailable | StoreUnavailable | RegistryUnavailable):
        return SERVER_MISSING
    return FOUND_A_PROBLEM if isinstance(error, HeadraceError) else None
