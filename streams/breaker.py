"""When a partition's records are so often unusable that reading on would only move the topic into its dead letters."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque

from streams.intake import DecodedBatch

WINDOW_RECORDS = 200
LEAST_RECORDS = 100
DEAD_SHARE = 0.5


class Breaker:
    """Trips at the record with which more than half of the last 200 are dead, of 100 at least.

    Decided by the records alone, in log order: neither by how they are cut into batches, nor by a clock. It counts from
    where it was made, so a partition that is opened anew is judged anew.

    Example:
        >>> from streams.records import Partition
        >>> from streams.intake import DeadLetter
        >>> dead = [DeadLetter(offset, "bad_json", "$", "cut short") for offset in range(150)]
        >>> Breaker().judge(DecodedBatch(Partition("events", 0, "t"), 0, 150, (), (), (), dead, None))
        99
    """

    def __init__(self, accepted: int = 0) -> None:
        self._accepted = accepted
        self._seen = 0
        self._dead: deque[int] = deque()

    def judge(self, batch: DecodedBatch) -> int | None:
        """Take the batch in; return the offset at which it trips, None if all may be read.

        Args:
            batch: follows the last one. Its dead records below the accepted offset do not count.

        Cost: nothing to speak of without dead records, 1 us for each.
        """
        for number, letter in enumerate(batch.dead):
            if letter.offset < self._accepted:
                continue
            place = self._seen + number + bisect_left(batch.offsets, letter.offset)
            self._dead.append(place)
            while self._dead[0] <= place - WINDOW_RECORDS:
                self._dead.popleft()
            seen = min(place + 1, WINDOW_RECORDS)
            if seen >= LEAST_RECORDS and len(self._dead) > DEAD_SHARE * seen:
                return letter.offset
        self._seen += len(batch.events) + len(batch.dead)
        return None
