"""The Redis store keeps the contract, and says what is wrong with a Redis that it cannot trust."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from streams.errors import ChainBroken, StoreError, StoreUnavailable
from streams.store import Cell, Link, Question, Row
from streams.store.redis import BREAKER_S, RedisStore
from tests.contracts.store_contract import FIRST, StoreContract, mark, started

pytestmark = pytest.mark.redis


@pytest.fixture
def store(redis_url: str, unique: str) -> Iterator[RedisStore]:
    store = RedisStore(redis_url, unique)
    yield store
    store.close()


@pytest.fixture
def server(redis_url: str) -> Iterator[redis.Redis]:
    """A second client, to do to the server what others do."""
    with redis.Redis.from_url(redis_url) as client:
        yield client


class TestRedisStore(StoreContract):
    """The same laws, over a socket."""

    @pytest.fixture
    def store(self, store: RedisStore) -> RedisStore:
        return store


def test_two_namespaces_do_not_see_each_other(store: RedisStore, redis_url: str, unique: str) -> None:
    started(store)
    other = RedisStore(redis_url, unique[:-1] + "x")
    assert other.read_rows([FIRST]) == [None]
    other.close()


def test_the_functions_are_loaded_again_when_they_were_flushed(store: RedisStore, server: redis.Redis) -> None:
    held = started(store)
    server.function_flush()

    with pytest.raises(StoreUnavailable, match="loads it again"):
        store.write([Link(FIRST, held, mark(1), {"ann": Cell(1, b"a")}, Row(next=1, first=0))])

    assert store.read_cells(FIRST, ["ann"]) == [None]
    store.write([Link(FIRST, held, mark(1), {"ann": Cell(1, b"a")}, Row(next=1, first=0))])
    assert store.read_cells(FIRST, ["ann"]) == [Cell(1, b"a")]


def test_an_error_inside_a_call_leaves_the_calls_behind_it_refused(
    store: RedisStore, server: redis.Redis, unique: str
) -> None:
    held = started(store)
    server.set(f"{unique}:cell:{FIRST.fold}:odd", "not a hash")

    with pytest.raises(StoreUnavailable, match="WRONGTYPE"):
        store.write(
            [
                Link(FIRST, held, mark(1), {"odd": Cell(2, b"o")}),
                Link(FIRST, mark(1), mark(2), {"ann": Cell(2, b"a")}, Row(next=2, first=0)),
            ]
        )

    assert store.read_cells(FIRST, ["ann"]) == [None]
    [stored] = store.read_rows([FIRST])
    assert stored is not None
    assert (stored.row.next, stored.mark) == (0, held)
    server.delete(f"{unique}:cell:{FIRST.fold}:odd")


def test_what_cannot_be_packed_behind_what_was_sent_leaves_no_reply_for_the_next_call(store: RedisStore) -> None:
    held = started(store)

    with pytest.raises(UnicodeEncodeError):
        store.write(
            [
                Link(FIRST, held, mark(1), {"ann": Cell(1, bytes(500_000))}, Row(next=1, first=0)),
                Link(FIRST, mark(1), mark(2), {"\ud800": Cell(2, b"b")}, Row(next=2, first=0)),
            ]
        )

    store.write([])
    assert store.read_cells(FIRST, ["bob", "cid"]) == [None, None]
    with pytest.raises(ChainBroken):
        store.write([Link(FIRST, mark(9), mark(3))])


def test_a_row_written_while_an_answer_is_read_is_in_the_rows_behind(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The moment between two commands of one pipeline cannot be hit from outside: the pipeline is cut in two here."""
    held = started(store)
    store.write([Link(FIRST, held, mark(1), {"ann": Cell(1, b"s")}, Row(next=1, first=0))])
    whole = store._reader.ask_packed

    def in_two(commands: list[bytes], timeout_s: float) -> list[Any]:
        before = whole(commands[:1], timeout_s)
        store.write([Link(FIRST, mark(1), mark(2), {"ann": None}, Row(next=2, first=0, newest_ms=7))])
        return [*before, *whole(commands[1:], timeout_s)]

    monkeypatch.setattr(store._reader, "ask_packed", in_two)
    answer = store.read(Question(folds=[FIRST.fold], cells=[(FIRST.fold, "ann")]))

    [row], [behind] = answer.rows[0].values(), answer.rows_behind[0].values()
    assert (row.row.next, behind.row.next, behind.row.newest_ms) == (1, 2, 7)
    assert answer.cells == [{}]


def test_a_lost_connection_is_unavailable_and_the_next_call_connects_again(
    store: RedisStore, server: redis.Redis
) -> None:
    held = started(store)
    server.client_kill_filter(skipme=True)

    with pytest.raises(StoreUnavailable):
        store.write([Link(FIRST, held, mark(1))])

    store.write([Link(FIRST, held, mark(1))])
    with pytest.raises(ChainBroken):
        store.write([Link(FIRST, held, mark(2))])


def test_a_redis_that_evicts_is_refused(redis_url: str, server: redis.Redis, unique: str) -> None:
    server.config_set("maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(StoreError, match="expected noeviction, got allkeys-lru"):
            RedisStore(redis_url, unique)
    finally:
        server.config_set("maxmemory-policy", "noeviction")


def test_nobody_at_the_address_is_one_clear_line(unique: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    with pytest.raises(StoreUnavailable, match=rf"cannot use the online store: 127.0.0.1:{port}.*is it up"):
        RedisStore(f"redis://user:secret@127.0.0.1:{port}", unique)


class Clock:
    """A clock that stands until it is moved."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_after_a_read_in_vain_the_reader_does_not_ask_for_100_ms(
    redis_url: str, server: redis.Redis, unique: str
) -> None:
    clock = Clock()
    store = RedisStore(redis_url, unique, clock=clock)
    server.client_pause(200)

    with pytest.raises(StoreUnavailable):
        store.read(Question(folds=["f"]), timeout_ms=5)
    unpaused = threading.Event()
    while not unpaused.is_set():
        server.ping()  # answered when the pause is over
        unpaused.set()

    with pytest.raises(StoreUnavailable, match="just failed"):
        store.read(Question(folds=["f"]), timeout_ms=1_000)
    clock.now_s += BREAKER_S
    assert store.read(Question(folds=["f"]), timeout_ms=1_000).rows == [{}]
    store.close()
