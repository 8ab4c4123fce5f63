"""A question is answered with what was known at its time, and labelled with what came in time after it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from batch.build_training_set import TrainingSet, build_training_set
from batch.errors import QuestionsRefused, TrainingRefused
from definitions.declared import EventDefinition
from definitions.values import Value
from streams.codecs import Schema
from streams.codecs.writing import encoder_of
from tests.builders import airport_day, label_definition
from tests.registry import avro_schema
from tests.unit.batch.flights import arrived, asked, at_ms, departed, flights_model, questions_of, world
from tests.unit.batch.memory_history import MemoryHistory

MODEL = flights_model()
FLIGHTS_1H = next(place for place, each in enumerate(MODEL.inputs) if each.name == "origin_traffic.flights_1h")
DISTANCE = next(place for place, each in enumerate(MODEL.inputs) if each.name == "distance")


def history(
    departures: Sequence[Sequence[bytes | None]], arrivals: Sequence[Sequence[bytes | None]] = ((),)
) -> MemoryHistory:
    return MemoryHistory({"flights.departed": departures, "flights.arrived": arrivals})


def built(lines: Sequence[bytes], past: MemoryHistory, **options: Any) -> TrainingSet:
    return build_training_set(MODEL, questions_of(lines), past, **options)


def flights_known(lines: Sequence[bytes], past: MemoryHistory, **options: Any) -> list[Value]:
    return [vector[FLIGHTS_1H] for vector in built(lines, past, **options).vectors]


ON_TIME = [[arrived(120, flight="f", delay_min=0.0)]]


def test_a_question_knows_what_happened_before_it_and_nothing_after() -> None:
    past = history([[departed(1), departed(2), departed(3)]], ON_TIME)

    known = flights_known([asked(minute, flight="f") for minute in (0.5, 1, 2.5, 3)], past)

    assert known == [None, 1, 2, 3]


def test_partitions_are_merged_by_time_however_the_log_interleaves_them() -> None:
    one = history([[departed(1), departed(2), departed(3), departed(4)]], ON_TIME)
    three = history([[departed(4)], [departed(1), departed(3)], [departed(2)]], ON_TIME)
    lines = [asked(minute, flight="f") for minute in (1.5, 2.5, 3.5, 4.5)]

    assert [1, 2, 3, 4] == flights_known(lines, one) == flights_known(lines, three)


def test_a_record_is_known_no_sooner_than_those_before_it_in_its_partition() -> None:
    past = history([[departed(5), departed(1)]], ON_TIME)

    assert flights_known([asked(2, flight="f"), asked(6, flight="f")], past) == [None, 2]


def test_a_declared_delay_makes_records_known_later_and_the_set_says_so() -> None:
    past = history([[departed(1), departed(2)]], ON_TIME)

    late = built([asked(2, flight="f"), asked(3, flight="f")], past, delay_ms=60_000)

    assert [vector[FLIGHTS_1H] for vector in late.vectors] == [1, 2]
    assert late.visibility == "event_time+60000ms"


def test_dead_records_do_not_hold_up_the_others() -> None:
    past = history([[b"\xff", departed(1), None, b"{}", departed(2)]], ON_TIME)

    assert flights_known([asked(2, flight="f")], past) == [2]


def test_features_and_labels_of_avro_topics_train_as_those_of_json() -> None:
    def in_avro(event: EventDefinition, number: int, *lines: bytes) -> list[bytes]:
        return [encoder_of(event, schemas[number], number)(line) for line in lines]

    [view], label = MODEL.views, label_definition()
    [source] = view.sources
    left, landed = replace(source.event, codec="avro"), replace(label.event, codec="avro")
    schemas = {
        number: Schema("AVRO", json.dumps(avro_schema(event))) for number, event in enumerate((left, landed), start=1)
    }
    model = flights_model(
        views=[replace(view, sources=(replace(source, event=left),))], label=replace(label, event=landed)
    )
    past = history(
        [in_avro(left, 1, departed(1), departed(2))], [in_avro(landed, 2, arrived(9, flight="f", delay_min=16.0))]
    )
    lines = [asked(1, flight="f"), asked(2.5, flight="f")]

    training = build_training_set(model, questions_of(lines), past, schemas=schemas.get)

    assert [vector[FLIGHTS_1H] for vector in training.vectors] == [1, 2]
    assert training.labels == [True, True]


def test_questions_are_answered_in_order_of_time_whatever_their_order_in_the_file() -> None:
    past = history([[departed(1), departed(2)]], ON_TIME)

    training = built([asked(2, flight="f", distance=2.0), asked(1, flight="f", distance=1.0)], past)

    assert [(vector[DISTANCE], vector[FLIGHTS_1H]) for vector in training.vectors] == [(1.0, 1), (2.0, 2)]
    assert training.times_ms == [at_ms(1), at_ms(2)]


def test_the_label_is_the_first_within_the_horizon_and_its_expression_is_evaluated() -> None:
    day = 24 * 60
    arrivals = [
        arrived(100, flight="late", delay_min=16.0),
        arrived(101, flight="late", delay_min=0.0),
        arrived(100, flight="early", delay_min=15.0),
        arrived(day + 1, flight="too late", delay_min=99.0),
        arrived(day + 1, flight="just in time", delay_min=99.0),
    ]
    lines = [asked(0, flight=each) for each in ("late", "early", "too late", "never")]

    training = built([*lines, asked(1, flight="just in time")], history([[]], [arrivals]))

    assert training.labels == [True, False, True]
    assert (training.asked, training.rows) == (5, 3)


def test_the_label_is_the_last_within_the_horizon_where_revisions_replace() -> None:
    arrivals = [arrived(at, flight="f", delay_min=late) for at, late in ((100, 16.0), (101, 0.0), (24 * 60 + 1, 99.0))]
    model = flights_model(label=label_definition(revised="replace"))

    training = build_training_set(model, questions_of([asked(0, flight="f")], model), history([[]], [arrivals]))

    assert training.labels == [False]


def test_a_question_whose_horizon_passed_gets_the_declared_label() -> None:
    model = flights_model(label=label_definition(otherwise=False))

    training = build_training_set(model, questions_of([asked(0, flight="never")], model), history([[]], [[]]))

    assert training.labels == [False]


def test_the_set_says_what_was_read_of_which_topic() -> None:
    past = history([[departed(1)], [departed(2), departed(3)]], ON_TIME)

    assert built([asked(5, flight="f")], past).positions == {
        "flights.arrived": {"id-flights.arrived/0": (0, 1)},
        "flights.departed": {"id-flights.departed/0": (0, 1), "id-flights.departed/1": (0, 2)},
    }


def test_every_topic_is_read_once() -> None:
    past = history([[departed(1)]], ON_TIME)

    built([asked(5, flight="f")], past)

    assert sorted(past.reads) == ["flights.arrived", "flights.departed"]


def test_equal_questions_have_an_equal_digest_whatever_their_order() -> None:
    past = history([[]], ON_TIME)
    lines = [asked(1, flight="f"), asked(2, flight="f")]

    assert built(lines, past).questions == built(lines[::-1], past).questions
    assert built(lines, past).questions != built(lines[:1], past).questions


def test_how_batches_are_cut_does_not_change_a_vector() -> None:
    past, lines = world(40)
    whole = MemoryHistory(past.topics, batch=1_000)

    assert built(lines, past).vectors == built(lines, whole).vectors


def test_a_view_on_two_events_is_known_by_both_and_by_one_where_the_other_topic_is_empty() -> None:
    model = flights_model(views=[airport_day()])
    waiting = next(place for place, each in enumerate(model.inputs) if each.name == "airport_day.waiting")
    landed = [
        arrived(minute, flight=flight, delay_min=0.0)[:-1] + b', "dest": "JFK"}'
        for minute, flight in ((2, "g"), (4, "f"))
    ]
    questions = questions_of([asked(at, flight="f", entities={"airport": "JFK"}) for at in (0, 1, 2, 3)], model)

    both = build_training_set(model, questions, history([[departed(1)], [departed(3)]], [landed]))
    one = build_training_set(model, questions, history([[], []], [landed]))

    assert [vector[waiting] for vector in both.vectors] == [None, -1, 0, -1]
    assert [vector[waiting] for vector in one.vectors] == [None, None, 1, 1]
    assert sorted(both.positions) == ["flights.arrived", "flights.departed"]


def test_a_topic_that_is_not_there_is_named() -> None:
    with pytest.raises(TrainingRefused, match=r"flights\.arrived: expected a topic with history, got none"):
        built([asked(1, flight="f")], MemoryHistory({"flights.departed": [[departed(1)]]}))


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"not json", "line 2: expected a score request"),
        (asked(1, flight="f", model="early"), r"line 2: \$\.model: expected late, got early"),
        (asked(1, flight="f", inputs={"carrier": "AA"}), r"line 2: \$\.inputs\.distance"),
        (asked(1, flight="f", entities={}), r"line 2: \$\.entities\.origin"),
        (asked(1, flight="f", label_key=None), r"line 2: \$\.label_key"),
        (asked(1, flight="f", at=None), r"line 2: \$\.at: expected epoch ms or RFC 3339"),
        (asked(1, flight="f", at="2013-01-01T00:00:00"), r"line 2: \$\.at"),
    ],
    ids=["no JSON", "other model", "no input", "no entity", "no label key", "no time", "naive time"],
)
def test_a_line_that_is_no_question_is_refused_with_its_place(line: bytes, problem: str) -> None:
    with pytest.raises(QuestionsRefused, match=problem):
        questions_of([asked(0, flight="f"), line])


def test_empty_lines_are_left_out_and_rfc_3339_is_read() -> None:
    [question] = questions_of([b"", asked(0, flight="f", at="2013-01-01T00:26:40Z"), b"\n"])

    assert question.at_ms == at_ms(0)


def test_progress_is_told_to_the_end() -> None:
    past, lines = world(10)
    told: list[tuple[str, int, int]] = []

    built(lines, past, tell=lambda *step: told.append(step))

    assert ("history", 20, 20) in told
    assert told[-1] == ("training set", 10, 10)
