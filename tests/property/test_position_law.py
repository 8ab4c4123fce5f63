"""Everything derived contains exactly what its position says, whoever acts in between; and the test would notice.

The mutants are tested here too: a rule of the position law that is not kept has to turn a schedule wrong.
"""

from __future__ import annotations

import pytest

from tests.property.position_world import Faults, is_right

SCHEDULES = 1_000
SEARCHED = 6_000


def test_nothing_is_lost_or_counted_twice_under_zombies_cut_pipelines_and_silent_rollbacks() -> None:
    wrong = [seed for seed in range(SCHEDULES) if not is_right(seed, Faults())]

    assert wrong == []


def test_nothing_is_lost_or_counted_twice_while_the_store_keeps_everything() -> None:
    wrong = [seed for seed in range(SCHEDULES // 4) if not is_right(seed, Faults(), rollback=False)]

    assert wrong == []


@pytest.mark.parametrize(
    "fault",
    [
        "mark_not_compared",
        "mark_not_renewed",
        "row_outside_the_chain",
        "row_before_its_cells",
        "first_not_compared",
        "cell_position_not_the_maximum",
        "cache_kept_after_a_refusal",
        "mark_not_compared_in_reads",
        "cells_removed_outside_the_chain",
    ],
)
def test_a_rule_that_is_not_kept_is_noticed(fault: str) -> None:
    faults = Faults(**{fault: True})

    assert any(not is_right(seed, faults) for seed in range(SEARCHED))
