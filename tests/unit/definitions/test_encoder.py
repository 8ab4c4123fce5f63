"""The one encoder: what the offline and the online learner see of the same vector."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from definitions.declared import Input
from definitions.encoder import Encoder
from definitions.errors import VectorError
from definitions.values import LARGEST_NUMBER, Value, ValueType

INPUTS = (
    Input("traffic.flights_1h", ValueType.INT, "traffic", "flights_1h"),
    Input("distance", ValueType.FLOAT),
    Input("weekend", ValueType.BOOL),
    Input("carrier", ValueType.CATEGORY),
    Input("tail", ValueType.CATEGORY),
    Input("state", ValueType.EMBEDDING, "traffic", "state", 3),
)
WIDTH = 8
"""The columns of the inputs: an embedding has as many as it has numbers."""

categories = st.text(max_size=3)
vectors = st.tuples(
    st.none() | st.integers(-(2**60), 2**60),
    st.none() | st.floats(-LARGEST_NUMBER, LARGEST_NUMBER) | st.integers(-1000, 1000),
    st.none() | st.booleans(),
    st.none() | categories,
    st.none() | categories,
    st.none() | st.lists(st.floats(-LARGEST_NUMBER, LARGEST_NUMBER), min_size=3, max_size=3),
)


def float32(value: float) -> float:
    """Return a number as float32 holds it, found without numpy."""
    rounded: float = struct.unpack("f", struct.pack("f", value))[0]
    return rounded


def expected_cells(each: Input, value: Value, vocabulary: list[str]) -> list[float]:
    """Return what a matrix has to hold for one value: the oracle."""
    if value is None or (isinstance(value, str) and value not in vocabulary):
        return [math.nan] * (each.length or 1)
    numbers = (
        value if isinstance(value, list) else [float(vocabulary.index(value) if isinstance(value, str) else value)]
    )
    return [float32(number) for number in numbers]


@given(training=st.lists(vectors, max_size=8), served=st.lists(vectors, max_size=8))
def test_the_matrix_holds_numbers_and_codes_of_the_sorted_training_vocabulary(
    training: list[tuple[Value, ...]], served: list[tuple[Value, ...]]
) -> None:
    encoder = Encoder.fit(INPUTS, training)

    matrix = encoder.matrix(served)

    vocabularies = [sorted({v[i] for v in training if isinstance(v[i], str)}) for i in range(len(INPUTS))]  # type: ignore[type-var]
    expected = [
        [cell for i, each in enumerate(INPUTS) for cell in expected_cells(each, v[i], vocabularies[i])]  # type: ignore[arg-type]
        for v in served
    ]
    assert matrix.dtype == np.float32
    assert matrix.shape == (len(served), WIDTH) == (len(served), len(encoder.columns))
    np.testing.assert_array_equal(matrix, np.array(expected, dtype=np.float64).reshape(matrix.shape))


@given(vector=vectors)
def test_the_mapping_leaves_out_none_and_spreads_categories(vector: tuple[Value, ...]) -> None:
    mapping = Encoder(INPUTS).mapping(vector)

    expected: dict[str, float] = {}
    for each, value in zip(INPUTS, vector, strict=True):
        if isinstance(value, str):
            expected[each.name + "=" + value] = 1.0
        elif isinstance(value, list):
            expected |= {"state.0": value[0], "state.1": value[1], "state.2": value[2]}
        elif value is not None:
            expected[each.name] = float(value)
    assert mapping == expected
    assert all(type(number) is float for number in mapping.values())


@given(training=st.lists(vectors, max_size=8), served=vectors)
def test_a_frozen_encoder_is_the_same_encoder(training: list[tuple[Value, ...]], served: tuple[Value, ...]) -> None:
    encoder = Encoder.fit(INPUTS, training)

    thawed = Encoder.from_json(encoder.to_json())

    assert thawed == encoder
    assert thawed.to_json() == encoder.to_json()
    assert thawed.matrix([served]).tobytes() == encoder.matrix([served]).tobytes()


@given(training=st.lists(vectors, max_size=8), seed=st.randoms(use_true_random=False))
def test_the_order_of_training_does_not_matter(training: list[tuple[Value, ...]], seed: object) -> None:
    shuffled = list(training)
    seed.shuffle(shuffled)  # type: ignore[attr-defined]

    assert Encoder.fit(INPUTS, shuffled).to_json() == Encoder.fit(INPUTS, training + training).to_json()


@given(rows=st.lists(vectors, max_size=8))
def test_a_batch_is_its_rows_and_leaves_them_alone(rows: list[tuple[Value, ...]]) -> None:
    encoder = Encoder.fit(INPUTS, rows)
    given_rows = [list(row) for row in rows]

    matrix = encoder.matrix(given_rows)

    assert given_rows == [list(row) for row in rows]
    assert matrix.tobytes() == b"".join(encoder.matrix([row]).tobytes() for row in rows)


@given(vector=vectors)
def test_a_checked_vector_reaches_no_model_as_an_infinity(vector: tuple[Value, ...]) -> None:
    encoder = Encoder.fit(INPUTS, [vector])

    encoder.check(vector)

    assert not np.isinf(encoder.matrix([vector])).any()
    assert all(math.isfinite(number) for number in encoder.mapping(vector).values())


@pytest.mark.parametrize(
    ("vector", "said"),
    [
        ((1, 2.0, True, "UA"), "cannot read vector: expected 6 values, got 4"),
        ((1, math.nan, True, "UA", None, None), "cannot read vector: distance: expected a finite number, got nan"),
        ((1, math.inf, True, "UA", None, None), "cannot read vector: distance: expected a finite number, got inf"),
        ((1, -1e39, True, "UA", None, None), "cannot read vector: distance: expected a finite number, got -1e+39"),
        (
            (10**40, 1.0, True, "UA", None, None),
            "cannot read vector: traffic.flights_1h: expected a finite number, got 1000",
        ),
        ((1.0, 1.0, True, "UA", None, None), "cannot read vector: traffic.flights_1h: expected int, got 1.0"),
        ((True, 1.0, True, "UA", None, None), "cannot read vector: traffic.flights_1h: expected int, got True"),
        ((1, "x", True, "UA", None, None), "cannot read vector: distance: expected float, got 'x'"),
        ((1, 1.0, 1, "UA", None, None), "cannot read vector: weekend: expected bool, got 1"),
        ((1, 1.0, True, 7, None, None), "cannot read vector: carrier: expected str, got 7"),
        ((1, [1.0], True, "UA", None, None), "cannot read vector: distance: expected float, got [1.0]"),
        ((1, 1.0, True, "UA", None, [1.0, 2.0]), "cannot read vector: state: expected a list of 3 numbers, got 2"),
        ((1, 1.0, True, "UA", None, 1.0), "cannot read vector: state: expected a list of 3 numbers, got 1.0"),
        (
            (1, 1.0, True, "UA", None, [1.0, math.nan, 2.0]),
            "cannot read vector: state: expected a finite number, got nan",
        ),
        (
            (1, 1.0, True, "UA", None, [1.0, 1e39, 2.0]),
            "cannot read vector: state: expected a finite number, got 1e+39",
        ),
    ],
)
def test_what_a_model_must_not_see_is_refused_naming_the_input(vector: tuple[Value, ...], said: str) -> None:
    encoder = Encoder(INPUTS)

    with pytest.raises(VectorError) as refused:
        encoder.check(vector)
    with pytest.raises(VectorError):
        Encoder.fit(INPUTS, [vector])

    assert str(refused.value).startswith(said)


@given(
    vector=st.lists(
        st.floats() | st.floats(-LARGEST_NUMBER, LARGEST_NUMBER) | st.none() | st.integers(), min_size=1, max_size=4
    )
)
def test_one_pass_checks_and_maps_as_two_do(vector: list[Value]) -> None:
    """Vectors of floats alone take a way of their own, whose sum or norm may be no number where each of them is."""
    encoder = Encoder(tuple(Input(name, ValueType.FLOAT) for name in "abc"))

    def two() -> str:
        encoder.check(vector)
        return repr(encoder.mapping(vector))

    def said(way: Callable[[], str]) -> str:
        try:
            return way()
        except VectorError as refused:
            return str(refused)

    assert said(lambda: repr(encoder.checked_mapping(vector))) == said(two)
    fits = all(value is None or abs(value) <= LARGEST_NUMBER for value in vector)  # type: ignore[arg-type]  # numbers
    assert said(two).startswith("{") == (len(vector) == len("abc") and fits)


@given(
    before=st.lists(st.tuples(st.integers(0, 3), st.floats(0, 3) | st.integers(0, 3), st.booleans()), max_size=3),
    vector=st.tuples(
        st.integers() | st.floats() | st.booleans() | st.none() | st.just(10**400),
        st.integers() | st.floats() | st.booleans() | st.just(-(10**400)) | st.just(int(LARGEST_NUMBER) + 1),
        st.integers() | st.booleans() | st.text(max_size=1),
    ),
)
def test_a_vector_is_judged_alike_whatever_was_found_right_before(
    before: list[tuple[Value, ...]], vector: tuple[Value, ...]
) -> None:
    """The types of right vectors are kept, and only the numbers of those that come again are looked at."""
    inputs = tuple(map(Input, "abc", (ValueType.INT, ValueType.FLOAT, ValueType.BOOL)))
    knowing = Encoder(inputs)
    for each in before:
        knowing.check(each)

    def said(encoder: Encoder) -> str:
        try:
            encoder.check(vector)
        except VectorError as refused:
            return str(refused)
        return ""

    assert said(knowing) == said(knowing) == said(Encoder(inputs))


def test_the_vocabulary_of_training_decides_the_codes() -> None:
    encoder = Encoder.fit(INPUTS[3:4], [["UA"], ["AA"], [None], ["UA"]])

    assert encoder.vocabularies == {"carrier": ("AA", "UA")}
    assert str(encoder.matrix([["AA"], ["UA"], ["B6"], [None]]).tolist()) == "[[0.0], [1.0], [nan], [nan]]"


def test_an_embedding_has_a_column_and_a_key_per_number_in_its_place() -> None:
    encoder = Encoder((INPUTS[5], INPUTS[1]))

    assert encoder.columns == (
        ("state.0", ValueType.EMBEDDING),
        ("state.1", ValueType.EMBEDDING),
        ("state.2", ValueType.EMBEDDING),
        ("distance", ValueType.FLOAT),
    )
    assert str(encoder.matrix([[[1.0, -0.0, 3.0], 4], [None, 5.0]]).tolist()) == (
        "[[1.0, -0.0, 3.0, 4.0], [nan, nan, nan, 5.0]]"
    )
    assert encoder.mapping([[1.0, -0.0, 3.0], None]) == {"state.0": 1.0, "state.1": -0.0, "state.2": 3.0}
    assert encoder.mapping([None, 5]) == {"distance": 5.0}
    assert encoder.matrix([]).shape == (0, 4)


@given(st.lists(vectors, max_size=8), st.lists(vectors, min_size=1, max_size=4))
def test_columns_become_the_matrix_that_their_rows_become(
    many: list[tuple[Value, ...]], seen: list[tuple[Value, ...]]
) -> None:
    encoder = Encoder.fit(INPUTS, seen)
    columns = [
        np.array([vector[place] for vector in many], dtype=np.float64)
        if place < 3
        else np.fromiter((vector[place] for vector in many), dtype=object, count=len(many))
        for place in range(len(INPUTS))
    ]

    by_columns, by_rows = encoder.matrix_of(columns, len(many)), encoder.matrix(many)

    assert by_columns.shape == (len(many), WIDTH)
    np.testing.assert_array_equal(by_columns, by_rows)
