"""The envelope of a learner's state: verified before it is opened."""

from __future__ import annotations

import itertools

import msgspec
import pytest

from online_models import snapshots
from online_models.errors import ArtefactRefused
from online_models.learners import Cut

CUT = Cut(2, 40, {"b/1": (9, 0), "a/0": (7, 3)})


def sealed(cut: Cut = CUT) -> bytes:
    return snapshots.seal(
        snapshots.Snapshot(
            learner="online",
            definition="abc",
            generation=cut.generation,
            examples_next=cut.examples_next,
            positions=dict(cut.positions),
            learned=40,
            libraries={"river": "1"},
            state=b"state",
        )
    )


def test_what_was_sealed_comes_back() -> None:
    snapshot = snapshots.unseal(sealed(), snapshots.digest_of(sealed()))

    assert (snapshot.cut, snapshot.learner, snapshot.learned, snapshot.state) == (CUT, "online", 40, b"state")


def test_the_order_of_positions_does_not_change_the_bytes() -> None:
    turned = Cut(2, 40, {"a/0": (7, 3), "b/1": (9, 0)})

    assert sealed() == sealed(turned)


def test_bytes_are_verified_before_they_are_read() -> None:
    with pytest.raises(ArtefactRefused, match="expected its own digest"):
        snapshots.unseal(b"anything", "0" * 64)


def test_bytes_that_are_no_snapshot_are_refused() -> None:
    with pytest.raises(ArtefactRefused, match="expected a snapshot"):
        snapshots.unseal(b"\x80", snapshots.digest_of(b"\x80"))


def test_a_snapshot_of_a_later_format_is_refused() -> None:
    later = msgspec.structs.replace(snapshots.unseal(sealed(), snapshots.digest_of(sealed())), format=3)
    data = msgspec.msgpack.encode(later)

    with pytest.raises(ArtefactRefused, match="expected format 2, got 3"):
        snapshots.unseal(data, snapshots.digest_of(data))


def test_a_history_kept_bit_by_bit_is_the_one_kept_at_once() -> None:
    """And it stays small: about eight more each time it doubles."""
    history: list[int] = []
    for number in range(1, 3_001):
        history.append(number)
        kept = snapshots.retained(history)
        history = [each for each in history if each in kept]

    assert set(history) == snapshots.retained(range(1, 3_001))
    assert len(history) < 90
    ages = [3_000 - number for number in reversed(history)]
    assert all(older < younger * 9 / 8 + 16 for younger, older in itertools.pairwise(ages))
