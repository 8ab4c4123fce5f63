"""A process's way to the log: a record is appended some time after it was sent, or never; its answer may be lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agents.transport import Headers, LogUnavailable
from agents.transport.in_process import InProcessLog

if TYPE_CHECKING:
    from tests.simulation.process import Process


@dataclass(frozen=True, eq=False)
class Send:
    """A record on its way."""

    process: Process
    topic: str
    value: bytes | None
    given: dict[str, Any]
    answer: asyncio.Future[int]

    @property
    def lane(self) -> object:
        """What arrives in the order in which it was sent."""
        return self.process, self.topic, self.given["partition"]

    def arrive(self, *, answered: bool = True) -> None:
        """Be appended; the answer may be lost on its way back."""
        done = self.process.world.log.producer().produce(self.topic, self.value, **self.given)
        assert isinstance(done, asyncio.Future)
        if answered and not self.answer.done():
            self.answer.set_result(done.result())
        elif not answered:
            self.fail()

    def fail(self) -> None:
        """Be given up by the sender."""
        if not self.answer.done():
            self.answer.set_exception(LogUnavailable("cannot send: the broker did not answer in time; is it up?"))
            self.answer.exception()  # a dead process does not look at it


class SimulatedProducer:
    """The `agents.transport.Producer` of a simulated process."""

    failed = 0

    def __init__(self, process: Process) -> None:
        self._process = process

    def produce(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None = None,
        headers: Headers = (),
        partition: int | None = None,
    ) -> Awaitable[int]:
        """Put the record on its way."""
        self._process.point("send")
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        given = {"key": key, "headers": headers, "partition": partition}
        self._process.world.under_way.append(Send(self._process, topic, value, given, answer))
        return answer

    def send(self, topic: str, value: bytes | None, **given: Any) -> None:
        """Put the record on its way; nobody waits for it."""
        self.produce(topic, value, **given)

    async def flush(self, timeout_s: float) -> int:  # noqa: ARG002  # a `Producer`
        """Return 0: whoever wants to know waits for each record."""
        return 0


class SimulatedLog(InProcessLog):
    """The log as a simulated process sees it: the world's, by a producer of its own."""

    def __init__(self, process: Process, producer: type[SimulatedProducer]) -> None:
        super().__init__()
        vars(self).update(vars(process.world.log))
        self._producer = producer(process)  # type: ignore[assignment]  # a `Producer`
