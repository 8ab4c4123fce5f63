"""The servers that tests use, names that are theirs alone, and a guard against what they leave behind.

A missing server skips the tests that need it, with the command that would start it; with ``CI=true`` it fails them.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType

import pytest

from headrace import servers
from headrace.errors import ServerMissing

REPOSITORY = Path(__file__).resolve().parents[1]
_LEAK_DEADLINE_S = 20.0
_MOST_WORKERS = 6
_LONGEST_FIRST = ("chaos", "integration", "property", "contracts")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return one worker more than there are cores: many tests wait. Each may start a Kafka, and that takes 512 MB."""
    return min((os.cpu_count() or 1) + 1, _MOST_WORKERS)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the rooms whose files take minutes, so that no worker is left with one when the others are done."""
    places = {REPOSITORY / "tests" / room: place for place, room in enumerate(_LONGEST_FIRST)}
    items.sort(
        key=lambda item: min((places[each] for each in item.path.parents if each in places), default=len(places))
    )


@pytest.fixture(scope="session")
def server_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return the folder whose local servers serve this session; they end with it."""
    directory = tmp_path_factory.mktemp("servers")
    yield directory
    servers.stop(directory)


@pytest.fixture(scope="session")
def kafka(server_folder: Path) -> str:
    """Return the bootstrap address of a real Kafka: ``HEADRACE_KAFKA``, or one started for this session."""
    return os.environ.get("HEADRACE_KAFKA") or _start(server_folder, "kafka")


@pytest.fixture(scope="session")
def redis_url(server_folder: Path) -> str:
    """Return the URL of a real Redis: ``HEADRACE_REDIS``, or one started for this session."""
    return os.environ.get("HEADRACE_REDIS") or _start(server_folder, "redis")


@pytest.fixture
def unique(request: pytest.FixtureRequest) -> str:
    """Return a name that no other test and no other session uses: ``[a-z0-9-]``, 32 characters at most."""
    words = "".join(each if each.isalnum() else "-" for each in request.node.name.lower())
    return f"{words[:19].strip('-')}-{uuid.uuid4().hex[:12]}"


@pytest.fixture(autouse=True)
def leak_guard() -> Iterator[None]:
    """Fail a test that leaves a thread or a child process behind."""
    threads, children = set(threading.enumerate()), _children()

    yield

    until = time.monotonic() + _LEAK_DEADLINE_S
    while (left := _left(threads, children)) and time.monotonic() < until:
        time.sleep(0.01)
    if left:
        pytest.fail(f"left behind: {', '.join(left)}", pytrace=False)


@pytest.fixture(autouse=True)
def only_the_projects_modules(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Forget the author's modules that a test wrote and loaded: the next test's may have the same name."""
    path, known = list(sys.path), set(sys.modules)

    yield

    sys.path[:] = path
    written = str(tmp_path_factory.getbasetemp())
    # Parents last: the path of a package without a file is worked out from its parent's.
    for name in sorted(set(sys.modules) - known, reverse=True):
        if any(place.startswith(written) for place in _places(sys.modules[name])):
            del sys.modules[name]


def _places(module: ModuleType) -> list[str]:
    return [getattr(module, "__file__", None) or "", *getattr(module, "__path__", ())]


def _start(directory: Path, name: str) -> str:
    jars = REPOSITORY / servers.FOLDER / "kafka" / "jars"
    try:
        started = servers.start(directory, only=(name,), jars=jars)
    except ServerMissing as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error), pytrace=False)
        pytest.skip(f"{error}; `headrace doctor` tells what to install, then `make test` starts it")
    address = {"kafka": started.kafka, "redis": started.redis}[name]
    assert address is not None
    return address


def _left(threads: set[threading.Thread], children: set[int]) -> list[str]:
    alive = [f"thread {each.name}" for each in threading.enumerate() if each not in threads and each.is_alive()]
    return [*alive, *(f"process {pid}" for pid in _children() - children)]


def _children() -> set[int]:
    """Return the pids of this process's children, where the system tells them."""
    tasks = Path("/proc/self/task")
    if not tasks.is_dir():
        return set()
    found: set[int] = set()
    for task in tasks.iterdir():
        # A thread may end between its being listed and being asked.
        with suppress(FileNotFoundError, ProcessLookupError):
            found.update(map(int, (task / "children").read_text().split()))
    return found
