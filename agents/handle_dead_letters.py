"""What people do about dead letters: look at them, publish them again, or put them aside for good.

A replay is published once. Before, a mark says that it begins and where the source partition ends; afterwards, that it
is done and where it lies. If it was cut short in between, the next one looks for the record behind that place, and
publishes it only if it is not there. Of several that begin at once, the one whose mark comes first goes on.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from agents.read_topic import read_topic
from agents.transport import Headers, Log
from streams import topics
from streams.artefacts import ArtefactStore
from streams.dead_letters import (
    DISCARDED,
    OPEN,
    REPLAY_HEADER,
    REPLAYED,
    REPLAYING,
    Letter,
    Mark,
    Replayed,
    read_letter,
    read_mark,
    replay_of,
)
from streams.records import Partition, headers_of

_HEADERS = msgspec.json.Decoder(list[tuple[str, bytes]])


@dataclass(frozen=True, slots=True)
class Case:
    """A letter and what was done about it."""

    letter: Letter
    mark: Mark | None

    @property
    def state(self) -> str:
        """``open``, ``replaying`` (begun, and not known to be done), ``replayed`` or ``discarded``."""
        return OPEN if self.mark is None else self.mark.state


@dataclass(frozen=True, slots=True)
class Original:
    """A letter's source record, whole."""

    key: bytes | None
    value: bytes | None
    headers: Headers


def original_of(letter: Letter, artefacts: ArtefactStore) -> Original:
    """Return the record that a letter was made of; what it had no room for comes from the artefact store.

    Raises:
        ArtefactError: the artefact store does not have it.
    """
    kept = {part: artefacts.get(digest) for part, digest in letter.digests.items()}
    headers = _HEADERS.decode(kept["headers"]) if "headers" in kept else letter.headers
    return Original(kept.get("key", letter.key), kept.get("value", letter.value), headers)


class DeadLetterDesk:
    """The dead letters of one source topic, with the marks of what was done about them.

    Args:
        log: where the topics are.
        topic: the source.
        letters: its dead-letter topic.
        artefacts: where what the letters had no room for is.
    """

    def __init__(self, log: Log, topic: str, letters: str, artefacts: ArtefactStore) -> None:
        self._log = log
        self._topic = topic
        self._artefacts = artefacts
        self._letters = letters
        self._handled = topics.handled_letters(letters)

    async def cases(self) -> list[Case]:
        """Return every letter once, oldest first, with its newest mark. Cost: a reading of the whole topic.

        Raises:
            LogUnavailable: the log does not answer.
        """
        letters: dict[str, Letter] = {}
        for _, record in await read_topic(self._log, await self._log.partitions(self._letters)):
            letter = read_letter(record)
            if letter is not None:
                letters.setdefault(letter.id, letter)
        marks = {mark.letter: mark for mark in await self._marks()}
        ordered = sorted(letters.values(), key=lambda each: (each.timestamp_ms, each.partition, each.offset))
        return [Case(letter, marks.get(letter.id)) for letter in ordered]

    async def discard(self, cases: Iterable[Case], why: str) -> list[Case]:
        """Mark those that are open as discarded; return them."""
        chosen = [case for case in cases if case.state == OPEN]
        await self._mark([self._new(case.letter, DISCARDED, why=why) for case in chosen])
        return chosen

    async def replay(self, cases: Iterable[Case], value_of: Callable[[Letter, Original], Original]) -> list[Mark]:
        """Publish those that are open to their source partitions once more; return their marks.

        Args:
            cases: as `cases` returned them.
            value_of: gives what is published for a letter, from what it was.

        Raises:
            LogUnavailable: the log did not take something; calling it again does the rest.
        """
        chosen = [case for case in cases if case.state in {OPEN, REPLAYING}]
        if not chosen:
            return []
        sources = {each.index: each for each in await self._log.partitions(self._topic)}
        arrived = await self._arrived(chosen, sources)
        done = [
            self._new(case.letter, REPLAYED, offset=arrived[case.letter.id])
            for case in chosen
            if case.letter.id in arrived
        ]
        await self._mark(done)
        mine = await self._begun([case for case in chosen if case.letter.id not in arrived], sources)
        return [*done, *await self._published(mine, value_of)]

    async def _begun(self, cases: Sequence[Case], sources: Mapping[int, Partition]) -> list[Letter]:
        """Mark letters as being replayed; return those that nobody else began to replay at the same time."""
        if not cases:
            return []
        places = list(sources.values())
        ends = dict(zip(sources, await self._log.ends(places), strict=True))
        token = uuid.uuid4().hex
        await self._mark(
            [self._new(case.letter, REPLAYING, token=token, begin=ends.get(case.letter.partition, 0)) for case in cases]
        )
        marks: dict[str, list[Mark | None]] = defaultdict(lambda: [None])
        for mark in await self._marks():
            marks[mark.letter].append(mark)
        # Mine has to be the one that follows what was known when the letter was chosen.
        return [case.letter for case in cases if _follower(marks[case.letter.id], case.mark).token == token]

    async def _published(
        self, letters: Sequence[Letter], value_of: Callable[[Letter, Original], Original]
    ) -> list[Mark]:
        producer = self._log.producer()
        originals = [value_of(letter, original_of(letter, self._artefacts)) for letter in letters]
        sent = [
            producer.produce(
                self._topic,
                original.value,
                key=original.key,
                # In front: what makes a copy one are the last two (`streams.derived`).
                headers=[_replay_header(letter), *_without_replay(original.headers)],
                partition=letter.partition,
            )
            for letter, original in zip(letters, originals, strict=True)
        ]
        results = await asyncio.gather(*sent, return_exceptions=True)
        marks = [
            self._new(letter, REPLAYED, offset=offset)
            for letter, offset in zip(letters, results, strict=True)
            if isinstance(offset, int)
        ]
        await self._mark(marks)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return marks

    async def _arrived(self, cases: Sequence[Case], sources: Mapping[int, Partition]) -> dict[str, int]:
        """Return where replays lie that were begun before and not marked as done."""
        begins: dict[Partition, int] = {}
        for case in cases:
            source = sources.get(case.letter.partition)
            if case.mark is not None and source is not None:
                begins[source] = min(case.mark.begin, begins.get(source, case.mark.begin))
        found: dict[str, int] = {}
        for _, record in await read_topic(self._log, list(begins), firsts=begins) if begins else []:
            replay = replay_of(headers_of(record))
            if replay is not None:
                found.setdefault(replay.letter, record.offset())
        return {case.letter.id: found[case.letter.id] for case in cases if case.mark and case.letter.id in found}

    async def _marks(self) -> list[Mark]:
        records = await read_topic(self._log, await self._log.partitions(self._handled.name))
        return [mark for _, record in records if (mark := read_mark(record)) is not None]

    async def _mark(self, marks: Sequence[Mark]) -> None:
        if not marks:
            return
        await self._log.create_topics([self._handled])
        producer = self._log.producer()
        await asyncio.gather(
            *(
                producer.produce(self._handled.name, msgspec.json.encode(each), key=each.letter.encode())
                for each in marks
            )
        )

    def _new(self, letter: Letter, state: str, **told: str | int) -> Mark:
        return Mark(letter=letter.id, state=state, at_ms=self._log.now_ms(), **told)  # type: ignore[arg-type]


def _follower(marks: Sequence[Mark | None], known: Mark | None) -> Mark:
    """Return the mark behind the known one; the oldest there is, where compaction took that away."""
    [follower, *_] = [mark for mark in marks[marks.index(known) + 1 if known in marks else 0 :] if mark is not None]
    return follower


def _replay_header(letter: Letter) -> tuple[str, bytes]:
    told = Replayed(letter.id, letter.attempts, letter.first_seen_ms, letter.origin)
    return REPLAY_HEADER, msgspec.json.encode(told)


def _without_replay(headers: Headers) -> Headers:
    return [(name, content) for name, content in headers if name != REPLAY_HEADER]
