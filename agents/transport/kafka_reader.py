"""The thread that polls Kafka for one member of a group: whole batches out, seeks and hints in, rebalances between."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from agents.transport import Assigned
from agents.transport.hand_over import HandOver
from agents.transport.kafka_lanes import QUIET_S, Lane, by_partition, ends_to_tell
from agents.transport.kafka_moves import Owner, Stopped, committed_of, given_by
from agents.transport.kafka_settings import Pace
from agents.transport.positions import PositionOutsideLog, inside_log, outside_log
from streams.records import Partition, RecordBatch

MOST_MESSAGES = 2_000
"""How many messages are taken from the client library at once: the longest batch."""

_POLL_S = 0.02
_PAUSE_AFTER_S = 0.5
_FEW = 256
"""A poll that brought fewer was not behind: there is time to wait for more."""

_ANSWER_S = 5.0
_MESSAGE_BYTES = 400
"""What a message costs beside its value."""

_GOES_ON = frozenset({KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT, KafkaError._RESOLVE})  # noqa: SLF001

logger = logging.getLogger(__name__)


class KafkaReader(threading.Thread):
    """Owns the consumer of one member. `seek`, `commit` and `stop` belong to the event loop, all else to this thread.

    Args:
        properties: the consumer's.
        topics: what to subscribe to.
        out: takes the batches.
        owner: what the thread asks of the event loop, and waits for.
        pace: how often it does what need not be done at once.
    """

    def __init__(
        self, properties: Mapping[str, Any], topics: Sequence[str], out: HandOver[RecordBatch], owner: Owner, pace: Pace
    ) -> None:
        super().__init__(name=f"kafka-{properties['group.id']}", daemon=True)
        self._consumer = Consumer(dict(properties))
        self._topics = list(topics)
        self._out = out
        self._owner = owner
        self._pace = pace
        self._lanes: dict[tuple[str, int], Lane] = {}
        self._moves: deque[tuple[Partition, int | None, int]] = deque()
        self._hints: deque[tuple[Partition, int]] = deque()
        self._unsent: dict[Partition, int] = {}
        self._stopping = threading.Event()
        self._drain_s: float | None = None
        self._sent_s = self._looked_s = self._handed_s = 0.0
        self._full_since_s: float | None = None
        self._paused = False

    def seek(self, partition: Partition, position: int, assignment: int) -> None:
        """Go on from ``position`` as soon as the thread can; batches before that carry older numbers."""
        self._moves.append((partition, position, assignment))

    def hold(self, partition: Partition, assignment: int) -> None:
        """Read no more of the partition, until it is sought or assigned anew: that has a greater number."""
        self._moves.append((partition, None, assignment))

    def commit(self, partition: Partition, position: int) -> None:
        """Note the hint; it is sent within `Pace.commit_s`."""
        self._hints.append((partition, position))

    def stop(self, drain_s: float | None) -> None:
        """Give the partitions back, each drained within ``drain_s`` seconds, and end. None: as if killed."""
        self._drain_s = drain_s
        self._stopping.set()

    def run(self) -> None:
        """Poll until stopped."""
        try:
            self._consumer.subscribe(
                self._topics,
                on_assign=self._assigned,
                on_revoke=partial(self._give_up, commit=True),
                on_lost=partial(self._give_up, commit=False),
            )
            while not self._stopping.is_set():
                self._turn()
        except Exception as error:  # noqa: BLE001  # whatever it is, it belongs to the event loop that hosts the role
            self._out.fail(error)
        finally:
            self._consumer.close()
            self._owner.left()

    def _turn(self) -> None:
        self._obey()
        if not self._has_room():
            return
        message = self._consumer.poll(_POLL_S)
        if message is not None:
            self._hand([message, *self._company()])
        now_s = time.monotonic()
        if now_s - self._looked_s >= QUIET_S:
            self._looked_s = now_s
            ends = ends_to_tell(self._lanes.values(), now_s, self._pace.ends_s)
            if ends:
                self._owner.ended(ends)

    def _company(self) -> list[Message]:
        """Return what came with a message, and until batches are as far apart as the member's patience."""
        found = self._consumer.consume(MOST_MESSAGES, 0)
        early_s = self._handed_s + self._pace.patience_s - time.monotonic()
        if early_s > 0 and len(found) < _FEW:
            self._stopping.wait(early_s)
            found += self._consumer.consume(MOST_MESSAGES, 0)
        self._handed_s = time.monotonic()
        return found

    # -- batches out

    def _hand(self, messages: Sequence[Message]) -> None:
        for key, found in by_partition(messages):
            lane = self._lanes.get(key)
            if not any(map(Message.error, found)):
                self._hand_run(lane, found)
                continue
            run: list[Message] = []
            for message in found:
                error = message.error()
                if error is None:
                    run.append(message)
                else:
                    self._hand_run(lane, run)
                    run = []
                    self._heed(lane, error, message)
            self._hand_run(lane, run)

    def _hand_run(self, lane: Lane | None, run: Sequence[Message]) -> None:
        if lane is None or lane.stopped or not run:
            return
        batch = lane.batch(run, time.monotonic())
        if batch is None:
            self._place(lane, lane.next, lane.assignment)
            lane.confirmed = True
        else:
            self._out.put(batch, sum(map(len, run)) + _MESSAGE_BYTES * len(run))

    def _heed(self, lane: Lane | None, error: KafkaError, message: Message) -> None:
        code = error.code()
        if code == KafkaError._PARTITION_EOF:  # noqa: SLF001  # the library's own name
            skipped = None if lane is None or lane.stopped else lane.reach(message.offset() or 0, time.monotonic())
            if skipped is not None:
                self._out.put(skipped, _MESSAGE_BYTES)
        elif lane is not None and code in {KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE}:  # noqa: SLF001
            self._stand_outside(lane, outside_log(self._bounds(lane), lane.next))
        elif error.fatal():
            raise KafkaException(error)
        elif code not in _GOES_ON:
            logger.warning("kafka: %s", error.str())

    def _has_room(self) -> bool:
        if self._paused:
            if not self._out.full(0.5):
                self._pause(pause=False)
            return True
        if self._out.full():
            self._out.wait_for_room(_POLL_S)
        if not self._out.full():
            self._full_since_s = None
            return True
        now_s = time.monotonic()
        self._full_since_s = self._full_since_s or now_s
        if now_s - self._full_since_s > _PAUSE_AFTER_S:
            # From here on the thread polls without getting records, so that rebalances go on.
            self._pause(pause=True)
        return self._paused

    def _pause(self, *, pause: bool) -> None:
        self._paused, self._full_since_s = pause, None
        change = self._consumer.pause if pause else self._consumer.resume
        change([lane.at(lane.next) for lane in self._lanes.values() if not lane.stopped])
        for lane in self._lanes.values():
            lane.confirmed = False

    # -- seeks and hints in

    def _obey(self) -> None:
        for _ in range(len(self._moves)):
            partition, position, assignment = self._moves.popleft()
            lane = self._lanes.get((partition.topic, partition.index))
            if lane is None or lane.partition != partition or assignment < lane.assignment:
                continue  # what was asked of an assignment that is over must not stop the one that is not
            if position is None:
                self._hold(lane)
            else:
                self._place(lane, position, assignment)
        if time.monotonic() - self._sent_s >= self._pace.commit_s:
            self._send_hints(self._lanes.values(), wait=False)

    def _hold(self, lane: Lane) -> None:
        lane.stopped = True
        self._consumer.pause([lane.at(lane.next)])

    def _stand_outside(self, lane: Lane, error: PositionOutsideLog) -> None:
        logger.error("%s", error)
        self._hold(lane)
        self._owner.outside(lane.partition, error.first, error.end)

    def _place(self, lane: Lane, position: int, assignment: int) -> None:
        lane.place(position, assignment)
        try:
            inside_log(self._bounds(lane), position)
            self._consumer.seek(lane.at(position))
            if not self._paused:
                self._consumer.resume([lane.at(position)])
        except PositionOutsideLog as error:
            self._stand_outside(lane, error)
        except KafkaException as error:
            logger.warning("kafka: seek: %s", error.args[0].str())
            self._moves.append((lane.partition, position, assignment))
            self._stopping.wait(_POLL_S)

    def _bounds(self, lane: Lane) -> Assigned:
        first, end = self._consumer.get_watermark_offsets(lane.at(lane.next), timeout=_ANSWER_S)
        return Assigned(lane.partition, lane.assignment, first, end, None)

    def _send_hints(self, lanes: Iterable[Lane], *, wait: bool) -> None:
        while self._hints:
            partition, position = self._hints.popleft()
            self._unsent[partition] = position
        self._sent_s = time.monotonic()
        offsets = [lane.at(self._unsent.pop(lane.partition)) for lane in lanes if lane.partition in self._unsent]
        if offsets:
            try:
                if wait:
                    self._consumer.commit(offsets=offsets, asynchronous=False)
                else:
                    self._consumer.commit(offsets=offsets, asynchronous=True)
            except KafkaException as error:
                # A hint only: the rows say where to go on.
                logger.warning("kafka: commit: %s", error.args[0].str())

    # -- rebalances, called by the client library inside poll, consume and close

    def _assigned(self, consumer: Consumer, found: list[TopicPartition]) -> None:
        try:
            committed = committed_of(consumer, found, self._stopping)
            answers = given_by(self._owner, committed, self._stopping)
        except Stopped:
            consumer.incremental_assign(found)
            consumer.pause(found)
            return
        resume, still, read = (list[TopicPartition]() for _ in range(3))
        for given, position in answers:
            begin, now_s = given.end if position is None else position, time.monotonic()
            lane = Lane(given.partition, given.assignment, begin, stopped=position is None, moved_s=now_s)
            self._lanes[given.partition.topic, given.partition.index] = lane
            try:
                resume.append(lane.at(self._inside_log(lane, given)))
            except PositionOutsideLog as error:
                lane.stopped = True
                logger.error("%s", error)  # noqa: TRY400  # one line for people, no traceback
                self._owner.outside(lane.partition, given.first, given.end)
                resume.append(lane.at(given.end))
            (still if lane.stopped or self._paused else read).append(resume[-1])
        consumer.incremental_assign(resume)
        consumer.pause(still)
        # A partition that was paused when it was taken away comes back paused.
        consumer.resume(read)

    def _inside_log(self, lane: Lane, given: Assigned) -> int:
        """Return the lane's position if it can be read from; the log may have grown since the bounds were asked."""
        try:
            return inside_log(given, lane.next)
        except PositionOutsideLog:
            try:
                return inside_log(self._bounds(lane), lane.next)
            except KafkaException as error:
                logger.warning("kafka: bounds: %s", error.args[0].str())
            raise

    def _give_up(self, consumer: Consumer, found: list[TopicPartition], *, commit: bool) -> None:
        lanes = [lane for each in found if (lane := self._lanes.get((each.topic, each.partition))) is not None]
        killed = self._stopping.is_set() and self._drain_s is None
        if not killed:
            self._owner.revoked([lane.partition for lane in lanes], self._drain_s)
            if commit:
                self._send_hints(lanes, wait=True)
        for each in found:
            self._lanes.pop((each.topic, each.partition), None)
        consumer.incremental_unassign(found)
