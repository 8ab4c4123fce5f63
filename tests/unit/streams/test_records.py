"""What a record's headers are where another client wrote them."""

from __future__ import annotations

from streams.records import headers_of
from tests.records import GivenRecord


class Foreign(GivenRecord):
    """A record with a header whose name is no UTF-8, as confluent_kafka hands it out."""

    def __init__(self) -> None:
        super().__init__(0, b"")
        self._broken = True

    def headers(self) -> list[tuple[str, bytes]] | None:
        if self._broken:
            raise SystemError("returned a result with an exception set")
        return []

    def set_headers(self, headers: list[tuple[str, bytes]]) -> None:
        self._broken = bool(headers)


def test_headers_are_handed_out_in_order() -> None:
    assert list(headers_of(GivenRecord(0, b"", headers=[("b", b"1"), ("a", b"2")]))) == [("b", b"1"), ("a", b"2")]


def test_no_headers_are_an_empty_sequence() -> None:
    assert list(headers_of(GivenRecord(0, b""))) == []


def test_headers_with_a_name_that_is_no_utf8_are_left_out_and_never_asked_for_again() -> None:
    record = Foreign()
    assert list(headers_of(record)) == []
    assert record.headers() == []
