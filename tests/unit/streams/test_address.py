"""A store URL says where and as whom; what is wrong with it is said without showing what may be secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.errors import StoreError
from streams.store.address import Address, read_address, safe


@pytest.mark.parametrize(
    ("url", "meant"),
    [
        ("redis://cache", Address((("cache", 6379),))),
        ("redis://cache:7000/3", Address((("cache", 7000),), db=3)),
        ("redis://a,b:7000,c/1", Address((("a", 6379), ("b", 7000), ("c", 6379)), db=1)),
        ("redis://[::1]:7000,[::2]", Address((("::1", 7000), ("::2", 6379)))),
        ("redis://ann:p%40ss%3A%2F@a,b", Address((("a", 6379), ("b", 6379)), user="ann", password="p@ss:/")),  # noqa: S106
        ("redis://:only@a", Address((("a", 6379),), password="only")),  # noqa: S106
        ("rediss://a:6380/0", Address((("a", 6380),), tls=True)),
        ("unix:///run/redis.sock?db=2", Address((("/run/redis.sock", 0),), db=2)),
        ("redis://a?db=2", Address((("a", 6379),), db=2)),
    ],
)
def test_what_a_url_says(url: str, meant: Address) -> None:
    assert read_address(url) == meant


def test_the_files_of_tls_are_named_in_the_url(tmp_path: Path) -> None:
    file = tmp_path / "a file.pem"
    file.touch()

    address = read_address(f"rediss://a?key={str(file).replace(' ', '%20')}&ca={file}&cert={file}")

    assert address.files == (("ca", str(file)), ("cert", str(file)), ("key", str(file)))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("hunter2", "a text that is no URL: expected redis://host:port/0"),
        ("http://ann:hunter2@a", "http://a: expected redis://host:port/0"),
        ("redis://ann:hunter2@a:port", "expected hosts as host:port"),
        ("redis://ann:hunter2@a,,b", "expected hosts as host:port"),
        ("redis://ann:hunter2@a:70000", "expected hosts as host:port"),
        ("redis://ann:hunter2@a/first", "expected the database as a number"),
        ("redis://ann:hunter2@a?password=hunter2", "expected ca, cert, key, db behind the"),
        ("redis://ann:hunter2@a?ca=/hosts", "expected rediss:// with ca, got redis://"),
        ("rediss://ann:hunter2@a?ca=/nowhere", "expected a file as ca, got /nowhere"),
        ("redis://ann:hunter2@[a", "no URL"),
    ],
)
def test_what_is_wrong_is_said_without_the_secret(url: str, said: str) -> None:
    with pytest.raises(StoreError) as told:
        read_address(url)

    assert said in str(told.value)
    assert "mend HEADRACE_REDIS" in str(told.value)
    assert "hunter2" not in str(told.value)


def test_what_is_shown_has_no_secret() -> None:
    address = read_address("redis://ann:hunter2@a,b:7000/3")

    assert str(address) == "a:6379,b:7000"
    assert safe("redis://ann:hunter2@a,b:7000/3?x=hunter2") == "redis://a,b:7000/3"
    assert "hunter2" not in repr(address) + safe("hunter2")
