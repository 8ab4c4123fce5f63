"""``python -m tests.chaos.scoring_mutant MUTANT``: a scoring process that breaks one rule that its callers rest on.

The role's process as it is in production, but for what the mutant changes: the scenario, which nothing but that can
make red where it was green before, has to notice it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from agents.answer import ModelAnswers
from agents.score import ScoringRole
from agents.serve_requests import RequestServer
from agents.tell_answers import Answered
from agents.transport import Assigned
from headrace import role
from streams.request_reply import Request

SLOW_S = 0.2
"""What a micro-batch takes where something has to wait when a partition goes: a tenth of a request's budget."""
_AGAIN = 400
"""More requests than a partition gets in the budget of one, at the scenario's lesser rates."""


def answer_again() -> None:
    """Go back, when a partition comes, to what was taken before: requests that were answered are answered again."""
    opened = ScoringRole.open

    async def mutant(self: ScoringRole, given: Assigned) -> int:
        return max(given.first, await opened(self, given) - _AGAIN)

    ScoringRole.open = mutant  # type: ignore[method-assign]


def begin_at_the_end() -> None:
    """Begin, when a partition comes, at its end: what came while nobody had it is lost."""
    opened = ScoringRole.open

    async def mutant(self: ScoringRole, given: Assigned) -> int:
        await opened(self, given)
        return given.end

    ScoringRole.open = mutant  # type: ignore[method-assign]


def drop_what_waits() -> None:
    """Forget what was taken and not answered, when a partition goes; answers take a while, so that there is some."""
    answer = ModelAnswers.answer_many

    def slow(self: ModelAnswers, requests: Sequence[Request], *, now_ms: int) -> list[Answered]:
        time.sleep(SLOW_S)
        return answer(self, requests, now_ms=now_ms)

    async def mutant(self: RequestServer) -> None:
        for endpoint in self._endpoints:
            endpoint.waiting.__init__(endpoint.service)  # type: ignore[misc]

    ModelAnswers.answer_many, RequestServer.drain = slow, mutant  # type: ignore[method-assign]


def reply_twice() -> None:
    """Send every reply two times."""
    send = RequestServer._send

    def mutant(self: RequestServer, *given: Any) -> Any:
        send(self, *given)
        return send(self, *given)

    RequestServer._send = mutant  # type: ignore[method-assign, assignment]


MUTANTS: Mapping[str, Callable[[], None]] = {
    "scorer-answers-again-after-a-rebalance": answer_again,
    "scorer-begins-at-the-end": begin_at_the_end,
    "scorer-drops-what-waits": drop_what_waits,
    "scorer-replies-twice": reply_twice,
}
"""What breaks a rule."""


def main() -> None:
    """Be a scoring process."""
    [mutant] = sys.argv[1:]
    MUTANTS[mutant]()
    sys.argv[1:] = ["scoring"]
    role.main()


if __name__ == "__main__":
    main()
