"""A matrix resident in memory: what is loaded, what is refused, and that a row's product is its own."""

from __future__ import annotations

import hashlib
import io

import numpy as np
import pytest

from definitions.values import ValueType
from online_models.errors import ArtefactRefused
from online_models.graphs.matrix import Matrix

IDS = ["a", "b", "c"]
MATRIX = Matrix(IDS, np.arange(6, dtype=np.float32).reshape(3, 2))


def load(data: bytes, *, length: int = 2, kind: ValueType = ValueType.CATEGORY, digest: str = "") -> Matrix:
    return Matrix.from_bytes(data, digest or hashlib.sha256(data).hexdigest(), length=length, kind=kind)


def archive(**arrays: object) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]  # whatever a test puts in
    return file.getvalue()


def test_what_was_written_is_read_again() -> None:
    found = load(MATRIX.to_bytes())

    assert found.dot(found.rows_of(["c", "zz", "a"]), [1.0, 10.0]).tolist()[::2] == [54.0, 10.0]
    assert np.isnan(found.dot(found.rows_of(["zz"]), [1.0, 10.0])[0])
    assert (len(found), found.length) == (3, 2)


def test_without_an_embedding_there_is_no_product() -> None:
    assert np.isnan(MATRIX.dot(MATRIX.rows_of(IDS), None)).all()


def test_a_rows_product_does_not_depend_on_the_others() -> None:
    chance = np.random.default_rng(1)
    ids = list(range(3_000))
    matrix = Matrix(ids, chance.normal(size=(3_000, 33)).astype(np.float32))
    vector = chance.normal(size=33).tolist()
    whole = matrix.dot(matrix.rows_of(ids), vector)

    for size in (1, 2, 3, 7, 64, 999):
        some = chance.choice(3_000, size, replace=False)
        assert matrix.dot(matrix.rows_of(some.tolist()), vector).tobytes() == whole[some].tobytes()


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"no archive", "expected a NumPy archive of ids and rows"),
        (archive(ids=np.array(IDS)), "expected a NumPy archive of ids and rows"),
        (
            archive(ids=np.array(IDS), rows=np.zeros((3, 3), np.float32)),
            "expected rows of 2 numbers, got float32",
        ),
        (archive(ids=np.array(IDS), rows=np.zeros((3, 2), np.int64)), "expected rows of 2 numbers, got int64"),
        (archive(ids=np.arange(3), rows=np.zeros((3, 2), np.float32)), "expected ids of type str, got int64"),
        (archive(ids=np.array(["a", "a"]), rows=np.zeros((2, 2), np.float32)), "expected one row for each id"),
        (archive(ids=np.array(["a"]), rows=np.full((1, 2), np.nan)), "expected finite numbers"),
        (archive(ids=np.array([object()]), rows=np.zeros((1, 2), np.float32)), "expected a NumPy archive"),
    ],
)
def test_what_is_no_such_matrix_is_refused(data: bytes, text: str) -> None:
    with pytest.raises(ArtefactRefused) as refused:
        load(data)

    assert text in str(refused.value)


def test_other_bytes_than_the_digest_names_are_refused() -> None:
    with pytest.raises(ArtefactRefused, match="expected its own digest"):
        load(MATRIX.to_bytes(), digest="0" * 64)
