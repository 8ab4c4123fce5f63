"""`streams.partitioning` agrees with Java's producer."""

from __future__ import annotations

import pytest

from streams.partitioning import murmur2, partition_of

# Printed by org.apache.kafka.common.utils.Utils.murmur2 of kafka-clients 4.1.1.
JAVA = {
    b"": 275646681,
    b"1": -1993445489,
    b"21": -973932308,
    b"abc": 479470107,
    b"foobar": -790332482,
    b"flights": 1725552234,
    b"a-little-bit-long-string": -985981536,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    "Zürich".encode(): -1551140815,
    b"\x00\x01": -2112343979,
    b"\xff\x80\x00\x01\xfe": -173560464,
}


@pytest.mark.parametrize(("key", "expected"), JAVA.items())
def test_a_key_hashes_as_in_java(key: bytes, expected: int) -> None:
    assert murmur2(key) == expected % (1 << 32)


def test_a_key_belongs_to_the_partition_that_java_chooses() -> None:
    assert [partition_of(key, 7) for key in JAVA] == [(expected & 0x7FFFFFFF) % 7 for expected in JAVA.values()]
