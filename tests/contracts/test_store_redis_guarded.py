"""The store over TLS, as a user with exactly the rights that its module lists; and what those not let in are told."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import redis

from streams.errors import StoreUnavailable
from streams.store import Cell, Link, Pointer, Question, Row
from streams.store import redis as module
from streams.store.redis import RedisStore
from tests.contracts.store_contract import FIRST, StoreContract, mark, started
from tests.redis_servers import RedisServer, certificate, running

pytestmark = pytest.mark.redis

SECRET = "p@ss:w/rd?#%41"  # noqa: S105  # every sign that a URL gives a meaning to
ADMIN = "nobodys-but-ours"
NAMESPACE = "guarded"


@pytest.fixture(scope="module", params=["tls", "plain"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Return a Redis that lets in a user with the rights of the module's text, over TLS alone or without."""
    folder = tmp_path_factory.mktemp("guarded")
    server = over_tls(folder, certificate(folder / "tls")) if request.param == "tls" else RedisServer(folder / "data")
    server.settings["requirepass"] = ADMIN
    with running(server):
        with admin(server) as client:
            client.execute_command(*recipe(NAMESPACE))
        yield server


def over_tls(folder: Path, tls: dict[str, str]) -> RedisServer:
    server = RedisServer(folder / "data", tls | {"tls-auth-clients": "no"})
    server.settings |= {"tls-port": str(server.port), "port": "0"}
    return server


def recipe(namespace: str) -> list[str]:
    """Return the command that the module's text gives, with a secret of this test."""
    text = module.__doc__ or ""
    words = text[text.index("ACL SETUSER") : text.index("\n\n", text.index("ACL SETUSER"))].split()
    return [word.replace("<ns>", namespace).replace(">SECRET", f">{SECRET}") for word in words]


def admin(server: RedisServer) -> redis.Redis:
    if server.settings["port"] != "0":
        return redis.Redis(host="127.0.0.1", port=server.port, password=ADMIN)
    authority = server.settings["tls-ca-cert-file"]
    return redis.Redis(host="127.0.0.1", port=server.port, password=ADMIN, ssl=True, ssl_ca_certs=authority)


def url(server: RedisServer, user: str = "headrace", password: str = SECRET, *, db: int = 0) -> str:
    """Return the store URL of a user, TLS files included where it speaks TLS."""
    place = f"{user}:{quote(password, safe='')}@{server.host}?db={db}"
    is_plain = server.settings["port"] != "0"
    return f"redis://{place}" if is_plain else f"rediss://{place}&ca={server.settings['tls-ca-cert-file']}"


@pytest.fixture
def store(server: RedisServer) -> Iterator[RedisStore]:
    store = RedisStore(url(server), NAMESPACE)
    yield store
    store.close()
    with admin(server) as client:
        client.flushdb()


class TestGuardedRedisStore(StoreContract):
    """The same laws, over TLS, as a user of its own."""

    @pytest.fixture
    def store(self, store: RedisStore) -> RedisStore:
        return store


def test_the_user_may_do_nothing_else(store: RedisStore) -> None:
    for command in (("GET", f"{NAMESPACE}:x"), ("KEYS", "*"), ("FLUSHALL",), ("CONFIG", "GET", "*"), ("DEL", "x")):
        with pytest.raises(StoreUnavailable, match="give the user the rights"):
            store._ask([command])
    with pytest.raises(StoreUnavailable, match="give the user the rights"):
        store._ask([("HGET", "another:row:x", "f")])


def test_a_user_without_the_rights_is_told_where_they_are_listed(server: RedisServer) -> None:
    with admin(server) as client:
        client.execute_command("ACL", "SETUSER", "poor", "on", f">{SECRET}", "~*", "-@all", "+ping")

    with pytest.raises(StoreUnavailable, match=r"info.*give the user the rights that streams/store/redis.py lists"):
        RedisStore(url(server, "poor"), NAMESPACE)


def test_a_process_that_only_reads_does_with_less(server: RedisServer, store: RedisStore) -> None:
    held = started(store)
    store.write([Link(FIRST, held, mark(1), {"ann": Cell(1, b"a")}, Row(next=1, first=0))])
    rights = " ".join(recipe(NAMESPACE)[3:]).replace("~", "%R~").split()
    less = [right for right in rights if right not in ("+hset", "+hsetnx", "+hdel")]
    with admin(server) as client:
        client.execute_command("ACL", "SETUSER", "reader", *less)

    reader = RedisStore(url(server, "reader"), NAMESPACE)

    assert reader.read(Question(folds=[FIRST.fold], cells=[(FIRST.fold, "ann")])).cells == [{"t1/0": Cell(1, b"a")}]
    with pytest.raises(StoreUnavailable, match="give the user the rights"):
        reader.write([Link(FIRST, mark(1), mark(2), {"ann": None})])
    reader.close()


def test_the_rights_are_enough_in_another_database(server: RedisServer) -> None:
    store = RedisStore(url(server, db=3), NAMESPACE)
    started(store)
    assert store.entities(FIRST.fold) == []
    store.close()
    with admin(server) as client:
        client.flushall()


def test_functions_that_were_flushed_are_loaded_again_by_the_user(server: RedisServer, store: RedisStore) -> None:
    held = started(store)
    with admin(server) as client:
        client.function_flush()

    with pytest.raises(StoreUnavailable, match="loads it again"):
        store.write([Link(FIRST, held, mark(1), {"ann": Cell(1, b"a")}, Row(next=1, first=0))])

    store.write([Link(FIRST, held, mark(1), {"ann": Cell(1, b"a")}, Row(next=1, first=0))])
    assert store.advance_pointer("p", Pointer(1, 1, "d"))
    assert store.read(Question(folds=[FIRST.fold], pointers=["p"])).pointers == [Pointer(1, 1, "d")]


def test_a_wrong_password_is_one_line_without_it(server: RedisServer) -> None:
    with pytest.raises(StoreUnavailable, match="put the right user and password in the URL") as told:
        RedisStore(url(server, password="hunter2"), NAMESPACE)  # noqa: S106  # the wrong one is the test

    assert_no_secret(str(told.value), "hunter2")


def test_an_authority_that_is_not_trusted_is_one_line(tmp_path: Path) -> None:
    unknown = over_tls(tmp_path, certificate(tmp_path / "tls"))
    with running(unknown), pytest.raises(StoreUnavailable, match=r"name its authority as \?ca= in the URL") as told:
        RedisStore(url(unknown).partition("?")[0], NAMESPACE)

    assert_no_secret(str(told.value), SECRET)


def test_tls_with_a_server_that_speaks_none_is_one_line(tmp_path: Path) -> None:
    plain = RedisServer(tmp_path / "plain")
    with running(plain), pytest.raises(StoreUnavailable, match="cannot use the online store") as told:
        RedisStore(url(plain).replace("redis://", "rediss://"), NAMESPACE)

    assert_no_secret(str(told.value), SECRET)


def test_a_role_with_a_wrong_password_ends_with_code_3_and_no_secret(server: RedisServer, tmp_path: Path) -> None:
    ended = ends(tmp_path, url(server, password="hunter2"))  # noqa: S106  # the wrong one is the test

    assert "put the right user and password in the URL" in ended
    assert_no_secret(ended, "hunter2")


def test_a_role_before_an_expired_certificate_ends_with_code_3_and_no_secret(tmp_path: Path) -> None:
    expired = over_tls(tmp_path, certificate(tmp_path / "tls", expired=True))
    with running(expired):
        ended = ends(tmp_path, url(expired))

    assert "certificate has expired" in ended
    assert_no_secret(ended, SECRET)


def ends(folder: Path, address: str) -> str:
    """Run a role that cannot begin; return what it said, in one line of its own and within a minute."""
    began_s = time.monotonic()
    ended = command(folder, address, "run", "features")
    took_s = time.monotonic() - began_s

    lines = [line for line in ended.stderr.splitlines() if line.startswith("headrace: ")]
    assert (ended.returncode, len(lines)) == (3, 1), ended.stderr
    assert took_s < 60
    return ended.stdout + ended.stderr


def test_no_command_shows_the_secret(server: RedisServer, store: RedisStore, tmp_path: Path) -> None:
    del store
    said = [command(tmp_path, url(server), *arguments) for arguments in (["doctor", "--json"], ["up", "--json"])]
    wrong = command(tmp_path, url(server) + "&colour=red", "doctor")
    shown = "".join(each.stdout + each.stderr for each in (*said, wrong))

    assert f"://{server.host} (configured)" in shown
    assert "expected ca, cert, key, db behind the ?" in wrong.stderr
    assert_no_secret(shown, SECRET)


def command(folder: Path, address: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command of a project whose Kafka nobody needs to reach."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
    environment |= {"HEADRACE_REDIS": address, "HEADRACE_KAFKA": "127.0.0.1:1", "HEADRACE_NAMESPACE": NAMESPACE}
    return subprocess.run(
        [sys.executable, "-m", "headrace", "--app", "examples.flights.app", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )


def assert_no_secret(text: str, *secrets: str) -> None:
    """Fail if a secret is in a text, as it is or as a URL holds it."""
    for secret in secrets:
        assert secret not in text
        assert quote(secret, safe="") not in text
