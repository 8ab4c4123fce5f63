"""A server that fails is not asked for a while, then by one call, and again by all when that call succeeds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_models.circuit import FAILURES, FIRST_PAUSE_MS, LONGEST_PAUSE_MS, Circuit


def opened(at_ms: float = 0.0) -> Circuit:
    circuit = Circuit()
    for _ in range(FAILURES):
        circuit = circuit.begun(at_ms).ended(at_ms, ok=False)
    return circuit


@pytest.mark.parametrize(
    ("circuit", "at_ms", "allows"),
    [
        (Circuit(), 0.0, True),
        (Circuit(failed=FAILURES - 1), 0.0, True),
        (opened(), 0.0, False),
        (opened(), FIRST_PAUSE_MS - 1, False),
        (opened(), FIRST_PAUSE_MS, True),
        (opened().begun(FIRST_PAUSE_MS), FIRST_PAUSE_MS, False),
        (opened().begun(FIRST_PAUSE_MS).ended(1_100.0, ok=True), 1_100.0, True),
        (opened().begun(FIRST_PAUSE_MS).ended(1_100.0, ok=False), 1_100.0 + 2 * FIRST_PAUSE_MS - 1, False),
        (opened().begun(FIRST_PAUSE_MS).ended(1_100.0, ok=False), 1_100.0 + 2 * FIRST_PAUSE_MS, True),
        (opened().begun(FIRST_PAUSE_MS).ended(1_100.0, ok=None), 1_100.0, True),
        (opened().ended(10.0, ok=False), FIRST_PAUSE_MS, True),
    ],
    ids=[
        "new",
        "one failure short",
        "open",
        "nearly over",
        "may try",
        "somebody tries",
        "the try succeeded",
        "the try failed: twice as long",
        "twice as long is over",
        "the try said nothing: the next one",
        "what was under way when it opened counts once",
    ],
)
def test_when_a_call_may_go(circuit: Circuit, at_ms: float, *, allows: bool) -> None:
    assert circuit.allows(at_ms) is allows


def test_one_answer_in_between_keeps_it_closed() -> None:
    circuit = Circuit()
    for ok in [*[False] * (FAILURES - 1), True, *[False] * (FAILURES - 1)]:
        circuit = circuit.ended(0.0, ok=ok)

    assert circuit.open_until_ms is None


def test_the_pause_has_a_longest() -> None:
    circuit = opened()
    for _ in range(20):
        now_ms = circuit.open_until_ms or 0.0
        circuit = circuit.begun(now_ms).ended(now_ms, ok=False)

    assert circuit.pause_ms == LONGEST_PAUSE_MS


Step = tuple[float, bool | None]
STEPS = st.lists(st.tuples(st.floats(0.0, 2_000.0), st.sampled_from([True, False, None])), max_size=60)


@given(STEPS)
def test_an_open_circuit_lets_one_call_a_pause_through_and_never_stays_shut(steps: list[Step]) -> None:
    """One call at a time: what a caller sees of it against the rules, told in the test's own words."""
    circuit, now_ms, in_a_row, shut_until_ms = Circuit(), 0.0, 0, None
    for after_ms, ok in steps:
        now_ms += after_ms
        expected = shut_until_ms is None or now_ms >= shut_until_ms
        assert circuit.allows(now_ms) is expected
        if not expected:
            continue
        circuit = circuit.begun(now_ms)
        assert circuit.allows(now_ms) is (shut_until_ms is None)
        circuit = circuit.ended(now_ms, ok=ok)
        if ok:
            in_a_row, shut_until_ms = 0, None
        elif ok is False:
            in_a_row += 1
            if in_a_row >= FAILURES:
                pause_ms = min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** (in_a_row - FAILURES))
                shut_until_ms = now_ms + pause_ms
    assert circuit.allows(now_ms + LONGEST_PAUSE_MS)
