"""The drawing is still true: rooms say what they are, files stay small, and foreign packages stay where they belong."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from headrace.command import COMMANDS
from headrace.command.run import RoleName
from headrace.roles import KINDS
from headrace.settings import ROLES

REPOSITORY = Path(__file__).resolve().parents[2]
ROOMS = ("headrace", "definitions", "streams", "online_models", "agents", "batch", "marketplace")
FOLDERS = (*ROOMS, "examples")
MODULE_LINES = 300
FUNCTION_LINES = 50

ONLY_IN = {
    "aiohttp": ("agents/",),
    "confluent_kafka": ("agents/", "headrace/", "batch/"),
    "fastavro": ("streams/codecs/",),
    "faust": ("agents/",),
    "google": ("streams/codecs/", "online_models/learners/remote/"),
    "grpc": ("agents/ask_grpc.py",),
    "mode": ("agents/",),
    "nicegui": ("marketplace/",),
    "onnxruntime": ("online_models/",),
    "pickle": ("online_models/restricted.py",),
    "redis": ("streams/store/",),
    "river": ("online_models/", "examples/"),
    "xgboost": ("online_models/", "batch/"),
}
"""Package to the places that may import it. What one room alone knows, one room alone has to change."""

PURE_ROOMS = ("definitions/", "streams/", "online_models/")
NETWORK_FILES = ("streams/store/redis.py", "streams/store/wire.py", "streams/store/address.py")
"""The online store's adapter, the one place of a pure room that talks to a server."""

NETWORK = {"asyncio", "http", "requests", "socket", "urllib"}
WALL_CLOCKS = {("time", "time"), ("time", "time_ns"), ("datetime", "now"), ("datetime", "today"), ("date", "today")}

FILES = [file for folder in FOLDERS for file in sorted((REPOSITORY / folder).rglob("*.py"))]


def name_of(file: Path) -> str:
    return file.relative_to(REPOSITORY).as_posix()


def is_pure(file: Path) -> bool:
    return name_of(file).startswith(PURE_ROOMS) and name_of(file) not in NETWORK_FILES


@cache
def tree_of(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def imports_of(file: Path) -> Iterator[str]:
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None and node.level == 0:
            yield node.module


def public_definitions(body: list[ast.stmt], owner: str = "") -> Iterator[tuple[str, ast.AST]]:
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            yield owner + node.name, node
            if isinstance(node, ast.ClassDef):
                yield from public_definitions(node.body, f"{owner}{node.name}.")


@pytest.mark.parametrize("room", ROOMS)
def test_the_room_that_is_imported_is_ours_and_says_what_it_is(room: str) -> None:
    """`agents` is also the name of another package: a stranger in its place is found here, not in production."""
    module = importlib.import_module(room)

    assert module.__file__ == str(REPOSITORY / room / "__init__.py")
    assert len((module.__doc__ or "").split()) >= 10, "the room's docstring is its sign"
    assert (REPOSITORY / room / "py.typed").is_file()


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_a_module_and_its_functions_stay_small(file: Path) -> None:
    functions = [node for node in ast.walk(tree_of(file)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]

    lines = len(file.read_text(encoding="utf-8").splitlines())
    long = {node.name: node.end_lineno - node.lineno + 1 for node in functions if node.end_lineno is not None}

    assert lines <= MODULE_LINES
    assert {name: length for name, length in long.items() if length > FUNCTION_LINES} == {}


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_every_public_name_has_a_docstring(file: Path) -> None:
    tree = tree_of(file)
    named = [("the module", tree), *public_definitions(tree.body)]

    silent = [name for name, node in named if ast.get_docstring(node) is None]  # type: ignore[arg-type]

    assert silent == []


@pytest.mark.parametrize("package", ONLY_IN)
def test_a_foreign_package_stays_where_it_belongs(package: str) -> None:
    importers = {name_of(file) for file in FILES for name in imports_of(file) if name.partition(".")[0] == package}

    assert {name for name in importers if not name.startswith(ONLY_IN[package])} == set()


@pytest.mark.parametrize("file", [file for file in FILES if is_pure(file)], ids=name_of)
def test_a_pure_room_knows_no_network_no_event_loop_and_no_wall_clock(file: Path) -> None:
    packages = {name.partition(".")[0] for name in imports_of(file)}
    attributes = [node for node in ast.walk(tree_of(file)) if isinstance(node, ast.Attribute)]

    clocks = {(node.value.id, node.attr) for node in attributes if isinstance(node.value, ast.Name)} & WALL_CLOCKS

    assert packages & NETWORK == set()
    assert clocks == set()


def test_the_environment_is_read_in_one_place() -> None:
    readers = {name_of(file) for file in FILES if "os.environ" in file.read_text() or "os.getenv" in file.read_text()}

    assert readers == {"headrace/settings.py"}


def test_every_command_has_its_module() -> None:
    for name in COMMANDS:
        module = importlib.import_module(f"headrace.command.{name}")
        assert hasattr(module, "command") != hasattr(module, "group"), f"headrace/command/{name}.py"


def test_every_role_has_its_admin_port_and_its_name_on_the_command_line() -> None:
    assert tuple(KINDS) == ROLES == tuple(RoleName)
