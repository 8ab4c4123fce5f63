"""``python -m tests.bench.quiet_role``: the scoring role, but that it logs no predictions while no shadow is in force.

So that one process can be measured with and without what it does beside answering; all else is as in production.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from agents.answer import ModelAnswers
from agents.tell_answers import Answered
from headrace import role
from streams.messages import Prediction


def is_quiet(answers: ModelAnswers) -> bool:
    """Return whether the route in force has no shadow."""
    executor = answers._served.executor
    return executor is not None and not executor.route.shadow


def main() -> None:
    """Be the role."""
    observe = ModelAnswers.observe

    def quietly(self: ModelAnswers, answers: Sequence[Answered]) -> list[Prediction]:
        return [] if is_quiet(self) else observe(self, answers)

    ModelAnswers.observe = quietly  # type: ignore[method-assign]
    sys.argv[1:] = ["scoring"]
    role.main()


if __name__ == "__main__":
    main()
