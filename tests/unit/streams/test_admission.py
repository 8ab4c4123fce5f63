"""Who is answered under overload: the newest that can be, and everybody is told."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.request_reply.admission import MICRO_BATCH, ServiceTime, Waiting


@dataclass(frozen=True)
class Asked:
    number: int
    deadline_ms: int

    def remaining_ms(self, now_ms: int) -> int:
        return self.deadline_ms - now_ms


def measured(fixed_ms: float, each_ms: float) -> ServiceTime:
    service = ServiceTime()
    for requests in (1, 10, MICRO_BATCH) * 20:
        service.note(requests, fixed_ms + each_ms * requests)
    return service


def numbers(asked: list[Asked]) -> list[int]:
    return [each.number for each in asked]


def test_before_anything_was_measured_all_that_have_time_are_answered() -> None:
    waiting = Waiting[Asked](ServiceTime())
    waiting.put([Asked(number, 100 + number) for number in range(5)])

    taken = waiting.take(102)

    assert (numbers(taken.batch), numbers(taken.expired), taken.overloaded) == ([3, 4], [2, 1, 0], [])


def test_a_burst_that_can_be_answered_in_time_is_answered_newest_first() -> None:
    waiting = Waiting[Asked](measured(1.0, 0.5))
    waiting.put([Asked(number, 10_000) for number in range(600)])

    batches = [waiting.take(0) for _ in range(3)]

    assert [numbers(each.batch) for each in batches] == [
        list(range(344, 600)),
        list(range(88, 344)),
        list(range(88)),
    ]
    assert not any(each.expired or each.overloaded for each in batches)


def test_those_that_can_all_be_answered_together_are_taken_in_order_of_arrival() -> None:
    waiting = Waiting[Asked](measured(5.0, 1.0))
    waiting.put([Asked(0, 9), Asked(1, 10_000), Asked(2, 8)])

    taken, nobody = waiting.take(0), waiting.take(0)

    assert (numbers(taken.batch), taken.expired, taken.overloaded) == ([0, 1, 2], [], [])
    assert (nobody.batch, len(waiting)) == ([], 0)


def test_the_oldest_that_cannot_be_reached_are_told_at_once() -> None:
    waiting = Waiting[Asked](measured(0.0, 1.0))
    waiting.put([Asked(number, 500) for number in range(1_000)])

    taken = waiting.take(0)

    assert numbers(taken.batch) == list(range(744, 1_000))
    assert sorted(numbers(taken.overloaded)) == list(range(500))
    assert len(waiting) == 244


def test_a_request_with_less_time_than_an_answer_takes_is_expired_whoever_waits() -> None:
    waiting = Waiting[Asked](measured(20.0, 1.0))
    waiting.put([Asked(0, 1_000), Asked(1, 15)])

    taken = waiting.take(0)

    assert (numbers(taken.batch), numbers(taken.expired)) == ([0], [1])


def test_a_short_budget_makes_a_small_micro_batch_and_not_a_late_one() -> None:
    waiting = Waiting[Asked](measured(5.0, 1.0))
    waiting.put([*(Asked(number, 10_000) for number in range(100)), Asked(100, 15)])

    first, second = waiting.take(0), waiting.take(15)

    assert len(first.batch) == 10
    assert first.batch[-1].number == 100
    assert len(second.batch) == 91


def test_one_slow_answer_is_not_the_last() -> None:
    """An estimate that refuses everybody is never measured again: it has to be forgotten, or nobody is served."""
    service = ServiceTime()
    service.note(1, 2_000.0)  # the first answer of a cold process
    waiting = Waiting[Asked](service)
    served = []
    for now_ms in range(0, 2_000, 100):
        waiting.put([Asked(now_ms, now_ms + 50)])
        taken = waiting.take(now_ms)
        served += numbers(taken.batch)
        if taken.batch:
            service.note(len(taken.batch), 2_000.0 if now_ms < 1_500 else 1.0)

    assert served == [1_000], "one try a second while answers are slow indeed"
    waiting.put([Asked(1, 2_150)])
    assert numbers(waiting.take(2_100).batch) == [1]


def test_who_serves_somebody_forgets_nothing() -> None:
    service = measured(100.0, 0.0)
    waiting = Waiting[Asked](service)
    for now_ms in range(0, 3_000, 100):
        waiting.put([Asked(0, now_ms + 50), Asked(1, now_ms + 500)])

        taken = waiting.take(now_ms)

        assert (numbers(taken.batch), numbers(taken.expired)) == ([1], [0])
    assert service.of(1) == pytest.approx(100.0)


def test_there_is_a_most_that_may_wait_and_the_oldest_give_way() -> None:
    waiting = Waiting[Asked](ServiceTime(), most=3)

    assert numbers(waiting.put([Asked(number, 100) for number in range(5)])) == [0, 1]
    assert numbers(waiting.put([Asked(5, 100)])) == [2]
    assert numbers(waiting.take(0).batch) == [3, 4, 5]


@pytest.mark.parametrize("requests", [1, 7, 256])
def test_service_time_of_batches_of_one_size_is_theirs_and_less_for_none_smaller(requests: int) -> None:
    service = ServiceTime()
    for _ in range(10):
        service.note(requests, 12.0)

    assert service.of(requests) == pytest.approx(12.0)
    assert 0.0 <= service.of(1) <= 12.0


def test_service_time_follows_what_is_measured_now() -> None:
    service = measured(1.0, 0.1)
    for requests in (1, 10, MICRO_BATCH) * 200:
        service.note(requests, 50.0)

    assert service.of(1) == pytest.approx(50.0, rel=0.01)


@given(
    st.lists(st.tuples(st.integers(1, 400), st.integers(0, 40)), max_size=60),
    st.floats(0, 20),
    st.floats(0, 5),
    st.integers(1, 30),
)
def test_every_request_comes_out_once_and_nobody_is_taken_who_cannot_be_answered(
    arrivals: list[tuple[int, int]], fixed_ms: float, each_ms: float, most: int
) -> None:
    service = measured(fixed_ms, each_ms)
    waiting, out, now_ms = Waiting[Asked](service, most=40), list[int](), 0
    for number, (budget_ms, passes_ms) in enumerate(arrivals):
        out += numbers(waiting.put([Asked(number, now_ms + budget_ms)]))
        now_ms += passes_ms
        if number % 5 == 0:
            taken = waiting.take(now_ms, most)
            assert len(taken.batch) <= most
            needed_ms = service.of(len(taken.batch))
            assert all(each.remaining_ms(now_ms) >= needed_ms for each in taken.batch)
            assert taken.batch == sorted(taken.batch, key=lambda each: each.number)
            out += numbers([*taken.batch, *taken.expired, *taken.overloaded])
    while len(waiting):
        taken = waiting.take(now_ms, most)
        out += numbers([*taken.batch, *taken.expired, *taken.overloaded])

    assert sorted(out) == list(range(len(arrivals)))
