"""The join equals a plain telling of the whole log, however often it was killed on the way."""

from __future__ import annotations

from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.property.join_histories import check_scale, drawn_log, drawn_rule, judge


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    dice=st.randoms(use_true_random=False),
    keys_a_chunk=st.integers(1, 3),
    steps_a_commit=st.integers(1, 4),
    kills=st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=8),
)
def test_join_equals_a_telling_of_the_whole_log_whatever_was_killed(
    dice: Random, keys_a_chunk: int, steps_a_commit: int, kills: list[tuple[int, bool]]
) -> None:
    """Examples (each position once) and tallies are functions of the log, not of how it was worked off."""
    judge(drawn_log(dice), drawn_rule(dice), keys_a_chunk=keys_a_chunk, steps_a_commit=steps_a_commit, kills=kills)


def test_many_keys_that_are_due_at_once_are_cleared_in_steps_of_one_link() -> None:
    check_scale()
