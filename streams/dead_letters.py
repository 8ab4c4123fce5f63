"""What a dead letter says of itself, and what people did about it.

A letter has the key, the bytes and the headers of its source record; behind those stand our own:

====================  ==============================================================================================
header                what it says
====================  ==============================================================================================
``dlq.topic``         the source topic; with the three below the source position, which is the letter's id
``dlq.topic_id``      which topic of that name it was
``dlq.partition``     its partition
``dlq.offset``        its offset there
``dlq.timestamp``     the record's own time, epoch ms: the broker's, where topics are as headrace creates them
``dlq.reason``        why it is here, a word of `streams.codecs`
``dlq.stage``         where it was refused: ``decode`` (its bytes), ``admit`` (its time against the broker's), or
                      ``learn`` (an example: `agents.quarantine_examples`)
``dlq.path``          where in the value, as ``$.field``
``dlq.message``       the reason in a sentence, printable, 512 bytes at most; never a stack trace
``dlq.app``           the app that refused it
``dlq.event``         the event that it was read as
``dlq.version``       the digest of that event's definition: another one may take the same bytes
``dlq.attempts``      how often these bytes were refused: 1, and one more with every replay
``dlq.first_seen``    ``dlq.timestamp`` of the first attempt
``dlq.origin``        the id of the first attempt's letter, where this one came of a replay
``dlq.copied``        of a copy (`streams.copies`): the position of what it is a copy of
``dlq.digest``        only where the value had no room: its place in the artefact store; the letter has no value then
``dlq.key_digest``    likewise of the key
``dlq.learner``       of an example: the learner that cannot learn it
``dlq.headers_digest``  likewise of the source's headers, as a JSON array of name and base64
====================  ==============================================================================================

The dead-letter topic is never rewritten. What was done about a letter is a `Mark` in ``<topic>.dlq.handled``, keyed by
the letter's id and compacted: no mark is gone before its letter, and readers of letters see only letters. A record that
was replayed carries `REPLAY_HEADER`, in front of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec

from streams.derived import CopiedFrom
from streams.records import Record, headers_of

REPLAY_HEADER = "headrace-replay"
FIRST_OF_OURS = "dlq.topic"
DECODE, ADMIT, LEARN = "decode", "admit", "learn"

OPEN, REPLAYING, REPLAYED, DISCARDED = "open", "replaying", "replayed", "discarded"

_MESSAGE_BYTES = 512


class Replayed(msgspec.Struct, frozen=True):
    """What a replayed record says: which letter it was, how often it was refused, and of which letter it first came."""

    letter: str
    attempts: int
    first_seen_ms: int
    origin: str

    def is_of(self, copied: CopiedFrom) -> bool:
        """Say whether the letter was a copy's, and of the same source record."""
        return self.letter.rpartition("#")[0] == copied.source_id


class Mark(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was done about a letter. The newest one holds."""

    letter: str
    state: str
    at_ms: int
    why: str = ""
    token: str = ""
    """Who began the replay: of several at once, the first goes on."""
    begin: int = 0
    """Where the source partition ended when the replay began: what it published lies there or behind."""
    offset: int | None = None
    """Where the replayed record lies in the source partition."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter as it lies in its topic."""

    topic: str
    topic_id: str
    partition: int
    offset: int
    timestamp_ms: int
    reason: str
    stage: str
    path: str
    message: str
    app: str
    event: str
    version: str
    attempts: int
    first_seen_ms: int
    origin: str
    value: bytes | None
    key: bytes | None
    headers: Sequence[tuple[str, bytes]]
    """Of the source record, without ours."""
    digests: Mapping[str, str]
    """``value``, ``key`` and ``headers`` to their places in the artefact store, where they had no room."""
    copied: str
    """The position of what it is a copy of, where it is one."""
    learner: str
    """Who cannot learn it, where it is an example."""

    @property
    def id(self) -> str:
        """The letter's source position, and the learner's name of an example.

        Of a copy, which is sent again after a crash, the position of what it copies, and the attempt.
        """
        if self.copied:
            return f"{self.copied}#{self.attempts}"
        position = letter_id(self.topic_id, self.partition, self.offset)
        return f"{position}/{self.learner}" if self.learner else position

    @property
    def place(self) -> str:
        """The source position as people give it: ``<partition>/<offset>``, and ``/<learner>`` of an example."""
        place = f"{self.partition}/{self.offset}"
        return f"{place}/{self.learner}" if self.learner else place


def letter_id(topic_id: str, partition: int, offset: int) -> str:
    """Return the id of the letter that a record became."""
    return f"{topic_id}/{partition}/{offset}"


def printable(text: str) -> bytes:
    """Return the text for a header: printable, and 512 bytes at most."""
    shown = text if text.isprintable() else "".join(each if each.isprintable() else "?" for each in text)
    return shown.encode("utf-8", "replace")[:_MESSAGE_BYTES].decode("utf-8", "ignore").encode()


def replay_of(headers: Sequence[tuple[str, bytes | None]]) -> Replayed | None:
    """Return what a record's headers say about its replay, None where it is none, or one that cannot be read.

    The first one counts: a copy carries, further behind, what its source record said.
    """
    for name, content in headers:
        if name == REPLAY_HEADER:
            try:
                return msgspec.json.decode(content or b"", type=Replayed)
            except (msgspec.DecodeError, UnicodeDecodeError):
                return None
    return None


def read_letter(record: Record) -> Letter | None:
    """Return the letter in a record of a dead-letter topic, None where it is none of ours."""
    headers = list(headers_of(record))
    begins = max((place for place, (name, _) in enumerate(headers) if name == FIRST_OF_OURS), default=None)
    if begins is None:
        return None
    found = {
        name.removeprefix("dlq."): (content or b"").decode("utf-8", "replace") for name, content in headers[begins:]
    }
    try:
        partition, offset, timestamp_ms = (int(found[name]) for name in ("partition", "offset", "timestamp"))
        attempts, first_seen_ms = int(found.get("attempts", 1)), int(found.get("first_seen", timestamp_ms))
    except (KeyError, ValueError):
        return None
    topic_id = found.get("topic_id", "")
    words = {name: found.get(name, "") for name in ("reason", "stage", "path", "message", "app", "event", "version")}
    digests = {"value": "digest", "key": "key_digest", "headers": "headers_digest"}
    letter = Letter(
        topic=found["topic"],
        topic_id=topic_id,
        partition=partition,
        offset=offset,
        timestamp_ms=timestamp_ms,
        attempts=attempts,
        first_seen_ms=first_seen_ms,
        origin=found.get("origin", ""),
        copied=found.get("copied", ""),
        learner=found.get("learner", ""),
        value=record.value(),
        key=record.key(),
        headers=headers[:begins],
        digests={part: found[name] for part, name in digests.items() if name in found},
        **words,
    )
    return letter if letter.origin else replace(letter, origin=letter.id)


def read_mark(record: Record) -> Mark | None:
    """Return the mark in a record of a topic of handled letters, None where it is none."""
    try:
        return msgspec.json.decode(record.value() or b"", type=Mark)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
