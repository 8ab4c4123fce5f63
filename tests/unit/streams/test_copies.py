"""Which copies are taken: each source record once, and none for which one before it is missing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from streams.copies import first_copies
from streams.dead_letters import REPLAY_HEADER, Replayed
from streams.derived import COPIED_HEADER, POSITION_HEADER, CopyHeaders, copied_from, position_header
from streams.intake import DecodedBatch, Intake
from streams.records import LOG_APPEND_TIME, Partition
from streams.store import Row
from tests.records import GivenRecord, batch_of
from tests.rekeyed import COPY, NOW_MS, visit

SOURCES = [Partition("visits", index, "source") for index in range(2)]
PARTITION = Partition(COPY.topic, 0, "copy")


def copy(  # noqa: PLR0913  # what a copy is made of
    offset: int,
    source: int,
    after: int,
    behind: int = 0,
    topic_id: str = "source",
    *,
    value: bytes | None = None,
    before: Sequence[tuple[str, bytes]] = (("own", b""),),
) -> GivenRecord:
    """Return a copy at an offset of the copy topic."""
    headers = CopyHeaders(Partition("visits", source, topic_id))(after, behind, (LOG_APPEND_TIME, NOW_MS))
    return GivenRecord(offset, value or visit(after - 1, "ann"), headers=[*before, *headers])


def read(*records: GivenRecord) -> DecodedBatch:
    """Return the records as the copy's intake sees them."""
    return Intake(COPY).read(batch_of(PARTITION, records))


def taken(row: Row, *records: GivenRecord) -> list[int]:
    """Return the offsets that are taken."""
    return list(first_copies(row, read(*records)).batch.offsets)


BEGUN = Row(next=0, first=0)


def test_each_source_partition_has_its_own_order() -> None:
    found = first_copies(BEGUN, read(copy(0, 1, 5), copy(1, 0, 2), copy(2, 1, 9, behind=5), copy(3, 0, 3, behind=2)))

    assert list(found.batch.offsets) == [0, 1, 2, 3]
    assert found.contained == {"source": [3, 9]}
    assert found.batch.origins is None


def test_what_was_sent_again_is_a_duplicate() -> None:
    sent = [copy(0, 0, 1), copy(1, 0, 2, behind=1), copy(2, 0, 1), copy(3, 0, 2, behind=1), copy(4, 0, 3, behind=2)]

    assert taken(BEGUN, *sent) == [0, 1, 4]
    assert first_copies(BEGUN, read(*sent)).duplicates == 2


def test_a_copy_whose_predecessor_is_missing_waits_for_its_return() -> None:
    assert taken(BEGUN, copy(0, 0, 3, behind=2), copy(1, 0, 2), copy(2, 0, 3, behind=2)) == [1, 2]


DEAD = b"{oops"


def test_a_dead_copy_holds_up_none_behind_it_and_is_none_when_it_is_sent_again() -> None:
    """Its followers were acknowledged with it: they would not come once more."""
    sent = [copy(0, 0, 1), copy(1, 0, 2, behind=1, value=DEAD), copy(2, 0, 3, behind=2), copy(3, 0, 2)]

    found = first_copies(BEGUN, read(*sent))

    assert list(found.batch.offsets) == [0, 2]
    assert [each.after for each in found.set_aside] == [2]
    assert found.contained == {"source": [3]}


@pytest.mark.parametrize("cuts", [(1,), (2,), (1, 2, 3)])
def test_where_batches_are_cut_changes_nothing_about_dead_copies(cuts: tuple[int, ...]) -> None:
    whole = read(copy(0, 0, 1, value=DEAD), copy(1, 0, 2, behind=1), copy(2, 0, 1), copy(3, 0, 3, value=DEAD))
    row, offsets, aside = BEGUN, list[int](), list[int]()
    for first, end in pairwise((0, *cuts, 4)):
        found = first_copies(row, whole.between(first, end))
        row = replace(row, next=end, copied=found.contained)
        offsets += found.batch.offsets
        aside += [each.after for each in found.set_aside]

    assert (offsets, aside, row.copied) == ([1], [1, 3], {"source": [3]})


def put_back(offset: int, source: int, after: int, letter: str, **given: Any) -> GivenRecord:
    """Return a copy that people put back as the letter they say."""
    told = Replayed(letter, 1, NOW_MS, letter)
    return copy(offset, source, after, before=[(REPLAY_HEADER, msgspec.json.encode(told))], **given)


def test_a_dead_copy_that_is_put_back_is_taken_whatever_is_contained() -> None:
    row = Row(next=0, first=0, copied={"source": [9]})

    found = first_copies(row, read(put_back(0, 0, 2, "source/0/1#1"), copy(1, 0, 2), copy(2, 0, 10, behind=9)))

    assert list(found.batch.offsets) == [0, 2]
    assert found.contained == {"source": [10]}


def test_a_copy_of_a_record_that_was_put_back_at_its_source_is_one_like_others() -> None:
    """The record lies at another place than the letter it was, and its copy carries its headers."""
    again = [put_back(0, 0, 5, "source/0/1"), put_back(1, 0, 5, "source/0/1"), put_back(2, 0, 5, "source/0/3#1")]

    assert taken(BEGUN, *again) == [0]


def test_where_the_copy_is_not_read_from_its_beginning_the_first_is_taken_as_it_is() -> None:
    later = Row(next=0, first=7)

    assert taken(later, copy(0, 0, 3, behind=2), copy(1, 0, 2), copy(2, 1, 9, behind=8)) == [0, 2]


def test_a_source_topic_that_was_made_anew_begins_at_its_first_record() -> None:
    row = Row(next=0, first=0, copied={"source": [30]})

    found = first_copies(row, read(copy(0, 0, 1, topic_id="anew"), copy(1, 0, 31)))

    assert list(found.batch.offsets) == [0, 1]
    assert found.contained == {"source": [31], "anew": [1]}
    assert row.copied == {"source": [30]}, "the row that was given is another one"


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [position_header(SOURCES[0], 1)],
        [(POSITION_HEADER, b'["visits",0,1,0]'), (COPIED_HEADER, b"{oops")],
        [(POSITION_HEADER, b'["visits",-1,1,0]'), (COPIED_HEADER, b'["t",0,null]')],
        [(POSITION_HEADER, b'["visits",99999999999,1,0]'), (COPIED_HEADER, b'["t",0,null]')],
        [(POSITION_HEADER, None), (COPIED_HEADER, None)],
        [*CopyHeaders(SOURCES[0])(1, 0, (0, 0)), ("other", b"")],
    ],
)
def test_a_record_that_does_not_say_what_it_copies_is_dead(headers: Any) -> None:
    decoded = read(copy(0, 0, 1), GivenRecord(1, visit(0, "ann"), headers=headers), copy(2, 0, 2, behind=1))

    assert list(decoded.offsets) == [0, 2]
    assert [(each.offset, each.reason) for each in decoded.dead] == [(1, "no_copy")]
    assert list(first_copies(BEGUN, decoded).batch.offsets) == [0, 2]


def test_a_copy_says_when_its_source_was_appended_if_the_broker_said_so() -> None:
    headers = [CopyHeaders(SOURCES[1])(4, 2, stamp) for stamp in ((LOG_APPEND_TIME, 77), (1, 77))]
    found = [copied_from(each) for each in headers]

    assert [(each.partition, each.after, each.behind, each.stamp) for each in found if each] == [
        (1, 4, 2, (LOG_APPEND_TIME, 77)),
        (1, 4, 2, (0, 0)),
    ]
    assert json.loads(dict(headers[0])[COPIED_HEADER]) == ["source", 2, 77]
