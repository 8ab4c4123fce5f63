"""``python -m tests.bench.quiet_role``: the scoring role, but that it logs no predictions while no shadow is in force.

So that one process can be measured with and without what it does beside answering; all else is as in production.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from agents.answer import ModelAnswers
from agents.score import ScoringRole
from headrace import role


def is_quiet(answers: ModelAnswers) -> bool:
    """Return whether the route in force has no shadow."""
    executor = answers._served.executor
    return executor is not None and not executor.route.shadow


def main() -> None:
    """Be the role."""
    plain = ScoringRole._log

    def log(self: ScoringRole, asked: Any, logged: Sequence[Any]) -> None:
        if not is_quiet(asked.answers):
            plain(self, asked, logged)  # type: ignore[arg-type]  # whatever the role hands over

    ScoringRole._log = log  # type: ignore[method-assign, assignment]
    observe = getattr(ModelAnswers, "observe", None)
    if observe is not None:  # predictions are made there, not with the answers

        def quietly(self: ModelAnswers, answers: Any) -> Any:
            return [] if is_quiet(self) else observe(self, answers)

        setattr(ModelAnswers, "observe", quietly)  # noqa: B010  # it may not have one
    sys.argv[1:] = ["scoring"]
    role.main()


if __name__ == "__main__":
    main()
