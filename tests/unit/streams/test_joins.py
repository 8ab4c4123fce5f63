"""What the join does with each order of prediction, label and progress."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pytest

from streams.chain import Slot
from streams.joins import CLOCK, TALLY, JoinCodec, JoinRule, JoinState, Tally, cell_of, step_ms
from streams.joins.matching import CELLS_A_STEP, KEYS_A_CHUNK, Join
from streams.messages import Example, LabelSeen, Outcome, Prediction, Progress

WITHIN = 960
STEP = step_ms(WITHIN)


class Joining:
    """A join over cells in memory, one outcome after the other."""

    def __init__(self, *, otherwise: bool | None = None, replaces: bool = False, first_only: bool = False) -> None:
        self.slots: dict[str, Slot[JoinState]] = {}
        self.rule = JoinRule("late.v1", WITHIN, 0, otherwise, replaces=replaces, first_only=first_only)
        self.join = Join(self.rule, "t/3", self.load)
        self.offset = 40

    def load(self, entities: Iterable[str]) -> Mapping[str, Slot[JoinState]]:
        """Return the slots; what is gone is not there any more, as after a commit."""
        for name in entities:
            if name not in self.slots or JoinCodec().encode(self.slots[name].state) is None:
                self.slots[name] = Slot(0, None)
        return self.slots

    def take(self, outcome: Outcome) -> tuple[str | None, list[Example]]:
        """Apply one outcome; return its fate and its examples."""
        self.offset += 1
        steps = list(self.join.apply(self.offset, outcome))
        assert [step.fate is None for step in steps] == [True] * (len(steps) - 1) + [False]
        return steps[-1].fate, [example for step in steps for example in step.examples]

    def tally(self) -> Tally:
        """Return what became of everything so far."""
        state = self.slots[TALLY].state
        assert isinstance(state, Tally)
        return state

    def kept(self) -> set[str]:
        """Return the names of the cells that would be in the store."""
        return {name for name, slot in self.slots.items() if JoinCodec().encode(slot.state) is not None}


def asked(number: int, key: str | None = "F1", at_ms: int = 1_000) -> Prediction:
    """Return a prediction."""
    return Prediction(
        request_id=f"r{number}", model="late.v1", release="", label_key=key, at_ms=at_ms, vector=[number],
        scores={"a": 0.5}, versions=[], champion="a", status="ok", positions={}, features_as_of=None,
    )  # fmt: skip


def known(offset: int, key: str = "F1", at_ms: int = 1_500, label: bool = True) -> LabelSeen:  # noqa: FBT001, FBT002
    """Return a label."""
    return LabelSeen(label_key=key, at_ms=at_ms, label=label, source=f"labels/0@{offset}")


def told(newest_ms: int, source: str = "labels/0", partitions: int = 1, **changes: bool) -> Progress:
    """Return how far a label partition has come."""
    return Progress(source=source, partitions=partitions, newest_ms=newest_ms, **changes)


def test_a_label_after_its_prediction_makes_an_example_at_the_labels_position() -> None:
    joining = Joining()
    joining.take(asked(1))

    fate, [example] = joining.take(known(7))

    assert fate == "applied"
    assert (example.outcomes, example.next, example.index) == ("t/3", joining.offset + 1, 0)
    assert (example.label_key, example.at_ms, example.vector, example.label) == ("F1", 1_000, [1], True)


def test_a_label_before_its_prediction_waits_for_it() -> None:
    joining = Joining()

    early, late = joining.take(known(7)), joining.take(asked(1))

    assert early == ("applied", [])
    assert [each.label for each in late[1]] == [True]


def test_every_prediction_of_a_key_gets_its_label_in_their_order() -> None:
    joining = Joining()
    for number in (3, 1, 2):
        joining.take(asked(number))

    _, examples = joining.take(known(7))

    assert [(each.vector, each.index) for each in examples] == [([3], 0), ([1], 1), ([2], 2)]


def test_copies_are_dropped_by_request_and_by_source_position() -> None:
    joining = Joining()
    for outcome in (asked(1), asked(1), known(7), known(7), known(6), asked(1)):
        joining.take(outcome)

    assert joining.tally() == Tally(predictions=1, labels=1, matched=1, duplicate=4, label_duplicate=2)


def test_a_prediction_without_label_key_is_no_entity_and_leaves_nothing() -> None:
    joining = Joining()

    assert joining.take(asked(1, key=None)) == ("no_entity", [])
    assert joining.kept() == set()


def test_a_label_that_happened_after_the_horizon_is_counted_and_not_matched() -> None:
    joining = Joining()
    joining.take(asked(1, at_ms=1_000))

    assert joining.take(known(7, at_ms=1_000 + WITHIN + 1)) == ("applied", [])
    assert joining.tally() == Tally(predictions=1, labels=1, label_late=1, pending=1)


def test_a_label_at_the_very_end_of_the_horizon_matches() -> None:
    joining = Joining()
    joining.take(asked(1, at_ms=1_000))

    assert len(joining.take(known(7, at_ms=1_000 + WITHIN))[1]) == 1


@pytest.mark.parametrize(("otherwise", "labels"), [(None, []), (False, [False])])
def test_a_prediction_whose_horizon_passed_is_dropped_or_gets_the_other_label(
    otherwise: bool | None,  # noqa: FBT001  # pytest gives it by name
    labels: list[bool],
) -> None:
    joining = Joining(otherwise=otherwise)
    joining.take(asked(1, at_ms=1_000))

    _, examples = joining.take(told(1_000 + WITHIN + STEP))

    assert [each.label for each in examples] == labels
    assert joining.tally() == Tally(predictions=1, timed_out=1, given=len(labels))


def test_a_horizon_passes_only_when_every_label_partition_has_told_so() -> None:
    joining = Joining(otherwise=False)
    joining.take(asked(1, at_ms=1_000))

    assert joining.take(told(9_000, "labels/0", partitions=2)) == ("applied", [])
    assert len(joining.take(told(9_000, "labels/1", partitions=2))[1]) == 1


def test_an_idle_label_partition_holds_nobody_back_until_it_tells_more() -> None:
    joining = Joining(otherwise=False)
    joining.take(asked(1, at_ms=1_000))
    joining.take(told(9_000, "labels/0", partitions=2))

    assert len(joining.take(told(0, "labels/1", partitions=2, idle=True))[1]) == 1
    joining.take(told(500, "labels/1", partitions=2))
    joining.take(asked(2, at_ms=9_000))
    assert joining.take(told(20_000, "labels/0", partitions=2)) == ("applied", [])


def test_nothing_passes_while_all_label_partitions_are_idle() -> None:
    joining = Joining(otherwise=False)
    joining.take(asked(1, at_ms=1_000))

    assert joining.take(told(9_000, idle=True)) == ("applied", [])


def test_a_label_topic_made_anew_does_not_wait_for_the_old_one() -> None:
    joining = Joining(otherwise=False)
    joining.take(asked(1, at_ms=1_000))
    joining.take(told(0, "old/0", partitions=2))
    joining.take(told(9_000, "new/0", partitions=2))

    assert len(joining.take(told(9_000, "new/1", partitions=2))[1]) == 1


def test_what_comes_after_its_own_horizon_changes_nothing() -> None:
    """So a copy of something that is forgotten by now can never be joined again."""
    joining = Joining(otherwise=False)
    joining.take(told(1_000 + 2 * WITHIN))

    assert joining.take(asked(1, at_ms=1_000)) == ("too_late", [])
    assert joining.take(known(7, at_ms=1_000)) == ("too_late", [])
    assert joining.tally() == Tally(prediction_too_late=1, label_too_late=1)
    assert joining.kept() == {CLOCK, TALLY}


def test_a_revision_is_counted_and_holds_for_predictions_that_come_later() -> None:
    """Examples that were made stay as they are."""
    joining = Joining()
    joining.take(asked(1))
    joining.take(known(7, label=True))

    assert joining.take(known(8, label=False)) == ("applied", [])
    assert [each.label for each in joining.take(asked(2))[1]] == [False]
    assert joining.tally() == Tally(predictions=2, labels=2, matched=2, revised=1, early=1, reused=1)


def test_a_revision_replaces_the_examples_of_its_key_where_that_was_declared() -> None:
    """Each once, marked, with the vector as served; what the revision came too late for stays."""
    joining = Joining(replaces=True)
    for number, at_ms in enumerate((100, 1_000, 1_000)):
        joining.take(asked(number, at_ms=at_ms))
    first = joining.take(known(7, at_ms=1_050, label=True))[1]

    again = joining.take(known(8, at_ms=1_500, label=False))[1]

    assert [(each.vector, each.label, each.is_revision) for each in first] == [
        ([number], True, False) for number in range(3)
    ]
    assert [(each.vector, each.label, each.is_revision, each.replaces, each.index) for each in again] == [
        ([1], False, True, True, 0),
        ([2], False, True, True, 1),
    ]
    tally = joining.tally()
    assert (tally.matched, tally.revised, tally.replaced, tally.imbalance) == (3, 1, 2, 0)


def test_a_label_that_says_what_the_one_in_force_says_is_a_copy() -> None:
    """A producer that published twice: another offset, nothing new, and still a copy when it is delivered again."""
    joining = Joining(replaces=True)
    for outcome in (asked(1), known(7), known(8), known(9, label=False), known(8)):
        joining.take(outcome)

    tally = joining.tally()
    assert (tally.labels, tally.label_duplicate, tally.revised, tally.replaced) == (2, 2, 1, 1)


def test_a_revision_that_only_moves_the_time_replaces_nothing() -> None:
    joining = Joining(replaces=True)
    joining.take(asked(1))
    joining.take(known(7, at_ms=1_500))

    assert joining.take(known(8, at_ms=1_600)) == ("applied", [])
    assert joining.tally().replaced == 0


def test_a_revision_after_the_horizon_replaces_nothing() -> None:
    joining = Joining(replaces=True)
    joining.take(asked(1))
    joining.take(known(7))
    joining.take(told(1_500 + WITHIN + STEP))

    assert joining.take(known(8, at_ms=1_500 + WITHIN + STEP, label=False)) == ("applied", [])


def test_only_the_first_prediction_of_a_key_counts_where_that_was_declared() -> None:
    joining = Joining(first_only=True)
    joining.take(asked(1))

    assert joining.take(asked(2)) == ("duplicate", [])
    assert [each.vector for each in joining.take(known(7))[1]] == [[1]]
    assert joining.take(asked(3)) == ("duplicate", [])
    assert joining.tally() == Tally(predictions=1, labels=1, matched=1, reused=2)


def test_a_reused_label_key_is_counted() -> None:
    joining = Joining()
    for number in range(3):
        joining.take(asked(number))

    assert joining.tally() == Tally(predictions=3, pending=3, reused=2)


def test_a_label_for_an_unknown_prediction_is_counted_when_it_is_forgotten() -> None:
    joining = Joining()
    joining.take(known(7, at_ms=1_000))
    joining.take(known(8, at_ms=1_001))

    joining.take(told(1_001 + WITHIN + STEP))

    assert joining.tally() == Tally(labels=2, revised=1, unknown=1)
    assert joining.kept() == {CLOCK, TALLY}


@pytest.mark.parametrize("at_ms", [1_000 + WITHIN, 1_000 + WITHIN + 10 * STEP], ids=["log", "event time"])
def test_a_label_after_the_horizon_is_no_strangers_and_teaches_nothing(at_ms: int) -> None:
    """It is remembered for another horizon that its prediction was given up."""
    joining = Joining(otherwise=False)
    joining.take(asked(1, at_ms=1_000))
    joining.take(told(1_000 + WITHIN + STEP))

    assert joining.take(known(7, at_ms=at_ms)) == ("applied", [])
    joining.take(told(at_ms + WITHIN + STEP))

    assert joining.tally() == Tally(predictions=1, labels=1, timed_out=1, given=1, label_late=1)
    joining.take(told(1_000 + 3 * WITHIN))
    assert joining.kept() == {CLOCK, TALLY}


def test_a_label_that_replaced_a_newer_one_is_remembered_as_long_as_that() -> None:
    """Else the newer one, sent again, would be taken for news."""
    joining = Joining()
    joining.take(known(7, at_ms=3_000))
    joining.take(known(8, at_ms=1_000))
    joining.take(told(1_000 + WITHIN + STEP))

    assert joining.take(known(7, at_ms=3_000))[0] == "duplicate"


def test_nothing_is_kept_of_a_key_whose_horizons_have_passed() -> None:
    joining = Joining()
    for number in range(3 * KEYS_A_CHUNK):
        joining.take(asked(number, key=f"F{number}"))
        joining.take(known(number, key=f"F{number}"))
    assert cell_of("F0") in joining.kept()

    joining.take(told(1_500 + WITHIN + STEP))

    assert joining.kept() == {CLOCK, TALLY}


def test_a_long_clearing_goes_on_where_it_was_committed() -> None:
    """Killed between two steps of one progress record: every example once, each at a position of its own."""
    joining = Joining(otherwise=False)
    for number in range(3 * KEYS_A_CHUNK):
        joining.take(asked(number, key=f"F{number}"))
    joining.offset += 1
    passed = told(9_000)
    first = next(joining.join.apply(joining.offset, passed))
    stored = {name: JoinCodec().encode(slot.state) for name, slot in joining.slots.items()}

    joining.slots = {name: Slot(0, JoinCodec().decode(data)) for name, data in stored.items() if data is not None}
    joining.join = Join(joining.rule, "t/3", joining.load)
    rest = [example for step in joining.join.apply(joining.offset, passed) for example in step.examples]

    examples = [*first.examples, *rest]
    assert len(first.examples) == KEYS_A_CHUNK
    assert [(each.next, each.index) for each in examples] == [
        (joining.offset + 1, index) for index in range(3 * KEYS_A_CHUNK)
    ]
    assert len({each.label_key for each in examples}) == 3 * KEYS_A_CHUNK


def test_a_step_changes_few_enough_cells_for_one_link() -> None:
    joining = Joining()
    for number in range(3 * KEYS_A_CHUNK):
        joining.take(asked(number, key=f"F{number}"))

    steps = list(joining.join.apply(1_000, told(9_000)))

    assert max(len(set(step.changed)) for step in steps) <= CELLS_A_STEP


def test_a_label_key_may_have_any_name() -> None:
    joining = Joining()
    joining.take(asked(1, key=CLOCK))
    joining.take(asked(2, key=TALLY))

    assert len(joining.take(known(1, key=CLOCK))[1]) == 1
    assert len(joining.take(known(2, key=TALLY))[1]) == 1


def test_tallies_of_partitions_add_up() -> None:
    assert Tally(1, 2, 3, 4, 5).plus(Tally(10, 20, 30, 40, 50)) == Tally(11, 22, 33, 44, 55)
