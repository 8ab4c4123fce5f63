"""What a polling thread asks of the event loop while partitions move, and how long it waits for the answer."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Protocol

from confluent_kafka import Consumer, KafkaException, TopicPartition

from agents.transport import Assigned, LogUnavailable
from streams.records import Partition

_WAIT_S = 0.05
_ANSWER_S = 5.0

logger = logging.getLogger(__name__)

Committed = Mapping[tuple[str, int], int | None]


class Stopped(Exception):  # noqa: N818  # not an error: the thread was told to stop while it waited
    """The thread was told to stop before the answer came."""


class Owner(Protocol):
    """The event loop's side of a member, as its thread sees it."""

    def given(self, committed: Committed) -> Future[Sequence[tuple[Assigned, int | None]]]:
        """Ask where to resume each of these partitions; None is not to be read."""
        ...

    def revoked(self, partitions: Sequence[Partition], drain_s: float | None) -> None:
        """Let the partitions be drained; return when they are, or the time is over."""
        ...

    def ended(self, positions: Sequence[tuple[Partition, int]]) -> None:
        """Tell that these partitions rest at their ends. Does not wait."""
        ...

    def outside(self, partition: Partition, first: int, end: int) -> None:
        """Tell that the partition stands still: its position is not in ``first..end``. Does not wait."""
        ...

    def left(self) -> None:
        """Tell that the thread has left the group and ends."""
        ...


def committed_of(consumer: Consumer, found: Sequence[TopicPartition], stopping: threading.Event) -> Committed:
    """Return the group's hints for partitions just assigned; ask until the coordinator answers.

    Raises:
        Stopped: the thread is to stop.
    """
    while not stopping.is_set():
        try:
            answers = consumer.committed(list(found), timeout=_ANSWER_S)
        except KafkaException as error:
            logger.warning("kafka: committed: %s", error.args[0].str())
            stopping.wait(_WAIT_S)
        else:
            return {
                (each.topic, each.partition): each.offset if each.offset is not None and each.offset >= 0 else None
                for each in answers
            }
    raise Stopped


def given_by(owner: Owner, committed: Committed, stopping: threading.Event) -> Sequence[tuple[Assigned, int | None]]:
    """Return where to resume; wait as long as the state's store takes to say it.

    Raises:
        Stopped: the thread is to stop.
    """
    while not stopping.is_set():
        asked = owner.given(committed)
        while not asked.done():
            if stopping.wait(_WAIT_S / 10):
                asked.cancel()
                raise Stopped
        try:
            return asked.result()
        except LogUnavailable as error:
            logger.warning("%s", error)
            stopping.wait(_WAIT_S)
    raise Stopped
